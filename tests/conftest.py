"""Recordings made for the tests: real containers and codecs, with content that is known exactly."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy
import pytest
from numpy.typing import NDArray

from multimodal_fer.analyzer import Analyzer
from multimodal_fer.media.frames import iter_frames
from multimodal_fer.media.sound import read_audio

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "examples" / "sample.mp4"
REAL_VIDEOS = ROOT.parent / "shared" / "data" / "video"

Image = NDArray[numpy.uint8]
Sound = NDArray[numpy.float32]


def tone(seconds: float, rate: int, start: float = 0.0, pitch: float = 440.0) -> Sound:
    """A sine that starts after `start` seconds of silence."""
    time = numpy.arange(round(seconds * rate)) / rate
    return numpy.where(time >= start, 0.5 * numpy.sin(2 * numpy.pi * pitch * time), 0).astype("f4")


def grey(_: float) -> Image:
    return numpy.full((240, 320, 3), 90, numpy.uint8)


def write_clip(
    path: Path,
    *,
    frame_times: Sequence[float] | None = None,
    picture: Callable[[float], Image] = grey,
    pixel_format: str = "yuv420p",
    rotation: int = 0,
    pixel_aspect: Fraction | None = None,
    sound: Sound | None = None,
    rate: int = 48_000,
    layout: str = "mono",
    sound_start: float = 0.0,
) -> Path:
    """Write pictures at the given times and a mono sound, copied to every channel of `layout`."""
    with av.open(str(path), "w") as container:
        video = audio = None
        if frame_times is not None:
            height, width = picture(0.0).shape[:2]
            codec = "mpeg4" if path.suffix == ".avi" else "libx264"
            video = container.add_stream(codec, rate=30)
            video.width, video.height, video.pix_fmt = width, height, pixel_format
            video.time_base = video.codec_context.time_base = Fraction(1, 30_000)
            if pixel_aspect:
                video.sample_aspect_ratio = pixel_aspect
            if rotation:
                video.set_display_rotation(rotation)
        if sound is not None:
            codec = {".wav": "pcm_s16le", ".mp3": "libmp3lame"}.get(path.suffix, "aac")
            audio = container.add_stream(codec, rate=rate, layout=layout)
        if video is not None:
            _write_pictures(container, video, frame_times or (), picture)
        if audio is not None and sound is not None:
            _write_sound(container, audio, sound, rate, layout, sound_start)
    return path


def _write_pictures(container, stream, frame_times, picture) -> None:
    for time in frame_times:
        frame = av.VideoFrame.from_ndarray(picture(time), format="rgb24")
        frame.pts, frame.time_base = round(time * 30_000), Fraction(1, 30_000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _write_sound(container, stream, sound, rate, layout, start) -> None:
    channels = len(av.AudioLayout(layout).channels)
    planar = numpy.repeat(sound[None], channels, axis=0)
    resampler = av.AudioResampler(stream.format.name, layout, rate)
    for first in range(0, planar.shape[1], 1024):
        piece = numpy.ascontiguousarray(planar[:, first : first + 1024])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
        frame.sample_rate = rate
        frame.pts, frame.time_base = first + round(start * rate), Fraction(1, rate)
        for ready in resampler.resample(frame):
            container.mux(stream.encode(ready))
    container.mux(stream.encode())


def remux(
    source: Path,
    target: Path,
    *,
    keep: Callable[[av.Packet], bool] = lambda _: True,
    title: str = "",
    options: dict[str, str] | None = None,
) -> Path:
    """Copy the packets of a recording's one stream that `keep` lets through, without encoding."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        if title:
            new.metadata["title"] = title
        stream = new.add_stream_from_template(old.streams[0])
        for packet in old.demux(old.streams[0]):
            if packet.size and keep(packet):
                packet.stream = stream
                new.mux(packet)
    return target


def every(seconds: float, rate: float) -> list[float]:
    """Times of a constant frame rate."""
    return [number / rate for number in range(round(seconds * rate))]


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Deal whole files to the processes, and those that share the IEMOCAP corpus to one of them.

    What files and the corpus prepare would else be prepared in each process.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "iemocap" if shares_corpus(config.rootpath / file) else file

    return Scheduling(config, log)


@cache
def shares_corpus(file: Path) -> bool:
    return "import iemocap_shared" in file.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def portrait() -> Image:
    """One picture of the sample recording, 640x360, with a face in it."""
    return next(iter(iter_frames(SAMPLE))).image


@pytest.fixture(scope="session")
def speech() -> Sound:
    """The sound of the sample recording: 16 kHz, three sentences with pauses."""
    return read_audio(SAMPLE)


@pytest.fixture(scope="session")
def analyzer() -> Analyzer:
    """The default analyzer, loaded once."""
    return Analyzer()


@pytest.fixture(scope="session")
def silent_analyzer() -> Analyzer:
    """The default analyzer without a speech model: quick, for tests of everything else."""
    return Analyzer(speech_model="none")
