"""Random changes of a batch of waveforms: other voices, noise, rooms, narrow bands; and hidden features.

Studio speech is what the corpora hold; what people send is recorded in rooms, by telephones, among others.
Used by recipes only.

Shapes: B waveforms, N samples at 16 kHz, T frames, F values of a frame.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from multimodal_fer.layers.sequences import present
from multimodal_fer.types import SAMPLE_RATE
from multimodal_fer.voice.network import Sound

VOICES = 3  # of babble
ROOM_SECONDS = 0.4  # of a room's answer that are computed
CUT_INTO_SPEECH = 0.15  # seconds of speech that a margin may lose, as times of words are not exact


@dataclass(frozen=True)
class Corruption:
    """How often and how far a policy goes; zero leaves a change out."""

    gain: float = 0.0  # decibels, either way
    noise: float = 0.0  # share of the waveforms with noise: white, pink or other voices
    quietest: float = 5.0  # decibels of speech over noise, the least
    cleanest: float = 30.0  # and the most
    room: float = 0.0  # share that sounds in a room
    band: float = 0.0  # share without its lowest and highest frequencies
    masks: int = 0  # stretches of time, and of bands, hidden in the features (Park et al. 2019)


CORRUPTIONS = {
    "none": Corruption(),
    "masks": Corruption(masks=2),
    "recorded": Corruption(gain=10, noise=0.5, room=0.3, band=0.2, masks=2),
}


def corrupt(
    waveforms_BN: Tensor, lengths_B: Tensor, wear: Corruption, generator: torch.Generator
) -> Tensor:
    """Change each waveform by its own draw; the generator lives on the CPU."""
    device = waveforms_BN.device
    worn_BN = waveforms_BN.clone()

    def draw(low: float, high: float) -> Tensor:
        return (torch.rand(len(lengths_B), 1, generator=generator) * (high - low) + low).to(device)

    def chosen(share: float) -> Tensor:
        """Numbers of some waveforms; the others need not be computed."""
        return (draw(0, 1)[:, 0] < share).nonzero()[:, 0]

    if len(some := chosen(wear.room)):
        worn_BN[some] = in_room(worn_BN[some], draw(0.15, 0.6)[some], generator)
    if len(some := chosen(wear.noise)):
        noise = _some_noise(waveforms_BN, some, draw(0, 3)[some], generator)
        decibels = draw(wear.quietest, wear.cleanest)
        worn_BN[some] = mix(worn_BN[some], noise, lengths_B[some], decibels[some])
    if len(some := chosen(wear.band)):
        worn_BN[some] = narrow(worn_BN[some], draw(50, 350)[some], draw(3000, 7000)[some])
    if wear.gain:
        worn_BN = worn_BN * 10 ** (draw(-wear.gain, wear.gain) / 20)
    return worn_BN.clamp(-1, 1)


def mix(speech_BN: Tensor, noise_BN: Tensor, lengths_B: Tensor, decibels_B1: Tensor) -> Tensor:
    """Add noise so that speech is so many decibels stronger, over the real samples of each."""
    present_BN = present(lengths_B, speech_BN.shape[1])
    power_B1 = (speech_BN.square() * present_BN).sum(1, keepdim=True)
    loud_B1 = (noise_BN.square() * present_BN).sum(1, keepdim=True).clamp(min=1e-9)
    return speech_BN + noise_BN * (power_B1 / loud_B1 * 10 ** (-decibels_B1 / 10)).sqrt()


def babble(waveforms_BN: Tensor, generator: torch.Generator) -> Tensor:
    """Other waveforms of the batch, turned in time and added up."""
    total = torch.zeros_like(waveforms_BN)
    for _ in range(VOICES):
        others = torch.randperm(len(waveforms_BN), generator=generator).to(waveforms_BN.device)
        turn = int(torch.randint(waveforms_BN.shape[1], (1,), generator=generator))
        total += waveforms_BN[others].roll(turn, dims=1)
    return total


def pink(waveforms_BN: Tensor, generator: torch.Generator) -> Tensor:
    """Noise whose power falls with frequency, as fans and traffic do."""
    white_BN = torch.randn(waveforms_BN.shape, generator=generator).to(waveforms_BN.device)
    spectrum = torch.fft.rfft(white_BN)
    falling = torch.arange(1, spectrum.shape[1] + 1, device=spectrum.device).rsqrt()
    return torch.fft.irfft(spectrum * falling, n=waveforms_BN.shape[1])


def _some_noise(
    waveforms_BN: Tensor, some: Tensor, kind_B1: Tensor, generator: torch.Generator
) -> Tensor:
    """Noise for some of the waveforms; the other voices of babble are any of the batch."""
    noise_BN = pink(waveforms_BN[some], generator)
    white_BN = torch.randn(noise_BN.shape, generator=generator).to(noise_BN.device)
    noise_BN = torch.where(kind_B1 < 2, noise_BN, white_BN)
    return torch.where(kind_B1 < 1, babble(waveforms_BN, generator)[some], noise_BN)


def in_room(waveforms_BN: Tensor, seconds_B1: Tensor, generator: torch.Generator) -> Tensor:
    """As heard in a room whose echo falls by 60 dB in so many seconds (Schroeder's exponential decay)."""
    time_R = (
        torch.arange(round(ROOM_SECONDS * SAMPLE_RATE), device=waveforms_BN.device) / SAMPLE_RATE
    )
    noise_BR = torch.randn(len(waveforms_BN), len(time_R), generator=generator)
    answer_BR = noise_BR.to(waveforms_BN.device) * 10 ** (-3 * time_R / seconds_B1)
    answer_BR = 0.7 * answer_BR / answer_BR.norm(dim=1, keepdim=True)
    answer_BR[:, 0] = 1  # the direct sound
    size = waveforms_BN.shape[1] + len(time_R)
    product = torch.fft.rfft(waveforms_BN, n=size) * torch.fft.rfft(answer_BR, n=size)
    return torch.fft.irfft(product, n=size)[:, : waveforms_BN.shape[1]]


def narrow(waveforms_BN: Tensor, low_B1: Tensor, high_B1: Tensor) -> Tensor:
    """Without what lies below `low` and above `high` hertz; the edges are an octave third wide."""
    size = waveforms_BN.shape[1]
    frequency = torch.fft.rfftfreq(size, 1 / SAMPLE_RATE, device=waveforms_BN.device).clamp(min=1)
    octaves_low, octaves_high = (frequency / low_B1).log2(), (high_B1 / frequency).log2()
    passed = (octaves_low * 3 + 0.5).clamp(0, 1) * (octaves_high * 3 + 0.5).clamp(0, 1)
    return torch.fft.irfft(torch.fft.rfft(waveforms_BN) * passed, n=size)


def hide_features(sound: Sound, masks: int, generator: torch.Generator) -> Sound:
    """Replace stretches of time and of bands by each utterance's mean, as SpecAugment does."""
    frames_BTF = sound.frames
    count, steps, size = frames_BTF.shape
    mean_B1F = frames_BTF.sum(1, keepdim=True) / sound.lengths.view(-1, 1, 1)
    hidden_BTF = torch.zeros(frames_BTF.shape, dtype=torch.bool, device=frames_BTF.device)
    for _ in range(masks):
        hidden_BTF |= _stretch(count, size, size // 6, generator).to(hidden_BTF.device)[:, None, :]
        hidden_BTF |= _stretch(count, steps, steps // 8, generator).to(hidden_BTF.device)[
            :, :, None
        ]
    hidden_BTF &= present(sound.lengths, steps).unsqueeze(2)
    return sound._replace(frames=torch.where(hidden_BTF, mean_B1F, frames_BTF))


def _stretch(count: int, size: int, longest: int, generator: torch.Generator) -> Tensor:
    """One random stretch of 0..longest steps for each of `count`, bool (count, size)."""
    length = torch.rand(count, 1, generator=generator) * longest
    start = torch.rand(count, 1, generator=generator) * (size - length)
    place = torch.arange(size)
    return (place >= start) & (place < start + length)


def vary_margins(
    waveform_N: Tensor, span: tuple[float, float], longest: float, generator: torch.Generator
) -> Tensor:
    """Cut or pad the quiet before and after speech to random lengths.

    An utterance of a recording is cut at its words, a clip of a corpus has about a second of quiet on
    each side: a network that always hears the quiet comes to depend on it.

    Parameters
    ----------
    waveform_N : one clip
    span : seconds at which its speech starts and ends
    longest : seconds of quiet on each side, the most; the least cuts into the speech a little
    """
    first, last = (round(seconds * SAMPLE_RATE) for seconds in span)
    draws = torch.rand(2, generator=generator) * (longest + CUT_INTO_SPEECH) - CUT_INTO_SPEECH
    lead, trail = (draws * SAMPLE_RATE).round().long().tolist()
    start, end = first - lead, last + trail
    kept_N = waveform_N[max(start, 0) : max(end, start + 1)]
    quiet_N = torch.cat([waveform_N[:first], waveform_N[last:]])
    before_N = _some_quiet(quiet_N, max(-start, 0), generator)
    after_N = _some_quiet(quiet_N, max(end - len(waveform_N), 0), generator)
    return torch.cat([before_N, kept_N, after_N])


def _some_quiet(quiet_N: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Return samples to pad with: digital silence, or as often a repetition of the clip's own quiet."""
    silent = torch.rand(1, generator=generator).item() < 0.5
    if silent or len(quiet_N) < SAMPLE_RATE // 10:
        return torch.zeros(size)
    there_and_back_N = torch.cat([quiet_N, quiet_N.flip(0)])
    return there_and_back_N.repeat(size // len(there_and_back_N) + 1)[:size]


def speed_up(waveform_N: Tensor, factor: float) -> Tensor:
    """Faster and higher by a factor, or slower and lower, by linear interpolation."""
    if factor == 1:
        return waveform_N
    size = max(1, math.floor(len(waveform_N) / factor))
    return torch.nn.functional.interpolate(
        waveform_N[None, None], size, mode="linear", align_corners=True
    )[0, 0]
