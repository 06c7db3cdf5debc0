"""Test the common clock of sound and video, and recordings of many kinds."""

import socket
import tracemalloc
from fractions import Fraction
from itertools import pairwise

import numpy
import pytest
from conftest import every, grey, remux, tone, write_clip

from multimodal_fer.errors import MediaError
from multimodal_fer.media.container import probe
from multimodal_fer.media.frames import EARLY, iter_frames
from multimodal_fer.media.sound import iter_audio, read_audio
from multimodal_fer.types import SAMPLE_RATE


def onset(waveform) -> float:
    """Return the seconds at which a tone starts."""
    return float(numpy.argmax(numpy.abs(waveform) > 0.1)) / SAMPLE_RATE


def test_audio_that_starts_late_keeps_its_place(tmp_path):
    clip = write_clip(
        tmp_path / "late.mp4", frame_times=every(2, 30), sound=tone(1, 48_000), sound_start=0.5
    )
    waveform = read_audio(clip)
    assert onset(waveform) == pytest.approx(0.5, abs=0.03)
    assert len(waveform) / SAMPLE_RATE == pytest.approx(1.5, abs=0.06)


def test_variable_frame_rate_gives_true_times(tmp_path):
    """Check that frame 11 is at 1.0 s, after ten frames per second and before two per second."""
    times = [*every(1, 10), 1.0, 1.5, 2.0, 2.5, 3.0]
    clip = write_clip(tmp_path / "vfr.mp4", frame_times=times)
    found = [frame.time for frame in iter_frames(clip, rate=1000)]
    assert found == pytest.approx(times, abs=1e-3)


def test_times_follow_the_brightness_that_was_written(tmp_path):
    """Check that each frame is the one that was written at its time."""

    def picture(time):
        return numpy.full((64, 64, 3), round(time * 80), numpy.uint8)

    clip = write_clip(tmp_path / "steps.mp4", frame_times=every(3, 30), picture=picture)
    for frame in iter_frames(clip, rate=5):
        assert frame.image.mean() == pytest.approx(frame.time * 80, abs=6)


def test_pictures_come_at_the_asked_rate(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", frame_times=every(4, 30))
    for rate in (1, 5, 8):
        times = [frame.time for frame in iter_frames(clip, rate=rate)]
        assert len(times) == pytest.approx(4 * rate, abs=1)
        assert times == sorted(times)
        assert max(b - a for a, b in pairwise(times)) < 1.6 / rate


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_phone_video_is_turned_upright(tmp_path, rotation):
    """Check that frames are rotated as the display matrix of the recording says."""

    def sideways(_):
        image = grey(0)
        image[:60] = (250, 20, 20)  # a red stripe at the upper edge of the stored frame
        return image

    clip = write_clip(
        tmp_path / "phone.mp4", frame_times=every(0.5, 30), picture=sideways, rotation=rotation
    )
    image = next(iter_frames(clip)).image
    upright = numpy.rot90(sideways(0), rotation // 90)  # counter-clockwise, as the matrix says
    assert image.shape == upright.shape
    assert numpy.abs(image.astype(int) - upright).mean() < 12


def test_odd_pixel_aspect_is_made_square(tmp_path):
    clip = write_clip(
        tmp_path / "wide.mp4", frame_times=every(0.5, 30), pixel_aspect=Fraction(16, 11)
    )
    assert next(iter_frames(clip)).image.shape == (240, 465, 3)
    media = probe(clip)
    assert (media.width, media.height) == (465, 240)


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv444p", "yuv422p"])
def test_unusual_pixel_formats(tmp_path, pixel_format):
    clip = write_clip(tmp_path / "deep.mp4", frame_times=every(0.5, 30), pixel_format=pixel_format)
    image = next(iter_frames(clip)).image
    assert image.dtype == numpy.uint8
    assert image.mean() == pytest.approx(90, abs=3)


@pytest.mark.parametrize(
    ("rate", "layout", "ending"),
    [
        (8000, "mono", "wav"),
        (48_000, "stereo", "mp4"),
        (48_000, "5.1", "mp4"),
        (44_100, "mono", "mp3"),
    ],
)
def test_every_sound_becomes_16_khz_mono(tmp_path, rate, layout, ending):
    clip = write_clip(
        tmp_path / f"a.{ending}", sound=tone(2, rate, start=1.0), rate=rate, layout=layout
    )
    waveform = read_audio(clip)
    assert waveform.dtype == numpy.float32
    assert len(waveform) / SAMPLE_RATE == pytest.approx(2, abs=0.08)
    assert onset(waveform) == pytest.approx(1.0, abs=0.06)
    assert 0.2 < numpy.abs(waveform).max() <= 1.0
    spectrum = numpy.abs(numpy.fft.rfft(waveform[-SAMPLE_RATE // 2 :]))
    assert spectrum.argmax() * 2 == pytest.approx(440, abs=4)


def test_loud_stereo_stays_within_one(tmp_path):
    """Check that mixing two equal channels does not exceed 1; by default, FFmpeg gives 1.4."""
    clip = write_clip(tmp_path / "loud.wav", sound=tone(1, 48_000) * 1.99, layout="stereo")
    assert numpy.abs(read_audio(clip)).max() == pytest.approx(1.0, abs=0.02)


def test_blocks_follow_each_other_without_a_gap(tmp_path):
    clip = write_clip(tmp_path / "a.wav", sound=tone(7.3, 16_000), rate=16_000)
    blocks = list(iter_audio(clip, block=2))
    assert [start for start, _ in blocks] == [0, 2, 4, 6]
    whole = numpy.concatenate([waveform for _, waveform in blocks])
    assert len(whole) == pytest.approx(7.3 * SAMPLE_RATE, abs=2)
    assert numpy.array_equal(read_audio(clip, 1.5, 4.25), whole[24_000:68_000])


def test_mpeg_clock_starts_anywhere(tmp_path):
    """Check that the first timestamp of an MPEG stream is time zero."""
    clip = write_clip(tmp_path / "a.ts", frame_times=every(1, 30), sound=tone(1, 48_000, 0.5))
    assert next(iter_frames(clip)).time == pytest.approx(0.0, abs=0.05)
    assert onset(read_audio(clip)) == pytest.approx(0.5, abs=0.08)


def test_avi_without_presentation_stamps(tmp_path):
    clip = write_clip(tmp_path / "a.avi", frame_times=every(2, 30))
    times = [frame.time for frame in iter_frames(clip)]
    assert times[-1] == pytest.approx(1.8, abs=0.11)


def test_memory_does_not_grow_with_length(tmp_path):
    """Check that a long clip needs no more memory than a short one."""
    peaks = []
    for seconds in (2, 12):
        clip = write_clip(tmp_path / f"{seconds}.mp4", frame_times=every(seconds, 30))
        tracemalloc.start()
        for _ in iter_frames(clip, rate=30):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 1e6


def test_missing_file(tmp_path):
    with pytest.raises(MediaError, match=r"nowhere\.mp4: no such file"):
        probe(tmp_path / "nowhere.mp4")


def test_folder(tmp_path):
    with pytest.raises(MediaError, match="is a folder"):
        probe(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(MediaError, match="is empty"):
        probe(tmp_path / "empty.mp4")


def test_text_that_is_called_a_video(tmp_path):
    (tmp_path / "notes.mp4").write_text("This is not a recording.\n" * 100)
    with pytest.raises(MediaError, match=r"notes\.mp4: expected a video or audio file"):
        probe(tmp_path / "notes.mp4")


def test_a_playlist_that_is_called_a_video_fetches_nothing(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/part.ts"
        (tmp_path / "list.mp4").write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{address}\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(MediaError):
            probe(tmp_path / "list.mp4")
        with pytest.raises(TimeoutError):
            server.accept()


def test_truncated_mp4_without_its_index(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", frame_times=every(2, 30))
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    with pytest.raises(MediaError, match="is incomplete: copy or export it again"):
        probe(clip)


def test_a_title_that_is_not_utf_8(tmp_path):
    clip = write_clip(tmp_path / "a.mkv", frame_times=every(0.5, 30))
    remux(clip, tmp_path / "b.mkv", title="QXYZ")
    content = (tmp_path / "b.mkv").read_bytes()
    assert b"QXYZ" in content
    (tmp_path / "b.mkv").write_bytes(content.replace(b"QXYZ", b"Caf\xe9"))
    assert probe(tmp_path / "b.mkv").has_video
    assert next(iter_frames(tmp_path / "b.mkv")).time == 0


def test_a_gap_in_the_sound_is_silence(tmp_path):
    """Check that sound after lost packets keeps its time."""
    first = write_clip(tmp_path / "a.mkv", sound=tone(1, 48_000))
    assert len(read_audio(first)) == pytest.approx(SAMPLE_RATE, abs=1500)

    def arrives(packet):
        return not 0.3 < float((packet.pts or 0) * packet.time_base) < 0.7

    remux(first, tmp_path / "b.mkv", keep=arrives)
    waveform = read_audio(tmp_path / "b.mkv")
    assert len(waveform) == pytest.approx(SAMPLE_RATE, abs=1500)
    assert numpy.abs(waveform[7200:9600]).max() < 0.01
    assert numpy.abs(waveform[-3200:-1600]).max() > 0.2


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi"])
def test_a_late_start_gives_the_same_frames(tmp_path, name):
    def brightening(time):
        return numpy.full((240, 320, 3), round(12 * time), numpy.uint8)

    path = write_clip(tmp_path / name, frame_times=every(20, 10), picture=brightening)
    whole = [(frame.time, frame.image.mean()) for frame in iter_frames(path, 5)]
    late = [(frame.time, frame.image.mean()) for frame in iter_frames(path, 5, start=13.4)]
    assert len(late) > 30
    assert late == [pytest.approx(row) for row in whole if row[0] >= 13.4 - EARLY]
    assert next(iter_frames(path, 5, start=60.0), None) is None
