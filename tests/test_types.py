"""Data types: checks on construction, strongest label, conflicts, records."""

import numpy
import pytest

from multimodal_fer.labels import FER_PLUS, FER_PLUS_TO_OPEN7, OPEN7, fold_scores
from multimodal_fer.report.writers import describe_words
from multimodal_fer.types import (
    Analysis,
    Faces,
    Segment,
    Window,
    Word,
    strongest,
)


def test_boxes_and_confidences_must_fit():
    with pytest.raises(ValueError, match=r"boxes must be \(N, 4\).*got \(2, 3\)"):
        Faces(numpy.zeros((2, 3), "f4"), numpy.zeros(2, "f4"), numpy.zeros((2, 5, 2), "f4"))


@pytest.mark.parametrize(
    "span", [(2.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))]
)
def test_impossible_times_are_refused(span):
    with pytest.raises(ValueError, match="0 <= start <= end"):
        Word("we", span[0], span[1], 1.0)
    with pytest.raises(ValueError, match="0 <= start <= end"):
        Window(span[0], span[1], spoken=False)


def test_scores_must_sum_to_one():
    with pytest.raises(ValueError, match="must sum to 1"):
        Segment(0, 1, None, None, "anger", False, {"anger": 0.4}, {}, {}, {"face": None})


def test_strongest_takes_the_first_of_equals_and_none_of_nothing():
    assert strongest({"a": 0.4, "b": 0.4, "c": 0.2}) == "a"
    assert strongest({}) is None


def test_scores_are_folded_by_name_without_loss():
    scores: dict[str, float] = dict(
        zip(reversed(FER_PLUS), [0.1, 0.1, 0.2, 0.1, 0.1, 0.1, 0.1, 0.2], strict=True)
    )
    folded = fold_scores(scores, OPEN7, FER_PLUS_TO_OPEN7)
    assert tuple(folded) == OPEN7
    assert folded["disgust"] == pytest.approx(0.3)  # its own 0.2 and contempt's 0.1
    assert sum(folded.values()) == pytest.approx(1.0)
    with pytest.raises(KeyError):
        fold_scores({"boredom": 1.0}, OPEN7, FER_PLUS_TO_OPEN7)


def test_a_smile_over_angry_words_is_a_conflict():
    smile = {"happiness": 0.8, "neutral": 0.2}
    words = {"anger": 0.4, "disgust": 0.2, "neutral": 0.4}
    calm = {"neutral": 0.9, "happiness": 0.1}

    def conflict(**by_modality):
        return Segment(0, 1, None, 0, None, False, {}, {}, {}, by_modality).conflict

    assert conflict(face=smile, voice=calm, text=words) == ("face", "text")
    assert conflict(face=smile, voice=smile, text=calm) == ()
    assert conflict(face=smile, voice=None, text=None) == conflict(face=words, text=calm) == ()
    # Unpleasant words whose labels are neutral, such as disappointment, contradict a smile.
    flat = {"face": smile, "voice": None, "text": calm}
    valued = Segment(0, 1, None, 0, None, False, {}, {}, {}, flat, text_valence=-0.7)
    assert valued.conflict == ("face", "text")
    # Unpleasant labels that exceed a half together contradict a smile as well.
    assert conflict(face={"contempt": 0.6, "neutral": 0.4}, voice=smile) == ("voice", "face")


def test_older_records_without_spoken_are_read():
    scores = {"anger": 1.0}
    spoken = Segment(
        0, 1, None, None, "anger", False, scores, {}, {}, {"voice": scores}, spoken=True
    )
    silent = Segment(1, 2, None, None, None, False, {}, {}, {}, {"voice": None})
    analysis = Analysis(None, "b", ("anger",), segments=(spoken, silent))
    record = analysis.to_dict()
    for segment in record["segments"]:
        del segment["spoken"]
    assert [segment.spoken for segment in Analysis.from_dict(record).segments] == [True, False]


def answered(scores, by_modality, attention=None, text_valence=None):
    return Segment(
        0, 2, None, None, strongest(scores), False, scores, attention or {}, {}, by_modality,
        text_valence=text_valence,
    )  # fmt: skip


def test_valence_is_pleasant_less_unpleasant():
    scores = {"happiness": 0.2, "surprise": 0.1, "anger": 0.3, "disgust": 0.1, "neutral": 0.3}
    smile = {"happiness": 0.75, "contempt": 0.05, "neutral": 0.2}
    segment = answered(scores, {"face": smile, "voice": None, "text": None})
    assert segment.valence == pytest.approx(-0.2)
    assert segment.valences == {"face": pytest.approx(0.7), "voice": None, "text": None}
    assert segment.expressiveness == pytest.approx(0.7)
    empty = answered({}, {"face": None})
    assert empty.valence is None and empty.expressiveness is None


def test_the_valence_of_words_counts_by_their_attention():
    scores, words = {"neutral": 0.9, "anger": 0.1}, {"neutral": 0.8, "anger": 0.2}
    attention = {"voice": 0.75, "text": 0.25}
    segment = answered(scores, {"voice": scores, "text": words}, attention, text_valence=-0.8)
    assert segment.valences["text"] == -0.8
    assert segment.valence == pytest.approx(-0.1 + 0.25 * (-0.8 + 0.2))
    sure = answered({"anger": 1.0}, {"text": {"happiness": 1.0}}, {"text": 1.0}, text_valence=-0.9)
    assert sure.valence == -1.0
    record = Analysis("a", "b", ("neutral", "anger"), segments=(segment, answered({}, {})))
    assert record.valence == segment.valence and record.to_dict()["valence"] == -0.25
    assert Analysis.from_dict(record.to_dict()).valence == pytest.approx(-0.25, abs=1e-3)


def test_fine_labels_and_valence_are_kept_and_older_records_have_none():
    fine = {"confusion": 0.61234, "negative reaction": 0.3}
    segment = Segment(
        0, 1, "what now", None, None, False, {}, {}, {}, {}, fine=fine, text_valence=-0.54321
    )
    record = Analysis(None, "b", ("anger",), segments=(segment,)).to_dict()
    assert record["segments"][0]["fine"] == {"confusion": 0.6123, "negative reaction": 0.3}
    (read,) = Analysis.from_dict(record).segments
    assert list(read.fine) == ["confusion", "negative reaction"] and read.text_valence == -0.5432
    assert describe_words(read) == "confusion 61%, negative reaction 30%, valence -0.54"
    del record["segments"][0]["fine"], record["segments"][0]["text_valence"]
    (older,) = Analysis.from_dict(record).segments
    assert older.fine == {} and older.text_valence is None and describe_words(older) == ""
