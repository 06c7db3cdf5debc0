"""The conditions of recordings under which voices are measured: clean, babble, room, telephone, codec."""

import io
from collections.abc import Callable
from typing import Any

import av
import numpy
import torch
from torch import Tensor

from multimodal_fer.layers.sequences import pad
from multimodal_fer.training.sound_augmentation import babble, in_room, mix, narrow, pink
from multimodal_fer.types import SAMPLE_RATE

BABBLE_DECIBELS, ROOM_SECONDS, ROOM_DECIBELS = 10.0, 0.5, 20.0
TELEPHONE = (300.0, 3400.0)
CODEC_RATE = 24_000  # bits a second

Change = Callable[[list[Tensor]], list[Tensor]]


def as_batch(change: Callable[[Tensor, Tensor, torch.Generator], Tensor]) -> Change:
    """Return the change for a list of waveforms, with the same random draws at every call."""

    def changed(waveforms: list[Tensor]) -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        found = []
        for start in range(0, len(waveforms), 32):
            group = waveforms[start : start + 32]
            padded_BN, lengths_B = pad(group)
            rows = change(padded_BN, lengths_B, generator).clamp(-1, 1)
            found += [row[:length] for row, length in zip(rows, lengths_B.tolist(), strict=True)]
        return found

    return changed


def in_babble(waveforms_BN: Tensor, lengths_B: Tensor, generator: torch.Generator) -> Tensor:
    decibels = torch.tensor([[BABBLE_DECIBELS]])
    return mix(waveforms_BN, babble(waveforms_BN, generator), lengths_B, decibels)


def in_noisy_room(waveforms_BN: Tensor, lengths_B: Tensor, generator: torch.Generator) -> Tensor:
    room_BN = in_room(waveforms_BN, torch.tensor([[ROOM_SECONDS]]), generator)
    return mix(room_BN, pink(room_BN, generator), lengths_B, torch.tensor([[ROOM_DECIBELS]]))


def by_telephone(waveforms_BN: Tensor, lengths_B: Tensor, generator: torch.Generator) -> Tensor:
    low, high = (torch.tensor([[edge]]) for edge in TELEPHONE)
    return narrow(waveforms_BN, low, high)


def through_codec(waveforms: list[Tensor]) -> list[Tensor]:
    """Encode as Opus at 24 kbit/s and decode again."""
    return [recode(waveform) for waveform in waveforms]


def recode(waveform_N: Tensor) -> Tensor:
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        stream: Any = container.add_stream("libopus", rate=48_000, layout="mono")
        stream.bit_rate = CODEC_RATE
        samples = (waveform_N.clamp(-1, 1) * 32767).round().to(torch.int16).numpy()[None]
        frame = av.AudioFrame.from_ndarray(numpy.ascontiguousarray(samples), "s16", "mono")
        frame.sample_rate = SAMPLE_RATE
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=48_000)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as container:
        resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)
        pieces = [p for f in container.decode(audio=0) for p in resampler.resample(f)]
        pieces += resampler.resample(None)
    decoded = numpy.concatenate([piece.to_ndarray()[0] for piece in pieces])
    return torch.from_numpy(decoded[: len(waveform_N)].astype(numpy.float32) / 32768)


CONDITIONS: dict[str, Change] = {
    "clean": lambda waveforms: waveforms,
    "babble": as_batch(in_babble),
    "room": as_batch(in_noisy_room),
    "telephone": as_batch(by_telephone),
    "codec": through_codec,
}
