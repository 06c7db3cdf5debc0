"""What voice networks read: MFCC with deltas, and log mel energies, in torch on any device.

`mfcc` is what HTK calls MFCC_E_D_A: the 39 values of Yoon et al. 2018, whose openSMILE configuration fixes
window, bands, lifter and order. Where the HTK Book leaves a detail open, openSMILE 3.0.2 was run and its
answer is followed; the tests repeat the comparison.

Shapes: B waveforms, N samples at 16 kHz, T frames of 10 ms, W samples of a window, K bins of a spectrum,
M mel bands, C cepstra, D values of a frame.
"""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from multimodal_fer.media import SAMPLE_RATE

HOP = SAMPLE_RATE // 100  # samples from one frame to the next: 10 ms
WINDOW = SAMPLE_RATE // 40  # samples: 25 ms
MFCC_SIZE = 39  # 12 cepstra and the log energy, their deltas, their accelerations

CEPSTRA = 12  # numbers 1 to 12; the zeroth says little that the energy does not
LIFTER = 22
MFCC_BANDS = 26
PRE_EMPHASIS = 0.97
FULL_SCALE = 32_768.0  # HTK counts in steps of 16-bit samples
HTK_FLOOR = 1.0  # of mel and frame energies, in those steps squared

# About what rounding to 16 bits adds to each band: what lies below is not in the recording.
LOG_MEL_FLOOR = 1e-8


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
    energy_BT1 = _log(frames_BTW.square().sum(-1, keepdim=True), HTK_FLOOR)
    # HTK takes the sample before the first to be equal to the first.
    before_BTW = torch.cat([frames_BTW[..., :1], frames_BTW[..., :-1]], dim=-1)
    emphasised_BTW = frames_BTW - PRE_EMPHASIS * before_BTW
    power_BTK = power_spectrum(emphasised_BTW * _hamming().to(frames_BTW.device))
    mel_BTM = power_BTK @ mel_filters(MFCC_BANDS, power_BTK.shape[-1]).to(power_BTK.device)
    cepstra_BTC = _log(mel_BTM, HTK_FLOOR) @ _cepstral_transform().to(mel_BTM.device)
    static_BTD = torch.cat([cepstra_BTC, energy_BT1], dim=-1)
    delta_BTD = _slopes(static_BTD, frames_B, 2)
    acceleration_BTD = _slopes(delta_BTD, frames_B + 2, -2)
    length = static_BTD.shape[1]
    values_BTD = torch.cat([static_BTD, delta_BTD[:, :length], acceleration_BTD], dim=-1)
    return _without_padding(values_BTD, frames_B), frames_B


def log_mel(waveforms_BN: Tensor, lengths_B: Tensor, bands: int = 64) -> tuple[Tensor, Tensor]:
    """Natural logarithm of mel band energies, for convolutional networks.

    Framed as `mfcc` frames, Hamming window, no pre-emphasis, bands from 0 to 8000 Hz of equal width on
    the mel axis. A band's energy is the weighted sum of |X|² of a waveform in [-1, 1]; energies below
    1e-8 (the rounding noise of 16-bit sound) count as 1e-8, so values run from -18.4 to about 11.

    Returns ((B, T, bands) float32, zero after a waveform's last frame; (B,) frames of each waveform).
    Raises `ValueError` where the shapes or lengths do not fit, or for more bands than the spectrum
    resolves (over 128).
    """
    if not 1 <= bands <= 128:
        raise ValueError(f"expected 1 to 128 mel bands, got {bands}")
    frames_BTW, frames_B = split_frames(waveforms_BN, lengths_B, WINDOW)
    # Twice the resolution that MFCC uses: the lowest of 64 bands is narrower than its bins.
    power_BTK = power_spectrum(frames_BTW * _hamming().to(frames_BTW.device), 1024)
    mel_BTM = power_BTK @ mel_filters(bands, power_BTK.shape[-1]).to(power_BTK.device)
    return _without_padding(_log(mel_BTM, LOG_MEL_FLOOR), frames_B), frames_B


def split_frames(waveforms_BN: Tensor, lengths_B: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Cut windows of `window` samples every 10 ms: ((B, T, W) float32, (B,) frames of each waveform).

    Only whole windows count, but a waveform shorter than one is filled up with silence. What lies after
    a waveform's length is silent, whatever the padding was.
    """
    lengths_B = lengths_B.to(waveforms_BN.device)
    frames_B = (lengths_B.clamp(min=window) - window) // HOP + 1
    if torch.compiler.is_exporting():  # lengths are not known yet
        most = (waveforms_BN.shape[1] - window) // HOP + 1
    else:
        _check(waveforms_BN, lengths_B)
        most = int(frames_B.max()) if len(frames_B) else 1
    samples = window + (most - 1) * HOP
    waveforms_BN = waveforms_BN[:, :samples].float()
    position_N = torch.arange(waveforms_BN.shape[1], device=waveforms_BN.device)
    kept_BN = torch.where(position_N < lengths_B[:, None], waveforms_BN, 0.0)
    kept_BN = functional.pad(kept_BN, (0, samples - kept_BN.shape[1]))
    return kept_BN.unfold(1, window, HOP), frames_B


def power_spectrum(frames_BTW: Tensor, size: int | None = None) -> Tensor:
    """|X|² of windowed frames, padded with zeros to `size` samples (by default a power of two)."""
    size = size or 1 << (frames_BTW.shape[-1] - 1).bit_length()
    spectrum_BTK = torch.fft.rfft(frames_BTW, n=size)
    return spectrum_BTK.real.square() + spectrum_BTK.imag.square()


@cache
def mel_filters(bands: int, bins: int, lowest: float = 0.0) -> Tensor:
    """Triangles of equal width on the mel axis from `lowest` to 8000 Hz, (bins, bands). HTK Book §5.4."""
    width = SAMPLE_RATE / 2 / (bins - 1)
    bins_K1 = mel(torch.arange(bins, dtype=torch.float64) * width)[:, None]
    edges = torch.tensor([lowest, SAMPLE_RATE / 2], dtype=torch.float64)
    low, high = mel(edges).tolist()
    step = (high - low) / (bands + 1)
    centres_M = low + step * torch.arange(1, bands + 1)
    filters_KM = (1 - (bins_K1 - centres_M).abs() / step).clamp(min=0)
    filters_KM[: int(lowest / width + 1.5)] = 0  # HTK starts at the bin after the one nearest to it
    return filters_KM.float()


def mel(frequency: Tensor) -> Tensor:
    """Hertz to mel as HTK does."""
    return 1127 * torch.log1p(frequency / 700)


@cache
def _cepstral_transform() -> Tensor:
    """Log mel energies to liftered cepstra, (M, C): the cosine transform of HTK Book §5.6."""
    band_M1 = torch.arange(MFCC_BANDS, dtype=torch.float64)[:, None] + 0.5
    number_C = torch.arange(1, CEPSTRA + 1, dtype=torch.float64)
    cosines_MC = torch.cos(math.pi / MFCC_BANDS * number_C * band_M1) * math.sqrt(2 / MFCC_BANDS)
    return (cosines_MC * (1 + LIFTER / 2 * torch.sin(math.pi * number_C / LIFTER))).float()


@cache
def _hamming() -> Tensor:
    """The window that is symmetric about its middle, as HTK's is; (W,)."""
    return torch.hamming_window(WINDOW, periodic=False)


def _log(energies: Tensor, floor: float) -> Tensor:
    return energies.clamp(min=floor).log()


def _slopes(values_BTD: Tensor, known_B: Tensor, more: int) -> Tensor:
    """Regression slope over two frames to either side (HTK Book §5.9), for `more` frames than given.

    Before the first frame the first is repeated, after each waveform's last known one that one is.
    """
    frames_T = torch.arange(values_BTD.shape[1] + more, device=values_BTD.device)

    def shifted(by: int) -> Tensor:
        index_BT = (frames_T + by).clamp(min=0).minimum(known_B[:, None] - 1)
        return values_BTD.gather(1, index_BT[..., None].expand(-1, -1, values_BTD.shape[2]))

    return (shifted(1) - shifted(-1) + 2 * (shifted(2) - shifted(-2))) / 10


def _without_padding(values_BTD: Tensor, frames_B: Tensor) -> Tensor:
    frames_T = torch.arange(values_BTD.shape[1], device=values_BTD.device)
    return torch.where((frames_T < frames_B[:, None])[..., None], values_BTD, 0.0)


def _check(waveforms_BN: Tensor, lengths_B: Tensor) -> None:
    if waveforms_BN.ndim != 2 or lengths_B.shape != waveforms_BN.shape[:1]:
        raise ValueError(
            "expected waveforms (B, N) and lengths (B,), got "
            f"{tuple(waveforms_BN.shape)} and {tuple(lengths_B.shape)}"
        )
    if lengths_B.is_floating_point():
        raise ValueError(f"expected lengths in whole samples, got {lengths_B.dtype}")
    if (
        len(lengths_B)
        and not 0 <= int(lengths_B.min()) <= int(lengths_B.max()) <= waveforms_BN.shape[1]
    ):
        raise ValueError(
            f"expected lengths of 0 to {waveforms_BN.shape[1]} samples, got {lengths_B.tolist()}"
        )
