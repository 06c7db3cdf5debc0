"""Choose the sound track of a recording that has several, such as those of microphone and computer."""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from os import PathLike
from typing import Any

import av
import numpy
from av.error import FFmpegError
from av.stream import Disposition

AUDIBLE = 10 ** (-60 / 20)  # of full scale; the noise of a connected microphone is louder
PROBES = 12  # places of the recording at which silent tracks are told from others
PROBED = 5.0  # seconds listened to at each place


def choose_track(
    path: str | PathLike[str], container: Any, warn: Callable[[str], None] = lambda _: None
) -> Any:
    """Return the sound stream to analyse; with several, warn which one it is.

    A track that can be heard comes before a silent one, and a default track before others; among equals the
    first one. The container must not be read from yet.
    """
    streams = container.streams.audio
    if len(streams) == 1:
        return streams[0]
    status = os.stat(path)
    chosen, silent = _choose(os.fspath(path), status.st_size, status.st_mtime_ns)
    note = f" (silent: {', '.join(str(number + 1) for number in silent)})" if silent else ""
    warn(
        f"the recording has {len(streams)} sound tracks{note}; only track {chosen + 1} is analysed; "
        "if people speak on another one, export the recording with that track alone"
    )
    return streams[chosen]


@lru_cache(maxsize=64)
def _choose(path: str, _size: int, _modified: int) -> tuple[int, tuple[int, ...]]:
    """Return the number of the track to analyse, and the silent ones; cached by the file's state."""
    with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
        count = len(container.streams.audio)
        default = [
            bool(stream.disposition & Disposition.default) for stream in container.streams.audio
        ]
    loud = _audible(path, count)
    order = sorted(range(count), key=lambda number: (not loud[number], not default[number]))
    return order[0], tuple(number for number in range(count) if not loud[number])


def _audible(path: str, count: int) -> list[bool]:
    """Return for each track whether something can be heard at one of the places listened to."""
    loud = [False] * count
    with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
        length = (container.duration or 0) / av.time_base
        begin = (container.start_time or 0) / av.time_base
        streams = {stream.index: number for number, stream in enumerate(container.streams.audio)}
        for place in range(PROBES if length > PROBES * PROBED else 1):
            start = begin + length * place / PROBES
            if place:
                with suppress(FFmpegError):
                    container.seek(int(start * av.time_base))
            until = start + PROBED if length > PROBES * PROBED else float("inf")
            _listen(container, streams, until, loud)
            if all(loud):
                break
    return loud


def _listen(container: Any, streams: dict[int, int], until: float, loud: list[bool]) -> None:
    """Mark the tracks that can be heard before a time (seconds)."""
    for packet in container.demux(list(container.streams.audio)):
        if packet.pts is not None and float(packet.pts * packet.time_base) > until:
            return
        number = streams[packet.stream.index]
        if loud[number]:
            continue
        with suppress(FFmpegError):
            for frame in packet.decode():
                sound = frame.to_ndarray()
                scale = 1.0 if sound.dtype.kind == "f" else float(numpy.iinfo(sound.dtype).max)
                middle = scale / 2 if sound.dtype.kind == "u" else 0.0
                loud[number] |= bool(numpy.abs(sound - middle).max(initial=0) > AUDIBLE * scale)
