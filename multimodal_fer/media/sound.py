"""The sound of a recording on the container's clock: gaps are silence, late sound is late."""

from collections.abc import Iterator
from os import PathLike
from typing import Any

import av
import numpy

from multimodal_fer.media.container import Warn, clock_zero, decode, logger, open_media
from multimodal_fer.types import SAMPLE_RATE, Waveform

GAP_TOLERANCE = 0.05  # seconds; a larger hole between audio packets is filled with silence


def iter_audio(
    path: str | PathLike[str], *, block: float = 30.0, warn: Warn = logger.warning
) -> Iterator[tuple[float, Waveform]]:
    """Stream the sound as mono 16 kHz blocks on the container's clock.

    Yields (start in seconds, float32 waveform in [-1, 1]); blocks follow each other without a gap from
    zero on: sound that starts late is preceded by silence, and lost packets leave silence behind.
    """
    size = int(block * SAMPLE_RATE)
    pending: list[Waveform] = []
    held, written = 0, 0
    for piece in _iter_pieces(path, warn):
        pending.append(piece)
        held += len(piece)
        while held >= size:
            joined = numpy.concatenate(pending)
            yield written / SAMPLE_RATE, joined[:size]
            written += size
            pending, held = [joined[size:]], held - size
    if held:
        yield written / SAMPLE_RATE, numpy.concatenate(pending)


def read_audio(path: str | PathLike[str], start: float = 0.0, end: float | None = None) -> Waveform:
    """Read the sound between two times (seconds) at once, as mono 16 kHz float32 in [-1, 1]."""
    parts = []
    for block_start, waveform in iter_audio(path):
        if end is not None and block_start >= end:
            break
        first = max(0, round((start - block_start) * SAMPLE_RATE))
        last = len(waveform) if end is None else round((end - block_start) * SAMPLE_RATE)
        parts.append(waveform[first : max(last, 0)])
    return numpy.concatenate(parts) if parts else numpy.zeros(0, numpy.float32)


def _iter_pieces(path: str | PathLike[str], warn: Warn) -> Iterator[Waveform]:
    """Mono 16 kHz pieces without gaps, from the container's zero on."""
    with open_media(path) as container:
        if not container.streams.audio:
            return
        stream = container.streams.audio[0]
        zero = clock_zero(container)
        setup, resampler = None, None
        position = 0.0  # seconds of sound handed to the resampler or filled in
        for frame in decode(path, container, stream, warn):
            seconds = position if frame.time is None else frame.time - zero
            gap = seconds - position
            if setup != (frame.format.name, frame.layout.name, frame.sample_rate):
                yield from _drain(resampler)
                setup = (frame.format.name, frame.layout.name, frame.sample_rate)
                resampler = _new_resampler()
            if gap > GAP_TOLERANCE:
                yield from _drain(resampler)
                resampler = _new_resampler()
                yield from _silence(round(gap * SAMPLE_RATE))
                position = seconds
            elif position == 0.0 and seconds < -GAP_TOLERANCE:
                continue  # before the clock's zero: players do not play it either
            frame.pts = None  # the resampler counts by itself; gaps are handled above
            position += frame.samples / frame.sample_rate
            yield from _resampled(resampler, frame)
        yield from _drain(resampler)


def _new_resampler() -> Any:
    # Whole-number samples: only then does FFmpeg scale the mix of several channels to fit into ±1.
    return av.AudioResampler("s16", "mono", SAMPLE_RATE)


def _resampled(resampler: Any, frame: Any) -> Iterator[Waveform]:
    for piece in resampler.resample(frame):
        yield piece.to_ndarray().reshape(-1).astype(numpy.float32) / 32768


def _drain(resampler: Any | None) -> Iterator[Waveform]:
    if resampler is not None:
        yield from _resampled(resampler, None)


def _silence(samples: int) -> Iterator[Waveform]:
    """Zeros in pieces of a second at most: a hole of hours must not become one array."""
    while samples > 0:
        yield numpy.zeros(min(samples, SAMPLE_RATE), numpy.float32)
        samples -= SAMPLE_RATE
