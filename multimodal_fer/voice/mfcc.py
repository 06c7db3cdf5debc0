"""Compute MFCC with deltas (HTK's MFCC_E_D_A) in torch, on any device.

These are the 39 values of Yoon et al. 2018, whose openSMILE configuration sets window, bands, lifter and
order. Details that the HTK Book leaves open follow openSMILE 3.0.2; the tests repeat the comparison.

Shapes: B waveforms, N samples at 16 kHz, T frames of 10 ms, W samples of a window, K bins of a spectrum,
M mel bands, C cepstra, D values of a frame.
"""

import math
from functools import cache

import torch
from torch import Tensor

from multimodal_fer.voice.log_mel import (
    WINDOW,
    floored_log,
    hamming_window,
    mel_filters,
    power_spectrum,
    split_frames,
    without_padding,
)

MFCC_SIZE = 39  # 12 cepstra and the log energy, their deltas, their accelerations
CEPSTRA = 12  # numbers 1 to 12; number 0 is almost redundant with the energy
LIFTER = 22
MFCC_BANDS = 26
PRE_EMPHASIS = 0.97
FULL_SCALE = 32_768.0  # HTK uses 16-bit integer samples
HTK_FLOOR = 1.0  # of mel and frame energies, in squared integer samples


def mfcc(waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return mel-frequency cepstral coefficients as HTK and openSMILE define MFCC_E_D_A.

    A frame of 25 ms starts every 10 ms from the first sample on; samples after the last whole frame are
    ignored. Nothing is normalised.

    Parameters
    ----------
    waveforms_BN
        mono 16 kHz sound in [-1, 1], with any padding
    lengths_B
        samples of each waveform

    Returns
    -------
    (B, T, 39) float32: cepstra 1–12 and log energy, the same 13 as deltas, the same as accelerations;
        zero after a waveform's last frame
    (B,) frames of each waveform, at least one: a waveform shorter than a window is padded with silence

    Raises `ValueError` if shapes or lengths are wrong.

    Sources: Yoon et al. 2018, MFCC12_E_D_A (pre-emphasis .97 in each frame, Hamming window, 26 bands of
    power over 0–8000 Hz, lifter 22, log energy of the unprocessed frame, delta window 2, order); HTK
    Book 3.4 §5 (16-bit samples, floor of one, triangles on the mel axis); openSMILE (the last frame is
    repeated after the end, and accelerations include the deltas of these repeated frames).
    """
    frames_BTW, frames_B = split_frames(waveforms_BN, lengths_B, WINDOW)
    frames_BTW = frames_BTW * FULL_SCALE
    energy_BT1 = floored_log(frames_BTW.square().sum(-1, keepdim=True), HTK_FLOOR)
    # HTK repeats the first sample before the start.
    before_BTW = torch.cat([frames_BTW[..., :1], frames_BTW[..., :-1]], dim=-1)
    emphasised_BTW = frames_BTW - PRE_EMPHASIS * before_BTW
    power_BTK = power_spectrum(emphasised_BTW * hamming_window().to(frames_BTW.device))
    mel_BTM = power_BTK @ mel_filters(MFCC_BANDS, power_BTK.shape[-1]).to(power_BTK.device)
    cepstra_BTC = floored_log(mel_BTM, HTK_FLOOR) @ _cepstral_transform().to(mel_BTM.device)
    static_BTD = torch.cat([cepstra_BTC, energy_BT1], dim=-1)
    delta_BTD = _slopes(static_BTD, frames_B, 2)
    acceleration_BTD = _slopes(delta_BTD, frames_B + 2, -2)
    length = static_BTD.shape[1]
    values_BTD = torch.cat([static_BTD, delta_BTD[:, :length], acceleration_BTD], dim=-1)
    return without_padding(values_BTD, frames_B), frames_B


@cache
def _cepstral_transform() -> Tensor:
    """Return the matrix from log mel energies to liftered cepstra, (M, C); HTK Book §5.6."""
    band_M1 = torch.arange(MFCC_BANDS, dtype=torch.float64)[:, None] + 0.5
    number_C = torch.arange(1, CEPSTRA + 1, dtype=torch.float64)
    cosines_MC = torch.cos(math.pi / MFCC_BANDS * number_C * band_M1) * math.sqrt(2 / MFCC_BANDS)
    return (cosines_MC * (1 + LIFTER / 2 * torch.sin(math.pi * number_C / LIFTER))).float()


def _slopes(values_BTD: Tensor, known_B: Tensor, more: int) -> Tensor:
    """Return regression slopes over two frames on each side (HTK Book §5.9), for T + `more` frames.

    The first frame is repeated before the start, the last of the `known_B` frames after the end.
    """
    frames_T = torch.arange(values_BTD.shape[1] + more, device=values_BTD.device)

    def shifted(by: int) -> Tensor:
        index_BT = (frames_T + by).clamp(min=0).minimum(known_B[:, None] - 1)
        return values_BTD.gather(1, index_BT[..., None].expand(-1, -1, values_BTD.shape[2]))

    return (shifted(1) - shifted(-1) + 2 * (shifted(2) - shifted(-2))) / 10
