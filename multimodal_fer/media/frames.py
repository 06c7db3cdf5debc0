"""Sample the frames of a video at a chosen rate, upright and with square pixels."""

from collections.abc import Iterator
from contextlib import suppress
from os import PathLike
from typing import Any, NamedTuple

import av
import cv2
import numpy
from av.error import FFmpegError

from multimodal_fer.media.container import (
    Warn,
    clock_zero,
    decode,
    logger,
    open_media,
    square_size,
    video_stream_of,
)
from multimodal_fer.types import Image

FRAME_RATE = 5.0  # frames sampled per second by default
EVERY_FRAME = 1e6  # a rate above that of any recording
EARLY = 1e-3  # seconds by which a rounded timestamp may precede its sampling time
SKIP_FACTOR = 5.0  # with at least this many coded frames per sample, some are not decoded

ROTATIONS = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)


class Frame(NamedTuple):
    """A video frame: seconds on the container's clock, and upright RGB uint8 (H, W, 3)."""

    time: float
    image: Image


def iter_frames(
    path: str | PathLike[str],
    rate: float = FRAME_RATE,
    *,
    start: float = 0.0,
    warn: Warn = logger.warning,
) -> Iterator[Frame]:
    """Yield about `rate` frames per second, upright and with square pixels.

    Each is the first frame at or after a sampling time (a multiple of 1 / `rate`) and keeps its own
    timestamp, so a variable frame rate does no harm. Frames in between are not converted or kept. Those
    before `start` (seconds) are not decoded if the container supports seeking.
    """
    with open_media(path) as container:
        stream = video_stream_of(container)
        if stream is None:
            return
        stream.thread_type = "AUTO"
        source_rate = float(stream.guessed_rate or stream.average_rate or 0)
        if source_rate >= SKIP_FACTOR * rate:
            # No other frame depends on these frames; leaving them out saves about half the time.
            stream.codec_context.skip_frame = "NONREF"
        zero = clock_zero(container)
        if start > 0 and stream.start_time is not None:
            with suppress(FFmpegError):  # then all frames are read
                container.seek(int((start + zero) * av.time_base))
        due = start
        for index, frame in enumerate(decode(path, container, stream, warn)):
            seconds = index / (source_rate or rate) if frame.time is None else frame.time
            seconds = max(0.0, seconds - zero)
            if seconds + EARLY < due:
                continue
            due = (numpy.floor((seconds + EARLY) * rate) + 1) / rate
            yield Frame(seconds, _upright(frame, stream))


def _upright(frame: Any, stream: Any) -> Image:
    width, height = square_size(stream, frame.width, frame.height)
    image = frame.to_ndarray(format="rgb24", width=width, height=height)
    turns = round(frame.rotation / 90) % 4  # counter-clockwise, from the display matrix
    return cv2.rotate(image, ROTATIONS[turns - 1]) if turns else image
