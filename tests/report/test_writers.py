"""Check tables, subtitles and annotation files of answers made by hand."""

import csv
import io
import json
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from multimodal_fer.errors import OutputError
from multimodal_fer.report import annotations as report_annotations
from multimodal_fer.report import writers
from multimodal_fer.types import Analysis, FaceTrack, FrameRow, Segment, Transcript, Word

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
        '1\n00:00:00,000 --> 00:00:02,500\n[anger? 75%] He said "no" ‹at all› & left\n'
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
    assert (rows[0]["valence"], rows[0]["expressiveness"]) == ("-0.753", "0.753")
    assert (rows[0]["valence_face"], rows[0]["valence_text"], rows[1]["valence"]) == (
        "-0.753",
        "",
        "",
    )
    assert rows[0]["fine"] == ""
    words = {"confusion": 0.6, "annoyance": 0.3}
    told = replace(answer.segments[0], fine=words, text_valence=-0.25)
    told = replace(answer, segments=(told,))
    (row,) = csv.DictReader(io.StringIO(writers.segments_csv(told)))
    assert (row["fine"], row["valence_text"]) == ("confusion+annoyance", "-0.25")
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


def test_an_answer_comes_back_from_its_json(answer):
    record = json.loads(writers.to_json(answer))
    assert Analysis.from_dict(record) == answer
    spoken = Transcript("en", "tiny.en", (Word("so", 1.0, 1.5, 0.9),))
    rich = Analysis(
        **{**vars(answer), "transcript": spoken, "warnings": ("a", "b"), "emotion": "anger"}
    )
    assert Analysis.from_dict(rich.to_dict()) == rich
    with pytest.raises(ValueError, match="expected an answer of schema 1, found 2"):
        Analysis.from_dict(record | {"schema": 2})


@pytest.fixture
def spoken():
    """Return an answer with everything that is difficult for annotation files."""
    words = [("No,", 0.2, 0.5), ('"ne\x00ver"', 0.45, 0.45), ("<&>", 0.45, 1.9), ("żółć", 1.9, 2.0)]
    tracks = (
        FaceTrack(
            0, [0.0, 0.2, 0.4], [[0, 0, 9, 9]] * 3, [{"neutral": 1.0}] * 2 + [{"anger": 1.0}]
        ),
        FaceTrack(1, [0.4], [[0, 0, 9, 9]], [{"neutral": 1.0}]),
    )
    rows = [FrameRow(0.0, (0,), None), FrameRow(0.2, (0,), None), FrameRow(0.4, (0, 1), None)]
    return Analysis(
        path="a b/clip & 1.mp4",
        bundle="open7@0",
        labels=LABELS,
        face_labels=LABELS,
        duration=2.0,
        segments=(segment(0.2, 0.8, 'No, "never"\n<&>', "anger", 0.75), segment(0.8, 1.5, None)),
        faces=tracks,
        frames=(*rows, FrameRow(0.6, (), "no face found")),
        transcript=Transcript("en", "tiny.en", tuple(Word(t, a, b, 1.0) for t, a, b in words)),
    )


TIERS = ["emotion", "face", "voice", "text", "utterances", "words", "person 0", "person 1"]


def test_elan_file_as_another_program_reads_it(spoken, tmp_path):
    elan = pytest.importorskip("pympi.Elan", reason="pympi-ling is not installed")
    (path,) = writers.write(spoken, tmp_path, "clip", ["eaf"])
    document = elan.Eaf(str(path))
    assert list(document.get_tier_names()) == TIERS
    assert document.get_annotation_data_for_tier("emotion") == [(200, 800, "anger")]
    assert document.get_annotation_data_for_tier("voice") == []
    assert document.get_annotation_data_for_tier("utterances") == [(200, 800, 'No, "never" <&>')]
    assert document.get_annotation_data_for_tier("words") == [
        (200, 500, "No,"), (500, 501, '"never"'), (501, 1900, "<&>"), (1900, 2000, "żółć"),
    ]  # fmt: skip
    assert document.get_annotation_data_for_tier("person 0") == [
        (0, 400, "neutral"),
        (400, 600, "anger"),
    ]
    assert document.get_annotation_data_for_tier("person 1") == [(400, 600, "neutral")]
    media = document.get_linked_files()
    assert media[0]["RELATIVE_MEDIA_URL"] == "./clip%20%26%201.mp4"
    assert media[0]["MEDIA_URL"].startswith("file:///") and media[0]["MIME_TYPE"] == "video/mp4"


def test_elan_file_has_the_structure_of_its_schema(spoken):
    """Check the order of elements, required attributes and references (EAF 3.0)."""
    root = ElementTree.fromstring(report_annotations.to_eaf(spoken).encode())
    order = ["HEADER", "TIME_ORDER", *["TIER"] * len(TIERS), "LINGUISTIC_TYPE", *["CONSTRAINT"] * 4]
    assert [child.tag for child in root] == order
    assert {"AUTHOR", "DATE", "VERSION", "FORMAT"} <= set(root.attrib)
    slots = {slot.attrib["TIME_SLOT_ID"]: int(slot.attrib["TIME_VALUE"]) for slot in root[1]}
    assert list(slots.values()) == sorted(set(slots.values()))
    annotations = list(root.iter("ALIGNABLE_ANNOTATION"))
    assert len({one.attrib["ANNOTATION_ID"] for one in annotations}) == len(annotations) > 0
    for one in annotations:
        assert slots[one.attrib["TIME_SLOT_REF1"]] < slots[one.attrib["TIME_SLOT_REF2"]]
        assert [child.tag for child in one] == ["ANNOTATION_VALUE"]
    types = {one.attrib["LINGUISTIC_TYPE_ID"] for one in root.iter("LINGUISTIC_TYPE")}
    assert {tier.attrib["LINGUISTIC_TYPE_REF"] for tier in root.iter("TIER")} <= types


def test_praat_file_as_another_program_reads_it(spoken, tmp_path):
    praat = pytest.importorskip("pympi.Praat", reason="pympi-ling is not installed")
    (path,) = writers.write(spoken, tmp_path, "clip", ["textgrid"])
    assert path.name == "clip.TextGrid"
    grid = praat.TextGrid(str(path))
    tiers = {tier.name: list(tier.get_intervals()) for tier in grid.get_tiers()}
    assert list(tiers) == TIERS
    for intervals in tiers.values():  # from end to end, without gaps
        assert intervals[0][0] == 0.0 and intervals[-1][1] == 2.0
        assert all(before[1] == after[0] for before, after in pairwise(intervals))
        assert all(start < end for start, end, _ in intervals)
    assert tiers["emotion"] == [(0.0, 0.2, ""), (0.2, 0.8, "anger"), (0.8, 2.0, "")]
    assert tiers["voice"] == [(0.0, 2.0, "")]
    assert [label for *_, label in tiers["words"]] == ["", "No,", '"never"', "<&>", "żółć"]
    assert 'text = "No, ""never"" <&>"' in path.read_text(encoding="utf-8")


def test_a_written_answer_has_no_annotation_files(tmp_path):
    written = Analysis(
        path="a.txt", bundle="b", labels=LABELS, segments=(segment(0, 0, "so", "anger", 1.0),)
    )
    paths = writers.write(written, tmp_path, "a", ["json", "eaf", "textgrid"])
    assert [path.name for path in paths] == ["a.json"]


def test_cells_are_never_calculated():
    """Check that a written answer cannot become a formula of a spreadsheet program."""
    harmful = ('=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)", "\t=1", "＝1")
    text = writers.csv_text(["=a", "b"], [[cell, -1.5] for cell in harmful])
    rows = list(csv.reader(io.StringIO(text)))
    assert rows == [["'=a", "b"], *(["'" + cell, "-1.5"] for cell in harmful)]


def test_words_are_no_markup_of_subtitles():
    harmful = segment(0.0, 1.0, "<i>a {b}\n\n2\n0 --> 1 c", "anger", 0.9)
    said = Analysis(path=None, bundle="b", labels=LABELS, segments=(harmful,))
    assert "[anger 90%] ‹i›a (b) 2 0 → 1 c\n" in writers.to_srt(said)
    assert "&lt;i&gt;a {b} 2 0 --&gt; 1 c\n" in writers.to_vtt(said)
