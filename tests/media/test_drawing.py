"""Test annotated videos: drawing at the right times and places, upright frames, unchanged sound."""

import subprocess
import sys
from itertools import islice, pairwise

import av
import numpy
import pytest
from conftest import SAMPLE, every, tone, write_clip

from multimodal_fer.errors import MediaError, OutputError
from multimodal_fer.media import drawing
from multimodal_fer.media.container import probe
from multimodal_fer.media.drawing import Overlay, drawable, write_video
from multimodal_fer.media.frames import EVERY_FRAME, iter_frames
from multimodal_fer.media.sound import read_audio
from multimodal_fer.types import Analysis, FaceTrack, FrameRow, Segment, Transcript, Word

LABELS = ("neutral", "anger")
GREY = 90


def segment(start, end, text=None, emotion="anger", unsure=False):
    scores = {"neutral": 0.25, "anger": 0.75}
    return Segment(start, end, text, 0, emotion, unsure, scores if emotion else {}, {}, {}, {})


def answer(duration=2.0, segments=(), words=(), track=None, times=()):
    return Analysis(
        path=None,
        bundle="b",
        labels=LABELS,
        face_labels=LABELS,
        duration=duration,
        segments=tuple(segments),
        faces=(track,) if track else (),
        frames=tuple(
            FrameRow(time, (0,) if track and time in track.times else (), None) for time in times
        ),
        transcript=Transcript("en", "m", tuple(words)) if words else None,
    )


def track_of(*detections):
    """Return a track of one face from pairs of time and left edge."""
    boxes = [[left, 40.0, left + 60.0, 100.0] for _, left in detections]
    return FaceTrack(
        0,
        [time for time, _ in detections],
        boxes,
        [{"neutral": 0.2, "anger": 0.8}] * len(detections),
    )


def pictures(path):
    return ((round(frame.time, 3), frame.image) for frame in iter_frames(path, EVERY_FRAME))


def packets(path):
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return stream.codec_context.name, [
            bytes(packet) for packet in container.demux(stream) if packet.size
        ]


def test_the_sample_keeps_its_sound_and_shows_the_answer(analyzer, tmp_path):
    output = tmp_path / "out.mp4"
    analysis = analyzer.analyze(SAMPLE)
    assert write_video(analysis, SAMPLE, output) == ()
    assert packets(output) == packets(SAMPLE)  # copied, not encoded again
    numpy.testing.assert_array_equal(read_audio(output), read_audio(SAMPLE))
    with av.open(str(output)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx(every(14.8, 25))
    before, after = (dict(islice(pictures(path), 126)) for path in (SAMPLE, output))
    for time, has_face in ((2.0, True), (5.0, False)):
        changed = numpy.abs(before[time].astype(int) - after[time]).max(axis=2) > 60
        assert changed[300:].sum() > 300  # the emotion, at the lower edge
        assert bool(changed[:280].sum() > 300) is has_face  # the box around the face
    # Colours stay the same outside the drawing.
    assert numpy.abs(before[5.0][:200].astype(int) - after[5.0][:200]).mean() < 2
    assert not list(tmp_path.glob("*.part"))


def test_variable_frame_rate_and_rotation(tmp_path):
    def half(time):
        image = numpy.full((120, 160, 3), GREY, numpy.uint8)
        image[:, :80] = 220  # at the top or bottom after the rotation
        return image

    times = [0.0, 0.1, 0.15, 0.6, 0.7, 1.4]
    clip = write_clip(tmp_path / "clip.mp4", frame_times=times, picture=half, rotation=90)
    write_video(answer(segments=[segment(0, 2)]), clip, tmp_path / "out.mp4")
    before, after = list(pictures(clip)), list(pictures(tmp_path / "out.mp4"))
    assert [time for time, _ in after] == pytest.approx(times, abs=1e-3)
    assert before[0][1].shape == after[0][1].shape == (160, 120, 3)
    for (_, old), (_, new) in zip(before, after, strict=True):
        assert numpy.abs(old[:100].astype(int) - new[:100]).mean() < 3
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert (
            next(container.decode(video=0)).rotation == 0
        )  # otherwise players would rotate it again


def test_odd_sizes_and_pixels_that_are_not_square(tmp_path):
    clip = write_clip(
        tmp_path / "clip.mkv",
        frame_times=every(0.3, 10),
        picture=lambda _: numpy.full((121, 161, 3), GREY, numpy.uint8),
        pixel_format="yuv444p",
    )
    write_video(answer(), clip, tmp_path / "out.mp4")
    assert next(pictures(tmp_path / "out.mp4"))[1].shape == (120, 160, 3)


@pytest.mark.parametrize(
    ("source", "target"), [("a.mkv", "b.mp4"), ("a.avi", "b.mp4"), ("a.ts", "b.mkv")]
)
def test_sound_stays_in_time_whatever_the_container(source, target, tmp_path):
    clip = write_clip(
        tmp_path / source,
        frame_times=every(2, 10),
        picture=lambda _: numpy.full((120, 160, 3), GREY, numpy.uint8),
        sound=tone(2.0, 48_000, start=1.0),
    )
    write_video(answer(), clip, tmp_path / target)
    old, new = read_audio(clip), read_audio(tmp_path / target)
    onsets = [int(numpy.flatnonzero(numpy.abs(sound) > 0.2)[0]) / 16_000 for sound in (old, new)]
    assert onsets[1] == pytest.approx(onsets[0], abs=0.03)
    first = [next(pictures(path))[0] for path in (clip, tmp_path / target)]
    assert first[1] == pytest.approx(first[0], abs=0.03)


def test_sound_that_the_container_cannot_hold_is_encoded(tmp_path):
    clip = tmp_path / "clip.mkv"
    with av.open(str(clip), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for number in range(20):
            image = numpy.full((120, 160, 3), GREY, numpy.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            samples = (
                tone(2.0, 16_000)[None, number * 1600 : (number + 1) * 1600] * 30_000
            ).astype("i2")
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, number * 1600
            container.mux(audio.encode(frame))
        container.mux(video.encode())
    write_video(answer(), clip, tmp_path / "out.mp4")
    assert packets(tmp_path / "out.mp4")[0] == "aac"
    old, new = read_audio(clip), read_audio(tmp_path / "out.mp4")
    assert len(new) == pytest.approx(len(old), abs=2000)
    assert numpy.abs(new).mean() == pytest.approx(numpy.abs(old).mean(), rel=0.1)


def test_boxes_move_between_frames_and_end_with_them():
    times = [0.0, 0.2, 0.4, 0.6, 0.8]
    track = track_of((0.0, 10.0), (0.2, 30.0), (0.8, 90.0))
    overlay = Overlay(answer(track=track, times=times))

    def left(time):
        boxes = overlay.boxes(time)
        return boxes[0].corners[0] if boxes else None

    assert [left(time) for time in (0.0, 0.05, 0.1, 0.2)] == pytest.approx([10, 15, 20, 30])
    # The face is not found at 0.4, so the box stays for one step only.
    assert left(0.35) == 30.0 and left(0.45) is None
    assert left(0.8) == left(0.99) == 90.0 and left(1.05) is None
    assert overlay.boxes(0.1)[0].label == "anger 80%"
    assert Overlay(answer(track=track, times=times), faces=False).boxes(0.0) == []


def test_boxes_lie_on_the_face(tmp_path):
    clip = write_clip(
        tmp_path / "clip.mp4",
        frame_times=every(1, 10),
        picture=lambda _: numpy.full((240, 320, 3), GREY, numpy.uint8),
    )
    track = track_of((0.0, 50.0), (0.5, 150.0))
    write_video(answer(track=track, times=[0.0, 0.5]), clip, tmp_path / "out.mp4")
    drawn = dict(pictures(tmp_path / "out.mp4"))
    for time, left in ((0.0, 50), (0.2, 90)):
        row = drawn[time][70, :, 0].astype(int)  # across the middle of the box
        bright = numpy.flatnonzero(row > 180)
        assert (bright.min(), bright.max()) == pytest.approx((left, left + 60), abs=2)


def test_long_texts_are_shown_in_pages_inside_the_frame():
    texts = [f"word{number}" for number in range(40)]
    words = [Word(text, 0.1 * n, 0.1 * n + 0.1, 1.0) for n, text in enumerate(texts)]
    overlay = Overlay(answer(segments=[segment(0, 4, " ".join(texts))], words=words))
    shown = [overlay._lines_at(0, time, 280, 15) for time in (0.0, 2.0, 3.95)]
    assert all(1 <= len(lines) <= 2 for lines in shown)
    assert texts[0] in shown[0][0].split() and texts[20] in " ".join(shown[1]).split()
    assert shown[2][-1].split()[-1] == texts[-1]
    image = overlay.draw(numpy.full((240, 320, 3), GREY, numpy.uint8), 2.0)
    touched = (image != GREY).any(axis=(0, 2))
    assert touched.any() and not touched[:8].any() and not touched[-8:].any()


def test_letters_of_many_scripts_are_drawn_and_others_are_reported(tmp_path):
    assert all(
        map(drawable, ("No! 87% – “so”…", "żółć", "Привет", "Ελλάδα", "日本語 かな", "한국어"))
    )
    assert not any(map(drawable, ("שלום", "مرحبا", "हिन्दी", "ไทย")))
    missing = drawing._letters("\N{DEVANAGARI LETTER HA}", 40)
    question = drawing._letters("?", 40)
    numpy.testing.assert_array_equal(
        missing, question
    )  # the font draws this for letters that it lacks
    for letter in "żĄğПΩ日か한":
        drawn = drawing._letters(letter, 40)
        assert drawn.shape != question.shape or (drawn != question).any()
    clip = write_clip(
        tmp_path / "clip.mp4",
        frame_times=every(0.5, 10),
        picture=lambda _: numpy.full((240, 320, 3), GREY, numpy.uint8),
    )
    (note,) = write_video(answer(segments=[segment(0, 1, "שלום")]), clip, tmp_path / "out.mp4")
    assert note == "words in a script that cannot be drawn are missing from the video"


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_letters_stand_out_from_any_background(grey):
    image = numpy.full((240, 320, 3), grey, numpy.uint8)
    Overlay(answer(segments=[segment(0, 1, "so")])).draw(image, 0.5)
    assert image.max() > 240 and image.min() < 15  # white letters, black outline


def test_wrong_input_and_output_are_refused(tmp_path, monkeypatch):
    sound = write_clip(tmp_path / "a.wav", sound=tone(0.5, 16_000), rate=16_000)
    clip = write_clip(tmp_path / "clip.mp4", frame_times=every(0.3, 10))
    with pytest.raises(MediaError, match="has no video to draw into"):
        write_video(answer(), sound, tmp_path / "out.mp4")
    with pytest.raises(OutputError, match=r"ends in \.mp4, \.mov, \.mkv"):
        write_video(answer(), clip, tmp_path / "out.gif")
    with pytest.raises(OutputError, match="is the recording itself"):
        write_video(answer(), clip, clip)
    (tmp_path / "taken.mp4").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write_video(answer(), clip, tmp_path / "taken.mp4")
    assert not list(tmp_path.glob("*.part"))
    monkeypatch.setattr(drawing, "ENCODERS", drawing.ENCODERS[1:])  # as in a build without x264
    write_video(answer(), clip, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"


def test_a_damaged_recording_is_drawn_as_far_as_it_goes(tmp_path):
    clip = tmp_path / "cut.mp4"
    clip.write_bytes(SAMPLE.read_bytes()[:250_000])
    notes = write_video(answer(14.8), clip, tmp_path / "out.mp4")
    assert "the video ends at 7.4 s, the recording at 14.8 s" in notes
    assert 1 < probe(tmp_path / "out.mp4").duration < 12
    times = [time for time, _ in pictures(tmp_path / "out.mp4")]
    assert all(before < after for before, after in pairwise(times))


MEMORY = """
import resource, sys
from multimodal_fer.media.drawing import write_video
from multimodal_fer.types import Analysis
write_video(Analysis(None, "b", ("neutral",)), sys.argv[1], sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_length(tmp_path):
    peaks = []
    for seconds in (4, 40):
        clip = write_clip(
            tmp_path / f"{seconds}.mp4",
            frame_times=every(seconds, 10),
            picture=lambda time: numpy.full((360, 640, 3), int(time * 10) % 255, numpy.uint8),
            sound=tone(seconds, 16_000),
            rate=16_000,
        )
        command = [sys.executable, "-c", MEMORY, str(clip), str(tmp_path / "out.mp4")]
        peaks.append(int(subprocess.check_output(command, text=True)))
    assert peaks[1] < peaks[0] * 1.15
