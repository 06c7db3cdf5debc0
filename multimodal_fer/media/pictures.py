"""The pictures of a recording at a chosen rate: upright, with square pixels."""

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

FRAME_RATE = 5.0  # pictures per second that are looked at by default
EVERY_PICTURE = 1e6  # a rate above that of any recording
EARLY = 1e-3  # seconds by which a rounded timestamp may fall short of its tick
SKIP_FACTOR = 5.0  # frames nothing refers to stay undecoded where there are this many to a tick


class Frame(NamedTuple):
    """One picture: seconds on the container's clock, and upright RGB uint8 (H, W, 3)."""

    time: float
    image: Image


def iter_frames(
    path: str | PathLike[str],
    rate: float = FRAME_RATE,
    *,
    start: float = 0.0,
    warn: Warn = logger.warning,
) -> Iterator[Frame]:
    """Stream about `rate` pictures per second, each with its own timestamp, upright, square pixels.

    A picture is the first one at or after each tick of the clock; the time given is its own, not the
    tick's, so variable frame rate does no harm. Pictures in between are never converted or kept. What lies
    before `start` (seconds) is skipped without decoding it, where the container can be wound forward.
    """
    with open_media(path) as container:
        stream = video_stream_of(container)
        if stream is None:
            return
        stream.thread_type = "AUTO"
        source_rate = float(stream.guessed_rate or stream.average_rate or 0)
        if source_rate >= SKIP_FACTOR * rate:
            # Nobody looks at these frames and no other frame is built on them: about half the work.
            stream.codec_context.skip_frame = "NONREF"
        zero = clock_zero(container)
        if start > 0 and stream.start_time is not None:
            with suppress(FFmpegError):  # read from the beginning then
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
    if turns == 0:
        return image
    quarter = {
        1: cv2.ROTATE_90_COUNTERCLOCKWISE,
        2: cv2.ROTATE_180,
        3: cv2.ROTATE_90_CLOCKWISE,
    }
    return cv2.rotate(image, quarter[turns])
