"""Tables and subtitles from an answer made by hand."""

import csv
import io
import json

import pytest

from multimodal_fer import writers
from multimodal_fer.errors import OutputError
from multimodal_fer.types import Analysis, FaceTrack, FrameRow, Segment

LABELS = ("neutral", "anger")


def segment(start, end, text, emotion=None, score=0.0, unsure=False):
    scores = {"neutral": 1 - score, "anger": score} if emotion else {}
    return Segment(
        start, end, text, 0 if emotion else None, emotion, unsure, scores,
        {"face": 1.0, "voice": 0.0, "text": 0.0} if emotion else {},
        {"face": 0.5, "voice": 1.0, "text": 1.0}, {"face": scores or None},
    )  # fmt: skip


@pytest.fixture
def answer():
    track = FaceTrack(0, [0.0], [[1.0, 2.0, 3.0, 4.5]], [{"neutral": 0.25, "anger": 0.75}])
    return Analysis(
        path="a, b.mp4",
        bundle="open7@0",
        labels=LABELS,
        face_labels=LABELS,
        segments=(
            segment(0.0, 2.5, 'He said "no" <at all> & left', "anger", 0.753, unsure=True),
            segment(2.5, 3.0, None),
            segment(3661.0, 3662.9996, "so", None),
        ),
        faces=(track,),
        frames=(FrameRow(0.0, (0,), None), FrameRow(0.2, (), "no face found")),
    )


def test_subtitles(answer):
    assert writers.to_srt(answer) == (
        '1\n00:00:00,000 --> 00:00:02,500\n[anger? 75%] He said "no" <at all> & left\n'
        "\n2\n01:01:01,000 --> 01:01:03,000\nso\n"
    )
    vtt = writers.to_vtt(answer)
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:02.500\n")
    assert "&lt;at all&gt; &amp; left" in vtt


def test_tables(answer):
    rows = list(csv.DictReader(io.StringIO(writers.segments_csv(answer))))
    assert [row["emotion"] for row in rows] == ["anger", "", ""]
    assert rows[0]["text"] == 'He said "no" <at all> & left'
    assert (rows[0]["score_anger"], rows[0]["attention_face"]) == ("0.753", "1.0")
    assert rows[1]["score_anger"] == "" and rows[1]["coverage_voice"] == "1.0"
    frames = list(csv.DictReader(io.StringIO(writers.frames_csv(answer))))
    assert [row["reason"] for row in frames] == ["", "no face found"]
    assert [frames[0][name] for name in ("face_id", "bottom", "emotion")] == ["0", "4.5", "anger"]
    assert None not in frames[0] and None not in frames[1]  # as many fields as columns


def test_json_of_one_and_of_many(answer):
    assert json.loads(writers.to_json(answer)) == json.loads(writers.to_json_line(answer))
    assert writers.to_json_line(answer).count("\n") == 1


def test_names_of_outputs():
    assert writers.name_outputs(["a/x.mp4", "b/y.mp4"]) == ["x", "y"]
    assert writers.name_outputs(["a/x.mp4", "a/x.wav", "z.mp4"]) == ["x.mp4", "x.wav", "z"]
    with pytest.raises(OutputError, match=r"named x\.mp4"):
        writers.name_outputs(["a/x.mp4", "b/x.mp4"])


def test_a_failed_write_leaves_nothing(answer, tmp_path):
    (tmp_path / "x.json").mkdir()  # a folder in the way of the file
    with pytest.raises(OutputError, match="cannot be written"):
        writers.write(answer, tmp_path, "x", ["json"])
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
