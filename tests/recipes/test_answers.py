"""Check benchmarks.answers: figures counted by hand, and each kind of data with the default bundle."""

import csv
import json

import cv2
import numpy
import pytest
from conftest import SAMPLE, write_clip
from test_open import write_texts

from benchmarks.answers import __main__ as evaluate
from benchmarks.answers import faces, texts
from benchmarks.answers import speech as answers_speech
from benchmarks.answers.figures import Measured, ScoredSample, chosen, report, row_of
from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.labels import OPEN7
from multimodal_fer.media.container import probe
from multimodal_fer.media.frames import iter_frames
from multimodal_fer.media.sound import read_audio
from multimodal_fer.training.run import provenance, without_folder
from multimodal_fer.types import SAMPLE_RATE
from recipes.open import answer_tables, tables
from recipes.open.voice.corpora import Clip

ROOT = SAMPLE.parent.parent


def given(label, score, unsure=False):
    rest = (1 - score) / (len(OPEN7) - 1)
    return ScoredSample({name: score if name == label else rest for name in OPEN7}, unsure)


NO_ANSWER = ScoredSample({}, False)


@pytest.fixture
def results(tmp_path, monkeypatch):
    for module in (evaluate, answer_tables):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    return tmp_path


def measured(results, kind, *words):
    evaluate.main(kind, *words)
    result = json.loads((results / f"answers-{kind}.json").read_text(encoding="utf-8"))
    assert result["bundle"].startswith("open7@")
    assert str(results) not in json.dumps(result)  # no folder of this machine
    return result


def test_figures_by_hand():
    truth = ["anger", "anger", "anger", "fear", "neutral"]
    answers = [
        given("anger", 0.9),
        given("fear", 0.4, unsure=True),
        NO_ANSWER,
        given("fear", 0.4, unsure=True),
        given("neutral", 0.8),
    ]
    figures = report(answers, truth)
    assert figures["unanswered"] == 1
    assert figures["accuracy"] == pytest.approx(3 / 5)  # no answer counts as wrong
    assert figures["accuracy_of_answered"] == pytest.approx(3 / 4)
    assert figures["uar"] == pytest.approx((1 / 3 + 1 + 1) / 3)
    # anger: 1 of 3 found, no false positive; fear: found, one false positive
    assert figures["macro_f1"] == pytest.approx((2 / 4 + 2 / 3 + 1) / 3)
    assert figures["unsure"] == {"share": 0.5, "accuracy": 0.5}  # of the answered
    assert figures["sure"] == {"share": 0.5, "accuracy": 1.0}
    # bins of confidence 0.9, 0.8 and 0.4: gaps of 0.1, 0.2 and 0.1 by their shares of four answers
    assert figures["calibration_error"] == pytest.approx((0.1 + 0.2 + 2 * 0.1) / 4)
    assert figures["support"] == dict.fromkeys(OPEN7, 0) | {"anger": 3, "fear": 1, "neutral": 1}
    assert figures["recall"]["anger"] == pytest.approx(1 / 3)
    assert figures["mean_score_of_truth"] == pytest.approx((0.9 + 0.1 + 0.4 + 0.8) / 4)
    assert sum(row[-1] for row in figures["confusion"]) == 1


def test_nothing_answered_has_no_calibration():
    figures = report([NO_ANSWER], ["anger"])
    assert figures["accuracy"] == figures["uar"] == figures["macro_f1"] == 0.0
    assert figures["calibration_error"] is None
    assert figures["unsure"] == {"share": None, "accuracy": None}
    row = row_of("some", [Measured("anger", given("anger", 0.6), NO_ANSWER)])
    assert (row["files"], row["part"]["uar"], row["answer"]["uar"]) == (1, 1.0, 0.0)
    assert answer_tables.answer_row(row, {})[1:] == [
        "1, 1 no answer", "**0.0%**", "100.0%", "0.0%", "100.0%", "0.0%", "–", "–", "– / –"
    ]  # fmt: skip


def test_a_few_are_the_same_few_each_time():
    items = list(range(100))
    assert chosen(items, 0) == chosen(items, 100) == items
    few = chosen(items, 10)
    assert few == chosen(items, 10) == sorted(few) and len(few) == 10 and few != items[:10]


def test_settings_of_the_command():
    words = ["a", "limit=3", "b", "bundle=mine"]
    assert evaluate.read_settings(words) == (["a", "b"], "mine", 3, 1)
    for wrong in (["a", "limits=3"], ["a", "limit=few"], ["limit=3"]):
        with pytest.raises(ConfigError):
            evaluate.read_settings(wrong)
    with pytest.raises(ConfigError, match="unknown kind 'smells'"):
        evaluate.main("smells", "a")
    assert without_folder("/data/ravdess") == "FOLDER"
    assert without_folder("bundle=/data/mine") == "bundle=FOLDER"
    assert without_folder("limit=3") == "limit=3"
    assert provenance("python -m a /data/b c=/d e")["command"] == "python -m a FOLDER c=FOLDER e"


def clips_of(corpus, speakers):
    return [Clip("", corpus, speaker, "happy") for speaker in speakers]


def test_only_speakers_who_were_not_trained_on_are_measured():
    training = {"corpora": [], "folds": 3, "test_fold": 1}
    clips = clips_of("RAVDESS", "abcdef")
    held, how = answers_speech.held_out(clips, training)
    assert [clip.speaker for clip in held] == ["c", "d"] and "fold 1 of 3" in how
    renamed = clips_of("speech", [f"ravdess_{name}" for name in "abcdef"])
    assert len(answers_speech.held_out(renamed, training)[0]) == 2
    others = clips_of("crema-d", "abcdef")
    assert len(answers_speech.held_out(others, training)[0]) == 6
    trained_on = training | {"corpora": ["crema-d"]}
    assert len(answers_speech.held_out(others, trained_on)[0]) == 2
    with pytest.raises(DataError, match="left no speakers out"):
        answers_speech.held_out(clips, training | {"test_fold": -1})


def test_silence_around_speech_is_added_and_cut(speech, tmp_path):
    one = SAMPLE_RATE
    spoken = speech[: 4 * one]
    longer = answers_speech.pad_silence(spoken)
    assert len(longer) == 6 * one and not longer[:one].any() and not longer[-one:].any()
    cut = answers_speech.trim_silence(answers_speech.pad_silence(longer))
    assert len(cut) <= 6 * one + 1  # a second from each side, and no more
    assert len(cut) >= len(spoken)
    silence = numpy.zeros(one, numpy.float32)
    assert answers_speech.trim_silence(silence) is silence
    path = answers_speech.write_sound(tmp_path / "sound.wav", spoken)
    numpy.testing.assert_allclose(read_audio(path), spoken, atol=1e-4)


def test_speech_through_analyze(results, speech):
    corpus = results / "people"
    corpus.mkdir()
    with (corpus / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "speaker", "label"])
        for number, label in enumerate(["happy", "calm", "angry"]):
            name = f"{number}.wav"
            write_clip(corpus / name, sound=speech[: 3 * SAMPLE_RATE], rate=SAMPLE_RATE)
            table.writerow([name, f"s{number}", label])
    result = measured(results, "speech", str(corpus), "limit=2")
    assert result["limit"] == 2 and result["speech_model"]
    apart = measured(results, "speech", str(corpus), "limit=2", "workers=2")
    assert apart["rows"] == result["rows"]
    assert [row["condition"] for row in result["rows"]] == list(answers_speech.CONDITIONS)
    for row in result["rows"]:
        assert (row["data"], row["files"]) == ("people", 2)
        assert row["answer"]["unanswered"] == 0
        assert row["part"]["uar"] in {0.0, 0.5}  # the same sound has two labels
    one, other, *_ = (row["part"] for row in result["rows"])
    assert one == other  # words do not change the predictions of the voice network


def write_faces(root, portrait):
    """Write three images of one face in FER+ folders; the last has no majority."""
    folder = root / "data" / "FER2013Test"
    folder.mkdir(parents=True)
    face = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)
    left, top = (face.shape[1] - face.shape[0]) // 2, 0
    square = face[top:, left : left + face.shape[0]]
    votes = {"happiness": [0, 10] + 8 * [0], "contempt": 7 * [0] + [10, 0, 0], "none": 10 * [1]}
    with (folder / "label.csv").open("w", newline="") as file:
        table = csv.writer(file)
        for name, row in votes.items():
            cv2.imwrite(str(folder / f"{name}.png"), cv2.resize(square, (48, 48)))
            table.writerow([f"{name}.png", "(0, 0, 48, 48)", *row])


def test_faces_through_analyze(results, portrait):
    write_faces(results, portrait)
    [row] = measured(results, "faces", str(results))["rows"]
    assert row["files"] == 2  # an image without a majority is not counted
    assert row["part"]["unanswered"] == 0
    assert row["answer"]["support"]["disgust"] == 1  # contempt counts as disgust
    assert row["found"] == 1 - row["answer"]["unanswered"] / 2
    with pytest.raises(ConfigError, match="one folder"):
        evaluate.main("faces", str(results), str(results))


def test_a_face_moves_for_a_second(tmp_path):
    face = numpy.tile(numpy.linspace(0, 255, 48).astype(numpy.uint8), (48, 1))
    faces.write_video(tmp_path / "face.mp4", face)
    media = probe(tmp_path / "face.mp4")
    assert (media.width, media.height, media.has_audio) == (320, 240, False)
    assert media.duration == pytest.approx(1.0)
    pictures = [frame.image for frame in iter_frames(tmp_path / "face.mp4", 10)]
    assert len(pictures) == 10
    assert any((pictures[0] != picture).any() for picture in pictures[1:])
    assert abs(int(pictures[0][2, 2, 0]) - faces.GREY) < 4


def test_texts_through_analyze_text(results):
    write_texts(results / "texts")
    remarks = ROOT / "tests" / "data" / "factual_remarks.csv"
    result = measured(results, "texts", str(results / "texts"), str(remarks), "limit=5")
    rows = {row["data"]: row for row in result["rows"]}
    assert list(rows) == ["goemotions", "isear", "so_emotion", "meld", "factual_remarks"]
    assert rows["meld"]["files"] == 2 and rows["goemotions"]["files"] == 5
    assert rows["factual_remarks"]["answer"]["support"]["neutral"] == 5
    page = answer_tables.answers_table()
    assert "| invented factual remarks | 5 |" in page and "Of 5 factual remarks" in page
    assert "Not measured yet: held-out speakers, held-out faces." in page
    assert "a few samples only" in page
    assert result["valence"]["usability_remarks"]["texts"] == 5
    assert "Valence of texts: it correlates" in page


def test_factual_remarks_are_twenty():
    remarks = texts.read_table(ROOT / "tests" / "data" / "factual_remarks.csv")
    assert len(remarks) == 20 and {remark.label for remark in remarks} == {"neutral"}


def test_misses_are_answers_with_neither_label(tmp_path):
    remarks = [
        texts.Remark("a", "anger", "fear"),
        texts.Remark("b", "fear"),
        texts.Remark("c", "fear"),
    ]
    answers = [given("fear", 0.9), given("anger", 0.4), NO_ANSWER]
    pairs = zip(remarks, answers, strict=True)
    measured = [Measured(remark.label, NO_ANSWER, answer) for remark, answer in pairs]
    assert texts.misses_of(remarks, measured) == [
        {"text": "b", "label": "fear", "also": "", "answer": "anger", "score": 0.4},
        {"text": "c", "label": "fear", "also": "", "answer": None, "score": 0.0},
    ]
    (tmp_path / "bad.csv").write_text("text,label,also\nfine,joy,\n")
    with pytest.raises(DataError, match=r"bad\.csv, row 2: expected text, label, also"):
        texts.read_table(tmp_path / "bad.csv")


def test_a_page_without_results_says_so(results):
    assert answer_tables.answers_table() == answer_tables.MISSING


def test_old_results_count_the_classes_that_a_corpus_has():
    confusion = [[2, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert tables.figure_of({"macro_f1": 0.1, "confusion": confusion}, "macro_f1") == pytest.approx(
        (2 * 2 / 5 + 1) / 2
    )
    assert tables.figure_of({"macro_f1": 0.1}, "macro_f1") == 0.1
