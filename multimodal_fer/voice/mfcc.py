"""MFCC with deltas, as HTK calls them MFCC_E_D_A, in torch on any device.

They are the 39 values of Yoon et al. 2018, whose openSMILE configuration fixes window, bands, lifter and
order. Where the HTK Book leaves a detail open, openSMILE 3.0.2 was run and its answer is followed; the
tests repeat the comparison.

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
CEPSTRA = 12  # numbers 1 to 12; the zeroth says little that the energy does not
LIFTER = 22
MFCC_BANDS = 26
PRE_EMPHASIS = 0.97
FULL_SCALE = 32_768.0  # HTK counts in steps of 16-bit samples
HTK_FLOOR = 1.0  # of mel and frame energies, in those steps squared


def mfcc(waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    """Mel-frequency cepstral coefficients as HTK and openSMILE define MFCC_E_D_A.

    Frames start every 10 ms at the first sample and hold 25 ms; samples after the last whole frame are
    left out. Nothing is normalised.

    Parameters
    ----------
    waveforms_BN
        mono 16 kHz sound in [-1, 1], padded with anything
    lengths_B
        samples of each waveform

    Returns
    -------
    (B, T, 39) float32: cepstra 1–12 and log energy, the same 13 as deltas, the same as accelerations;
        zero after a waveform's last frame
    (B,) frames of each waveform, at least one: silence fills up a waveform shorter than a window

    Raises `ValueError` where the shapes or lengths do not fit.

    Sources: Yoon et al. 2018, MFCC12_E_D_A (pre-emphasis .97 in each frame, Hamming window, 26 bands of
    power over 0–8000 Hz, lifter 22, log energy of the untouched frame, delta window 2, order); HTK Book
    3.4 §5 (samples counted as 16-bit steps, floor of one, triangles on the mel axis); openSMILE itself
    (after the end the last frame is repeated, and accelerations see the deltas of those frames).
    """
    frames_BTW, frames_B = split_frames(waveforms_BN, lengths_B, WINDOW)
    frames_BTW = frames_BTW * FULL_SCALE
    energy_BT1 = floored_log(frames_BTW.square().sum(-1, keepdim=True), HTK_FLOOR)
    # HTK takes the sample before the first to be equal to the first.
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
    """Log mel energies to liftered cepstra, (M, C): the cosine transform of HTK Book §5.6."""
    band_M1 = torch.arange(MFCC_BANDS, dtype=torch.float64)[:, None] + 0.5
    number_C = torch.arange(1, CEPSTRA + 1, dtype=torch.float64)
    cosines_MC = torch.cos(math.pi / MFCC_BANDS * number_C * band_M1) * math.sqrt(2 / MFCC_BANDS)
    return (cosines_MC * (1 + LIFTER / 2 * torch.sin(math.pi * number_C / LIFTER))).float()


def _slopes(values_BTD: Tensor, known_B: Tensor, more: int) -> Tensor:
    """Regression slope over two frames to either side (HTK Book §5.9), for `more` frames than given.

    Before the first frame the first is repeated, after each waveform's last known one that one is.
    """
    frames_T = torch.arange(values_BTD.shape[1] + more, device=values_BTD.device)

    def shifted(by: int) -> Tensor:
        index_BT = (frames_T + by).clamp(min=0).minimum(known_B[:, None] - 1)
        return values_BTD.gather(1, index_BT[..., None].expand(-1, -1, values_BTD.shape[2]))

    return (shifted(1) - shifted(-1) + 2 * (shifted(2) - shifted(-2))) / 10
