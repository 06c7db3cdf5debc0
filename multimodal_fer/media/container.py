"""Open recordings with PyAV, which brings FFmpeg in its wheel, and decode their streams.

Streams are decoded piece by piece, so memory does not grow with the length of a recording.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from multimodal_fer.errors import MediaError
from multimodal_fer.media.clock import (
    Clock,
    frame_rate_of,
    stated_duration,
    timed_packets,
    video_stream_of,
)
from multimodal_fer.media.kinds import advice_for
from multimodal_fer.types import Media
from multimodal_fer.utils.files import printable

Warn = Callable[[str], None]
SOUND_RATES = 1_000, 1_000_000  # Hz; telephones have 8,000, studios up to 384,000
logger = logging.getLogger(__name__)


def probe(path: str | PathLike[str]) -> Media:
    """Return what a recording contains, without decoding it.

    Raises `MediaError` if the file is missing, empty or unreadable, or has neither video nor sound.
    """
    with open_media(path) as container:
        video = video_stream_of(container)
        has_audio = bool(container.streams.audio)
        if video is None and not has_audio:
            raise MediaError(
                f"{printable(path)}: expected a recording with video or sound, found neither. "
                f"{advice_for(path)}"
            )
        if video is None:
            check_rate(path, container.streams.audio[0])
        width, height, rate = 0, 0, 0.0
        if video is not None:
            width, height = square_size(video, video.width, video.height)
            rate = frame_rate_of(video)
        return Media(
            path=str(path),
            duration=stated_duration(container),
            has_video=video is not None,
            has_audio=has_audio,
            width=width,
            height=height,
            frame_rate=rate,
        )


def check_rate(path: str | PathLike[str], stream: Any) -> None:
    """Raise `MediaError` if a sound track states a sampling rate that no recording has."""
    low, high = SOUND_RATES
    if not low <= (stream.rate or 0) <= high:
        raise MediaError(
            f"{printable(path)}: its sound track states a rate of {stream.rate or 0:,} Hz, expected "
            f"{low:,} to {high:,} Hz; its header is damaged: copy or export the recording again"
        )


@contextmanager
def open_media(path: str | PathLike[str]) -> Iterator[Any]:
    """Open a recording as a PyAV container. Raises `MediaError` if that is not possible."""
    name = printable(path)
    # PyAV before 19 refuses titles that are not UTF-8 unless it is told to replace them.
    old = int(av.__version__.split(".")[0]) < 19
    lenient: dict[str, Any] = {"metadata_errors": "replace"} if old else {}
    try:
        check_file(path)
        # A playlist with the name of a video must not make FFmpeg fetch the files that it lists.
        container = av.open(file_address(path), options={"protocol_whitelist": "file"}, **lenient)
    except PermissionError:
        raise MediaError(f"{name}: permission denied; allow this user to read the file") from None
    except (FFmpegError, ValueError) as error:
        raise MediaError(
            f"{name}: expected a video or audio file, but FFmpeg cannot open it ({_reason(error)}). "
            f"{advice_for(path)}"
        ) from None
    except OSError as error:
        raise MediaError(
            f"{name}: cannot be opened ({_reason(error)}); check the name and the links in it"
        ) from None
    with container:
        yield container


def check_file(path: str | PathLike[str]) -> None:
    """Raise `MediaError` unless a path is that of a file with content."""
    path, name = Path(path), printable(path)
    if not path.exists() and not path.is_symlink():
        raise MediaError(f"{name}: no such file; check the spelling and the folder")
    if path.is_dir():
        raise MediaError(f"{name}: is a folder; name a recording in it")
    if path.stat().st_size == 0:
        raise MediaError(f"{name}: is empty (0 bytes); copy or export the recording again")


def file_address(path: str | PathLike[str]) -> str:
    """Return a path as FFmpeg needs it: a name such as `10:30 answer.mp4` must not become a protocol."""
    return f"file:{fspath(path)}"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def decode(
    path: Any, container: Any, stream: Any, warn: Warn, start: float, clock: Clock
) -> Iterator[Any]:
    """Yield the frames of one stream with stamps on the recording's clock.

    Damaged packets are skipped, and their number is reported at the end. Frames before `start` (seconds) are
    not decoded as far as no later one depends on them.
    """
    name = printable(Path(path).name)
    damaged = 0
    packets = timed_packets(container, stream, clock, start=start)
    while True:
        try:
            packet = next(packets, None)
        except (FFmpegError, OSError) as error:
            warn(f"{name}: reading stopped before its end ({_reason(error)})")
            break
        if packet is None:
            break
        try:
            for frame in packet.decode():
                if frame.is_corrupt:
                    damaged += 1
                else:
                    yield frame
        except FFmpegError:
            damaged += 1
    if damaged:
        warn(f"{name}: {damaged} damaged parts of the {stream.type} stream were skipped")


def square_size(stream: Any, width: int, height: int) -> tuple[int, int]:
    """Return width and height in square pixels; the pixel aspect ratio scales the width."""
    aspect = stream.sample_aspect_ratio
    return (round(width * float(aspect)) if aspect else width), height
