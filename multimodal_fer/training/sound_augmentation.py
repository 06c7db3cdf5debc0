"""Augmentation of a batch of waveforms (babble, noise, rooms, narrow bands) and of features (SpecAugment).

The corpora hold studio speech; users record in rooms, by telephone and among other voices.

Shapes: B waveforms, N samples at 16 kHz, T frames, F values of a frame.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from multimodal_fer.layers.sequences import present
from multimodal_fer.types import SAMPLE_RATE
from multimodal_fer.voice.network import SoundFeatures

VOICES = 3  # of babble
ROOM_SECONDS = 0.4  # length of a room's impulse response


@dataclass(frozen=True)
class Corruption:
    """Shares and strengths of a policy; zero leaves a change out."""

    gain: float = 0.0  # decibels, either way
    noise: float = 0.0  # share of the waveforms with noise: white, pink or other voices
    min_snr: float = 5.0  # lowest signal-to-noise ratio, decibels
    max_snr: float = 30.0  # highest
    room: float = 0.0  # share with the reverberation of a room
    band: float = 0.0  # share without its lowest and highest frequencies
    masks: int = 0  # spans of time, and of bands, masked in the features (Park et al. 2019)


CORRUPTIONS = {
    "none": Corruption(),
    "masks": Corruption(masks=2),
    "recorded": Corruption(gain=10, noise=0.5, room=0.3, band=0.2, masks=2),
}


def corrupt(
    waveforms_BN: Tensor, lengths_B: Tensor, policy: Corruption, generator: torch.Generator
) -> Tensor:
    """Augment each waveform (B, N) by its own random draw; the generator is on the CPU."""
    device = waveforms_BN.device
    changed_BN = waveforms_BN.clone()

    def draw(low: float, high: float) -> Tensor:
        return (torch.rand(len(lengths_B), 1, generator=generator) * (high - low) + low).to(device)

    def chosen(share: float) -> Tensor:
        """Return the numbers of a random share of the waveforms."""
        return (draw(0, 1)[:, 0] < share).nonzero()[:, 0]

    if len(some := chosen(policy.room)):
        changed_BN[some] = in_room(changed_BN[some], draw(0.15, 0.6)[some], generator)
    if len(some := chosen(policy.noise)):
        noise = _some_noise(waveforms_BN, some, draw(0, 3)[some], generator)
        decibels = draw(policy.min_snr, policy.max_snr)
        changed_BN[some] = mix(changed_BN[some], noise, lengths_B[some], decibels[some])
    if len(some := chosen(policy.band)):
        changed_BN[some] = narrow(changed_BN[some], draw(50, 350)[some], draw(3000, 7000)[some])
    if policy.gain:
        changed_BN = changed_BN * 10 ** (draw(-policy.gain, policy.gain) / 20)
    return changed_BN.clamp(-1, 1)


def mix(speech_BN: Tensor, noise_BN: Tensor, lengths_B: Tensor, decibels_B1: Tensor) -> Tensor:
    """Add noise at a signal-to-noise ratio in decibels, measured over the real samples of each waveform."""
    present_BN = present(lengths_B, speech_BN.shape[1])
    power_B1 = (speech_BN.square() * present_BN).sum(1, keepdim=True)
    loud_B1 = (noise_BN.square() * present_BN).sum(1, keepdim=True).clamp(min=1e-9)
    return speech_BN + noise_BN * (power_B1 / loud_B1 * 10 ** (-decibels_B1 / 10)).sqrt()


def babble(waveforms_BN: Tensor, generator: torch.Generator) -> Tensor:
    """Return sums of other waveforms of the batch, shifted in time."""
    total = torch.zeros_like(waveforms_BN)
    for _ in range(VOICES):
        others = torch.randperm(len(waveforms_BN), generator=generator).to(waveforms_BN.device)
        turn = int(torch.randint(waveforms_BN.shape[1], (1,), generator=generator))
        total += waveforms_BN[others].roll(turn, dims=1)
    return total


def pink(waveforms_BN: Tensor, generator: torch.Generator) -> Tensor:
    """Return noise whose power falls with frequency, like that of fans and traffic."""
    white_BN = torch.randn(waveforms_BN.shape, generator=generator).to(waveforms_BN.device)
    spectrum = torch.fft.rfft(white_BN)
    falling = torch.arange(1, spectrum.shape[1] + 1, device=spectrum.device).rsqrt()
    return torch.fft.irfft(spectrum * falling, n=waveforms_BN.shape[1])


def _some_noise(
    waveforms_BN: Tensor, some: Tensor, kind_B1: Tensor, generator: torch.Generator
) -> Tensor:
    """Return babble, pink or white noise for some of the waveforms."""
    noise_BN = pink(waveforms_BN[some], generator)
    white_BN = torch.randn(noise_BN.shape, generator=generator).to(noise_BN.device)
    noise_BN = torch.where(kind_B1 < 2, noise_BN, white_BN)
    return torch.where(kind_B1 < 1, babble(waveforms_BN, generator)[some], noise_BN)


def in_room(waveforms_BN: Tensor, seconds_B1: Tensor, generator: torch.Generator) -> Tensor:
    """Add the reverberation of a room, which decays by 60 dB in `seconds_B1` (Schroeder's exponential)."""
    samples = round(ROOM_SECONDS * SAMPLE_RATE)
    time_R = torch.arange(samples, device=waveforms_BN.device) / SAMPLE_RATE
    noise_BR = torch.randn(len(waveforms_BN), len(time_R), generator=generator)
    response_BR = noise_BR.to(waveforms_BN.device) * 10 ** (-3 * time_R / seconds_B1)
    response_BR = 0.7 * response_BR / response_BR.norm(dim=1, keepdim=True)
    response_BR[:, 0] = 1  # the direct sound
    size = waveforms_BN.shape[1] + len(time_R)
    product = torch.fft.rfft(waveforms_BN, n=size) * torch.fft.rfft(response_BR, n=size)
    return torch.fft.irfft(product, n=size)[:, : waveforms_BN.shape[1]]


def narrow(waveforms_BN: Tensor, low_B1: Tensor, high_B1: Tensor) -> Tensor:
    """Remove frequencies below `low_B1` and above `high_B1` hertz, with edges of a third of an octave."""
    size = waveforms_BN.shape[1]
    frequency = torch.fft.rfftfreq(size, 1 / SAMPLE_RATE, device=waveforms_BN.device).clamp(min=1)
    octaves_low, octaves_high = (frequency / low_B1).log2(), (high_B1 / frequency).log2()
    passed = (octaves_low * 3 + 0.5).clamp(0, 1) * (octaves_high * 3 + 0.5).clamp(0, 1)
    return torch.fft.irfft(torch.fft.rfft(waveforms_BN) * passed, n=size)


def hide_features(sound: SoundFeatures, masks: int, generator: torch.Generator) -> SoundFeatures:
    """Replace spans of time and of bands by each utterance's mean (SpecAugment)."""
    frames_BTF = sound.frames
    count, steps, size = frames_BTF.shape
    mean_B1F = frames_BTF.sum(1, keepdim=True) / sound.lengths.view(-1, 1, 1)
    hidden_BTF = torch.zeros(frames_BTF.shape, dtype=torch.bool, device=frames_BTF.device)
    for _ in range(masks):
        bands_BF = _span(count, size, size // 6, generator).to(hidden_BTF.device)
        times_BT = _span(count, steps, steps // 8, generator).to(hidden_BTF.device)
        hidden_BTF |= bands_BF[:, None] | times_BT[:, :, None]
    hidden_BTF &= present(sound.lengths, steps).unsqueeze(2)
    return sound._replace(frames=torch.where(hidden_BTF, mean_B1F, frames_BTF))


def _span(count: int, size: int, longest: int, generator: torch.Generator) -> Tensor:
    """Return one random span of 0..longest steps for each of `count`, bool (count, size)."""
    length = torch.rand(count, 1, generator=generator) * longest
    start = torch.rand(count, 1, generator=generator) * (size - length)
    place = torch.arange(size)
    return (place >= start) & (place < start + length)


def speed_up(waveform_N: Tensor, factor: float) -> Tensor:
    """Play a waveform faster and higher by a factor, or slower and lower, by linear interpolation."""
    if factor == 1:
        return waveform_N
    size = max(1, math.floor(len(waveform_N) / factor))
    return torch.nn.functional.interpolate(
        waveform_N[None, None], size, mode="linear", align_corners=True
    )[0, 0]
