"""Sample the frames of a video at a chosen rate, upright and with square pixels."""

from collections.abc import Callable, Generator
from contextlib import suppress
from os import PathLike
from typing import Any, NamedTuple

import av
import cv2
import numpy
from av.error import FFmpegError

from multimodal_fer.media.clock import CODING_DELAY, Clock, frame_rate_of, video_stream_of
from multimodal_fer.media.container import Warn, decode, logger, open_media, square_size
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
    ended: Callable[[float], None] = lambda _: None,
) -> Generator[Frame, None, None]:
    """Yield about `rate` frames per second, upright and with square pixels.

    Each is the first frame at or after a sampling time (a multiple of 1 / `rate`) and keeps its own
    timestamp, so a variable frame rate does no harm. Frames in between are not converted or kept. Those
    before `start` (seconds) are not decoded as far as no later one depends on them. After the last frame,
    `ended` receives the second at which the video stream ends.
    """
    with open_media(path) as container:
        stream = video_stream_of(container)
        if stream is None:
            return
        stream.thread_type = "AUTO"
        source_rate = frame_rate_of(stream)
        if source_rate >= SKIP_FACTOR * rate:
            # No other frame depends on these frames; leaving them out saves about half the time.
            stream.codec_context.skip_frame = "NONREF"
        clock = Clock(container, warn)
        if 0 < start <= clock.stated and not clock.anew and stream.start_time is not None:
            with suppress(FFmpegError):  # then all frames are read
                container.seek(int((start - clock.offsets[0]) * av.time_base))
        due, before = start, False
        for index, frame in enumerate(decode(path, container, stream, warn, start, clock)):
            counted = clock.unstamped + index / (source_rate or rate)
            seconds = counted if frame.time is None else frame.time
            if seconds < -CODING_DELAY:
                before = True
                continue
            seconds = max(0.0, seconds)
            if seconds + EARLY < due:
                continue
            due = (numpy.floor((seconds + EARLY) * rate) + 1) / rate
            yield Frame(seconds, _upright(frame, stream))
        if before:
            warn("the pictures from before the time 0:00 of this recording are not analysed")
        ended(clock.reached(stream))


def _upright(frame: Any, stream: Any) -> Image:
    width, height = square_size(stream, frame.width, frame.height)
    image = frame.to_ndarray(format="rgb24", width=width, height=height)
    turns = round(frame.rotation / 90) % 4  # counter-clockwise, from the display matrix
    return cv2.rotate(image, ROTATIONS[turns - 1]) if turns else image
