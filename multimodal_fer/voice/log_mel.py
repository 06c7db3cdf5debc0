"""Compute spectra and log mel energies in torch, on any device.

Shapes: B waveforms, N samples at 16 kHz, T frames of 10 ms, W samples of a window, K bins of a
spectrum, M mel bands.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from multimodal_fer.layers.sequences import present
from multimodal_fer.types import SAMPLE_RATE

HOP = SAMPLE_RATE // 100  # samples from one frame to the next: 10 ms
WINDOW = SAMPLE_RATE // 40  # samples: 25 ms
# About the noise that rounding to 16 bits adds to each band.
LOG_MEL_FLOOR = 1e-8


def log_mel(waveforms_BN: Tensor, lengths_B: Tensor, bands: int = 64) -> tuple[Tensor, Tensor]:
    """Return the natural logarithm of mel band energies, for convolutional networks.

    Frames as in `mfcc`, Hamming window, no pre-emphasis, bands from 0 to 8000 Hz of equal width on the
    mel axis. The energy of a band is the weighted sum of |X|² of a waveform in [-1, 1], at least 1e-8 (the
    rounding noise of 16-bit sound); values lie between -18.4 and about 11.

    Returns ((B, T, bands) float32, zero after a waveform's last frame; (B,) frames of each waveform).
    Raises `ValueError` if shapes or lengths are wrong, or for more bands than the spectrum resolves (128).
    """
    if not 1 <= bands <= 128:
        raise ValueError(f"expected 1 to 128 mel bands, got {bands}")
    frames_BTW, frames_B = split_frames(waveforms_BN, lengths_B, WINDOW)
    # Twice the resolution of MFCC, whose bins are wider than the lowest of 64 bands.
    power_BTK = power_spectrum(frames_BTW * hamming_window().to(frames_BTW.device), 1024)
    mel_BTM = power_BTK @ mel_filters(bands, power_BTK.shape[-1]).to(power_BTK.device)
    return without_padding(floored_log(mel_BTM, LOG_MEL_FLOOR), frames_B), frames_B


def split_frames(waveforms_BN: Tensor, lengths_B: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Cut windows of `window` samples every 10 ms: ((B, T, W) float32, (B,) frames of each waveform).

    Only whole windows count, but a waveform shorter than one is padded with silence. Values after a
    waveform's length are replaced by silence.
    """
    lengths_B = lengths_B.to(waveforms_BN.device)
    frames_B = (lengths_B.clamp(min=window) - window) // HOP + 1
    if torch.compiler.is_exporting():  # lengths are unknown during export
        most = (waveforms_BN.shape[1] - window) // HOP + 1
    else:
        _check_waveforms(waveforms_BN, lengths_B)
        most = int(frames_B.max()) if len(frames_B) else 1
    samples = window + (most - 1) * HOP
    waveforms_BN = waveforms_BN[:, :samples].float()
    kept_BN = torch.where(present(lengths_B, waveforms_BN.shape[1]), waveforms_BN, 0.0)
    kept_BN = functional.pad(kept_BN, (0, samples - kept_BN.shape[1]))
    return kept_BN.unfold(1, window, HOP), frames_B


def power_spectrum(frames_BTW: Tensor, size: int | None = None) -> Tensor:
    """Return |X|² of windowed frames, zero-padded to `size` samples (default: a power of two)."""
    size = size or 1 << (frames_BTW.shape[-1] - 1).bit_length()
    spectrum_BTK = torch.fft.rfft(frames_BTW, n=size)
    return spectrum_BTK.real.square() + spectrum_BTK.imag.square()


@cache
def mel_filters(bands: int, bins: int, lowest: float = 0.0) -> Tensor:
    """Return triangular filters of equal width in mel up to 8000 Hz, (bins, bands); HTK Book §5.4."""
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
    """Convert hertz to mel by HTK's formula."""
    return 1127 * torch.log1p(frequency / 700)


@cache
def hamming_window() -> Tensor:
    """Return the symmetric Hamming window that HTK uses, (W,)."""
    return torch.hamming_window(WINDOW, periodic=False)


def floored_log(energies: Tensor, floor: float) -> Tensor:
    return energies.clamp(min=floor).log()


def without_padding(values_BTD: Tensor, frames_B: Tensor) -> Tensor:
    return torch.where(present(frames_B, values_BTD.shape[1])[..., None], values_BTD, 0.0)


def _check_waveforms(waveforms_BN: Tensor, lengths_B: Tensor) -> None:
    if waveforms_BN.ndim != 2 or lengths_B.shape != waveforms_BN.shape[:1]:
        raise ValueError(
            "expected waveforms (B, N) and lengths (B,), got "
            f"{tuple(waveforms_BN.shape)} and {tuple(lengths_B.shape)}"
        )
    if lengths_B.is_floating_point():
        raise ValueError(f"expected lengths in whole samples, got {lengths_B.dtype}")
    longest = waveforms_BN.shape[1]
    if ((lengths_B < 0) | (lengths_B > longest)).any():
        raise ValueError(f"expected lengths of 0 to {longest} samples, got {lengths_B.tolist()}")
