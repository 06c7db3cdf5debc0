"""Read recordings: what they are, their sound, their pictures, all on the container's one clock.

PyAV carries FFmpeg in its wheel, so nothing else has to be installed. Both streams are streamed: what a
reader holds does not grow with the length of the recording.
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
    """Say what a recording is, without decoding it.

    Raises `MediaError` for a missing, empty or unreadable file and one without sound or picture.
    """
    with open_media(path) as container:
        video = video_stream_of(container)
        audio = container.streams.audio[0] if container.streams.audio else None
        if video is None and audio is None:
            raise MediaError(f"{path}: expected a recording with a picture or sound, found neither")
        width, height, rate = 0, 0, 0.0
        if video is not None:
            width, height = square_size(video, video.width, video.height)
            rate = float(video.guessed_rate or video.average_rate or 0)
        duration = container.duration / av.time_base if container.duration else 0.0
        return Media(
            path=str(path),
            duration=duration,
            has_video=video is not None,
            has_audio=audio is not None,
            width=width,
            height=height,
            frame_rate=rate,
        )


@contextmanager
def open_media(path: str | PathLike[str]) -> Iterator[Any]:
    path = Path(path)
    if not path.exists():
        raise MediaError(f"{path}: no such file; check the spelling and the folder")
    if path.is_dir():
        raise MediaError(f"{path}: is a folder; give the recordings inside it")
    if path.stat().st_size == 0:
        raise MediaError(f"{path}: is empty (0 bytes); copy or export the recording again")
    try:
        # A playlist that calls itself a video must not make FFmpeg fetch what it names.
        only_files = {"protocol_whitelist": "file"}
        container = av.open(str(path), options=only_files, **_lenient_titles())
    except PermissionError:
        raise MediaError(f"{path}: may not be read; check its permissions") from None
    except (FFmpegError, ValueError) as error:
        raise MediaError(
            f"{path}: expected a video or audio file, but FFmpeg cannot open it "
            f"({_reason(error)}). It is no recording, or its end is missing: "
            "copy or export it again"
        ) from None
    with container:
        yield container


def _lenient_titles() -> dict[str, Any]:
    """PyAV before 19 refuses files whose title is not UTF-8 unless asked; later versions do not ask."""
    return {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def video_stream_of(container: Any) -> Any | None:
    """The first moving picture; the cover picture of a music file is not one."""
    for stream in container.streams.video:
        if not (stream.disposition & Disposition.attached_pic):
            return stream
    return None


def clock_zero(container: Any) -> float:
    """Seconds to take off all timestamps.

    MPEG streams start their clock anywhere, and players show its first value as 0:00. Other containers
    count from zero, and a late first stamp there is a real delay that players keep.
    """
    arbitrary = container.format.name in ("mpegts", "mpeg")
    return container.start_time / av.time_base if arbitrary and container.start_time else 0.0


def decode(path: Any, container: Any, stream: Any, warn: Warn) -> Iterator[Any]:
    """Decode one stream, stepping over broken packets and saying at the end how many there were."""
    broken = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (FFmpegError, OSError) as error:
            warn(f"{Path(path).name}: cannot be read to its end ({_reason(error)})")
            break
        if packet is None:
            break
        try:
            for frame in packet.decode():
                if frame.is_corrupt:
                    broken += 1
                else:
                    yield frame
        except FFmpegError:
            broken += 1
    if broken:
        warn(f"{Path(path).name}: {broken} damaged pieces of {stream.type} were left out")


def square_size(stream: Any, width: int, height: int) -> tuple[int, int]:
    """Size in square pixels: the pixel aspect stretches the width."""
    aspect = stream.sample_aspect_ratio
    return (round(width * float(aspect)) if aspect else width), height
