"""Open recordings with PyAV, which brings FFmpeg in its wheel, and decode their streams.

Streams are decoded piece by piece, so memory does not grow with the length of a recording.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError
from av.stream import Disposition

from multimodal_fer.errors import MediaError
from multimodal_fer.types import Media

Warn = Callable[[str], None]
logger = logging.getLogger(__name__)


def probe(path: str | PathLike[str]) -> Media:
    """Return what a recording contains, without decoding it.

    Raises `MediaError` if the file is missing, empty or unreadable, or has neither video nor sound.
    """
    with open_media(path) as container:
        video = video_stream_of(container)
        has_audio = bool(container.streams.audio)
        if video is None and not has_audio:
            raise MediaError(f"{path}: expected a recording with video or sound, found neither")
        width, height, rate = 0, 0, 0.0
        if video is not None:
            width, height = square_size(video, video.width, video.height)
            rate = float(video.guessed_rate or video.average_rate or 0)
        return Media(
            path=str(path),
            duration=container.duration / av.time_base if container.duration else 0.0,
            has_video=video is not None,
            has_audio=has_audio,
            width=width,
            height=height,
            frame_rate=rate,
        )


@contextmanager
def open_media(path: str | PathLike[str]) -> Iterator[Any]:
    """Open a recording as a PyAV container. Raises `MediaError` if that is not possible."""
    path = Path(path)
    if not path.exists():
        raise MediaError(f"{path}: no such file; check the spelling and the folder")
    if path.is_dir():
        raise MediaError(f"{path}: is a folder; name a recording in it")
    if path.stat().st_size == 0:
        raise MediaError(f"{path}: is empty (0 bytes); copy or export the recording again")
    # PyAV before 19 refuses titles that are not UTF-8 unless it is told to replace them.
    old = int(av.__version__.split(".")[0]) < 19
    lenient: dict[str, Any] = {"metadata_errors": "replace"} if old else {}
    try:
        # A playlist with the name of a video must not make FFmpeg fetch the files that it lists.
        container = av.open(str(path), options={"protocol_whitelist": "file"}, **lenient)
    except PermissionError:
        raise MediaError(f"{path}: permission denied; allow this user to read the file") from None
    except (FFmpegError, ValueError) as error:
        raise MediaError(
            f"{path}: expected a video or audio file, but FFmpeg cannot open it ({_reason(error)}). "
            "The file is not a recording or is incomplete: copy or export it again"
        ) from None
    with container:
        yield container


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def video_stream_of(container: Any) -> Any | None:
    """Return the first video stream; the cover picture of a music file does not count."""
    for stream in container.streams.video:
        if not (stream.disposition & Disposition.attached_pic):
            return stream
    return None


def clock_zero(container: Any) -> float:
    """Return the seconds to subtract from all timestamps.

    MPEG streams start at any timestamp, and players show the first one as 0:00. Other containers start
    at zero; a later first timestamp is a delay that players keep.
    """
    arbitrary = container.format.name in ("mpegts", "mpeg")
    return container.start_time / av.time_base if arbitrary and container.start_time else 0.0


def decode(path: Any, container: Any, stream: Any, warn: Warn) -> Iterator[Any]:
    """Yield the frames of one stream; skip damaged packets and report their number at the end."""
    damaged = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (FFmpegError, OSError) as error:
            warn(f"{Path(path).name}: reading stopped before its end ({_reason(error)})")
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
        warn(f"{Path(path).name}: {damaged} damaged parts of the {stream.type} stream were skipped")


def square_size(stream: Any, width: int, height: int) -> tuple[int, int]:
    """Return width and height in square pixels; the pixel aspect ratio scales the width."""
    aspect = stream.sample_aspect_ratio
    return (round(width * float(aspect)) if aspect else width), height
