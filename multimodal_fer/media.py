"""Read recordings: what they are, their sound, their pictures, all on the container's one clock.

PyAV carries FFmpeg in its wheel, so nothing else has to be installed. Both streams are streamed: what a
reader holds does not grow with the length of the recording.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy
from av.error import FFmpegError
from av.stream import Disposition
from numpy.typing import NDArray

from multimodal_fer.errors import MediaError
from multimodal_fer.types import Image, Media

SAMPLE_RATE = 16_000  # Hz, mono, for speech recognition and voice features alike
FRAME_RATE = 5.0  # pictures per second that are looked at by default
GAP_TOLERANCE = 0.05  # seconds; a larger hole between audio packets is filled with silence
EVERY_PICTURE = 1e6  # a rate above that of any recording
EARLY = 1e-3  # seconds by which a rounded timestamp may fall short of its tick
SKIP_FACTOR = 5.0  # frames nothing refers to stay undecoded where there are this many to a tick

Waveform = NDArray[numpy.float32]
Warn = Callable[[str], None]

logger = logging.getLogger(__name__)


class Frame(NamedTuple):
    """One picture: seconds on the container's clock, and upright RGB uint8 (H, W, 3)."""

    time: float
    image: Image


def probe(path: str | PathLike[str]) -> Media:
    """Say what a recording is, without decoding it.

    Raises `MediaError` for a missing, empty or unreadable file and one without sound or picture.
    """
    with open_media(path) as container:
        video = _video_stream(container)
        audio = container.streams.audio[0] if container.streams.audio else None
        if video is None and audio is None:
            raise MediaError(f"{path}: expected a recording with a picture or sound, found neither")
        width, height, rate = 0, 0, 0.0
        if video is not None:
            width, height = _square_size(video, video.width, video.height)
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
        stream = _video_stream(container)
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


def _video_stream(container: Any) -> Any | None:
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


def _square_size(stream: Any, width: int, height: int) -> tuple[int, int]:
    """Size in square pixels: the pixel aspect stretches the width."""
    aspect = stream.sample_aspect_ratio
    return (round(width * float(aspect)) if aspect else width), height


def _upright(frame: Any, stream: Any) -> Image:
    width, height = _square_size(stream, frame.width, frame.height)
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
