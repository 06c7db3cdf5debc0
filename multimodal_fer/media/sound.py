"""Read the sound of a recording on the container's clock; gaps become silence."""

from collections import deque
from collections.abc import Generator, Iterator
from os import PathLike
from typing import Any

import av
import numpy

from multimodal_fer.errors import MediaError
from multimodal_fer.media.clock import Clock
from multimodal_fer.media.container import Warn, check_rate, decode, logger, open_media
from multimodal_fer.media.tracks import choose_track
from multimodal_fer.types import SAMPLE_RATE, Waveform

GAP_TOLERANCE = 0.05  # seconds; a larger gap between audio packets is filled with silence
STEADY = 0.5  # seconds for which sound has to be longer than its stamps say to be shortened


def iter_audio(
    path: str | PathLike[str], *, block: float = 30.0, warn: Warn = logger.warning
) -> Generator[tuple[float, Waveform], None, None]:
    """Yield the sound in blocks: the start in seconds and a mono 16 kHz float32 waveform in [-1, 1].

    Blocks of `block` seconds follow each other without a gap from zero on. Silence fills the time before
    a late start and in place of lost packets.
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
    """Return the sound between two times (seconds) as mono 16 kHz float32 in [-1, 1]."""
    parts = []
    for block_start, waveform in iter_audio(path):
        if end is not None and block_start >= end:
            break
        first = max(0, round((start - block_start) * SAMPLE_RATE))
        last = len(waveform) if end is None else round((end - block_start) * SAMPLE_RATE)
        parts.append(waveform[first : max(last, 0)])
    return numpy.concatenate(parts) if parts else numpy.zeros(0, numpy.float32)


def _iter_pieces(path: str | PathLike[str], warn: Warn) -> Iterator[Waveform]:
    """Yield mono 16 kHz pieces without gaps, from the recording's zero on."""
    with open_media(path) as container:
        if not container.streams.audio:
            return
        stream = choose_track(path, container, warn)
        try:
            check_rate(path, stream)
        except MediaError as error:
            warn(str(error))  # the pictures can still be analysed
            return
        setup, resampler = None, None
        position = 0.0  # seconds of sound resampled or filled in so far
        ahead = Ahead()
        for frame in decode(path, container, stream, warn, 0.0, Clock(container, warn)):
            seconds = position if frame.time is None else frame.time
            gap = seconds - position
            current = (frame.format.name, frame.layout.name, frame.sample_rate)
            if setup != current or gap > GAP_TOLERANCE:
                yield from _resampled(resampler, None)
                # FFmpeg scales a mix of channels to fit into ±1 for integer samples only.
                setup, resampler = current, av.AudioResampler("s16", "mono", SAMPLE_RATE)
            if gap > GAP_TOLERANCE:
                yield from _silence(round(gap * SAMPLE_RATE))
                position = seconds
            elif position == 0.0 and seconds < -GAP_TOLERANCE:
                continue  # before the clock's zero; players skip it too
            length = frame.samples / frame.sample_rate
            excess = ahead.excess(length, -gap)
            frame.pts = None  # gaps are filled above, so the resampler must not see them
            for piece in _resampled(resampler, frame):
                yield piece[round(min(excess, length) * len(piece) / length) :]
            position += length - min(excess, length)
        yield from _resampled(resampler, None)


class Ahead:
    """Measure by how much the sound is longer than its stamps say, so that the excess can be left out.

    Stamps of some recorders scatter: only what the last `STEADY` seconds have in common is an excess.
    """

    def __init__(self) -> None:
        self.recent: deque[tuple[float, float]] = deque()  # lengths and leads of frames, in seconds
        self.held = 0.0

    def excess(self, length: float, lead: float) -> float:
        """Return the seconds to leave out of a frame that comes `lead` seconds later than its stamp."""
        self.recent.append((length, lead))
        self.held += length
        while self.held - self.recent[0][0] >= STEADY:
            self.held -= self.recent.popleft()[0]
        common = min(lead for _, lead in self.recent)
        if common <= GAP_TOLERANCE or self.held < STEADY:
            return 0.0
        cut = min(common, length)
        self.recent = deque((length, lead - cut) for length, lead in self.recent)
        return cut


def _resampled(resampler: Any | None, frame: Any | None) -> Iterator[Waveform]:
    """Yield resampled pieces; without a frame, those that the resampler still holds."""
    for piece in resampler.resample(frame) if resampler is not None else ():
        yield piece.to_ndarray().reshape(-1).astype(numpy.float32) / 32768


def _silence(samples: int) -> Iterator[Waveform]:
    """Yield zeros in pieces of at most a second, so that a long gap needs little memory."""
    while samples > 0:
        yield numpy.zeros(min(samples, SAMPLE_RATE), numpy.float32)
        samples -= SAMPLE_RATE
