"""Test stamps that start late, before zero or again, sound tracks, drifting clocks and odd names."""

import os
import shutil
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy
import pytest
from av.stream import Disposition
from conftest import every, tone, write_clip

from multimodal_fer.errors import MediaError
from multimodal_fer.media.container import probe
from multimodal_fer.media.frames import iter_frames
from multimodal_fer.media.sound import Ahead, iter_audio, read_audio
from multimodal_fer.types import SAMPLE_RATE


def brightening(time):
    return numpy.full((64, 64, 3), round(20 + 50 * time), numpy.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Write two seconds that brighten, with a tone from 1.5 s on."""
    folder = tmp_path_factory.mktemp("clock")
    return {
        ending: write_clip(
            folder / f"a.{ending}",
            frame_times=every(2, 30),
            picture=brightening,
            sound=tone(2, 48_000, 1.5),
        )
        for ending in ("mp4", "ts", "mkv")
    }


def shifted(source, target, seconds, kinds=("video", "audio")):
    """Copy a recording with later stamps."""
    with av.open(str(source)) as old:
        options = {"avoid_negative_ts": "disabled"}
        with av.open(str(target), "w", options=options) as new:
            streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
            packets: list[Any] = [packet for packet in old.demux() if packet.size]
            for packet in packets:
                if packet.stream.type in kinds:
                    packet.pts += round(seconds / packet.time_base)
                    packet.dts += round(seconds / packet.time_base)
            for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    return target


def watch(path, **settings):
    """Return the sampled times, the times that their brightness shows, and the end."""
    ends: list[float] = []
    frames = list(iter_frames(path, 2, ended=ends.append, **settings))
    times = [frame.time for frame in frames]
    return times, [(frame.image.mean() - 20) / 50 for frame in frames], *ends


def onsets(path, warn=lambda _: None):
    """Return the seconds at which tones start, and the length of the sound."""
    sound = numpy.concatenate([waveform for _, waveform in iter_audio(path, warn=warn)])
    loud = numpy.flatnonzero(numpy.abs(sound) > 0.1)
    starts = loud[numpy.flatnonzero(numpy.diff(loud, prepend=-SAMPLE_RATE) > SAMPLE_RATE / 10)]
    return [float(start) / SAMPLE_RATE for start in starts], len(sound) / SAMPLE_RATE


@pytest.mark.parametrize("ending", ["ts", "mkv"])
def test_joined_recordings_are_analysed_one_after_the_other(clip, tmp_path, ending):
    joined = tmp_path / f"joined.{ending}"
    joined.write_bytes(clip[ending].read_bytes() * 2)
    warnings: list[str] = []
    times, shown, end = watch(joined, warn=warnings.append)
    assert len(times) == 8 and end == pytest.approx(4, abs=0.1)
    for time, brightness in zip(times, shown, strict=True):
        assert brightness == pytest.approx(time - 2.01 * (time > 1.95), abs=0.1)
    found, length = onsets(joined, warnings.append)
    assert found == pytest.approx([1.5, 3.5], abs=0.1) and length == pytest.approx(4, abs=0.15)
    assert len(set(warnings)) == 1 and "restart at 2.0 s" in warnings[0]


def test_a_face_of_the_second_part_is_found_again(clip, tmp_path):
    """Check that the stamps of the first part are not taken for those of the second one."""
    joined = tmp_path / "joined.ts"
    joined.write_bytes(clip["ts"].read_bytes() * 2)
    for start in (0.5, 2.6, 3.4):
        frame = next(iter_frames(joined, 30, start=start))
        assert frame.time == pytest.approx(start, abs=0.05)
        assert (frame.image.mean() - 20) / 50 == pytest.approx(start - 2.01 * (start > 2), abs=0.1)


@pytest.mark.parametrize("seconds", [7200, 1.7e9, -1])
def test_a_clock_that_does_not_start_at_zero(clip, tmp_path, seconds):
    """Check that hours before the first stamp are no silence, and that nothing before zero is lost."""
    late = shifted(clip["mp4"], tmp_path / "late.mkv", seconds)
    assert probe(late).duration == pytest.approx(2, abs=0.1)
    times, shown, end = watch(late)
    assert len(times) == 4 and end == pytest.approx(2, abs=0.1)
    assert times == pytest.approx(shown, abs=0.12)
    found, length = onsets(late)
    assert found == pytest.approx([1.5], abs=0.06) and length == pytest.approx(2, abs=0.1)


def test_pictures_before_zero_do_not_move_the_others(clip, tmp_path):
    early = shifted(clip["mp4"], tmp_path / "early.mkv", -1, kinds=("video",))
    warnings: list[str] = []
    times, shown, _ = watch(early, warn=warnings.append)
    assert [brightness - 1 for brightness in shown] == pytest.approx(times, abs=0.25)
    assert onsets(early)[0] == pytest.approx([1.5], abs=0.06)
    assert warnings == ["the pictures from before the time 0:00 of this recording are not analysed"]


def test_sound_that_is_longer_than_its_stamps_is_shortened(tmp_path):
    """Check a recorder whose clock is 2 % slow: a tone is where the stamps say."""
    path, sound = tmp_path / "drift.mkv", tone(20, 16_000, 18)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for first in range(0, len(sound), 320):
            piece = (sound[None, first : first + 320] * 32_000).astype("i2")
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, round(first / 1.02)
            frame.time_base = Fraction(1, 16_000)
            container.mux(stream.encode(frame))
    found, length = onsets(path)
    assert found[0] == pytest.approx(18 / 1.02, abs=0.08)
    assert length == pytest.approx(20 / 1.02, abs=0.08)


def test_stamps_that_scatter_shorten_nothing():
    ahead = Ahead()
    assert not any(ahead.excess(0.02, 0.09 * (number % 3)) for number in range(200))


def test_the_track_that_can_be_heard_is_analysed(tmp_path):
    """Check a silent first track beside the microphone on the second one, as OBS records."""
    path = tmp_path / "tracks.mp4"
    with av.open(str(path), "w") as container:
        streams: list[Any] = [
            container.add_stream("aac", rate=16_000, layout="mono") for _ in range(3)
        ]
        streams[2].disposition = Disposition.default.value
        for first in range(0, 16_000, 1024):
            for loudness, stream in zip((0, 0.5, 1), streams, strict=True):
                piece = loudness * tone(1, 16_000, 0, 220 + 220 * loudness)[None, first:][:, :1024]
                frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 16_000, first
                container.mux(stream.encode(frame))
    warnings: list[str] = []
    sound = numpy.concatenate([block for _, block in iter_audio(path, warn=warnings.append)])
    spectrum = numpy.abs(numpy.fft.rfft(sound[:8000]))
    assert spectrum.argmax() * 2 == pytest.approx(440, abs=4)  # the default one of the audible
    assert "has 3 sound tracks (silent: 1); only track 3 is analysed" in warnings[0]


@pytest.mark.parametrize("name", ["10:30 answer.mp4", "a%03d.mp4", "caf\udce9.mp4", "-i.mp4"])
def test_names_are_no_addresses(clip, tmp_path, monkeypatch, name):
    try:
        shutil.copy(clip["mp4"], tmp_path / name)
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system has no such names")
    monkeypatch.chdir(tmp_path)
    assert probe(name).has_video and next(iter_frames(name)).time == 0
    assert len(read_audio(name)) > SAMPLE_RATE


@pytest.mark.parametrize("rate", [1, 2_000_000_000])
def test_a_rate_that_no_recording_has(tmp_path, rate):
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setparams((1, 2, rate, 0, "NONE", ""))
        sound.writeframes(bytes(2000))
    with pytest.raises(MediaError, match=f"states a rate of {rate:,} Hz, expected 1,000 to"):
        probe(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        ("a.docx", b"PK\3\4", "is a document"),
        ("a.csv", b"a,b\n1,2\n", "is a table"),
        ("a.json", b"{}", "holds data"),
        ("a.srt", b"1\n00:00:00,000 --> 00:00:01,000\nhi\n", "is a text"),
        ("a.mp4", "Das war schön".encode(), "is a text"),
        ("a.mov", b"%PDF-1.7", "is a document"),
        ("a.avi", bytes(range(256)), "is incomplete"),
    ],
)
def test_other_files_are_called_what_they_are(tmp_path, name, content, advice):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=advice):
        probe(tmp_path / name)


def test_a_loop_of_links(tmp_path):
    os.symlink(tmp_path / "b.mp4", tmp_path / "a.mp4")
    os.symlink(tmp_path / "a.mp4", tmp_path / "b.mp4")
    with pytest.raises(MediaError, match=r"a\.mp4: cannot be opened"):
        probe(Path(tmp_path, "a.mp4"))
