"""Test faces and words on recordings of real people, if they are available."""

import csv
import json

import pytest
from conftest import REAL_VIDEOS
from test_pipeline import check_schema
from test_speech import plain

pytestmark = pytest.mark.skipif(
    not (REAL_VIDEOS / "manifest.csv").is_file(),
    reason="the real recordings are not at ../shared/data/video",
)

# Whisper joins the letters and digits of GRID sentences.
DIGITS = "zero one two three four five six seven eight nine"
NUMBERS = {word: str(digit) for digit, word in enumerate(DIGITS.split())}
MIN_WORDS_RIGHT = 4  # of the six words of a GRID sentence, which has little context


def recordings():
    with (REAL_VIDEOS / "manifest.csv").open() as file:
        return list(csv.DictReader(file))


def written(text: str) -> str:
    """Return a text without spaces and with digits, so that "K seven" equals "K7"."""
    return "".join(NUMBERS.get(word, word) for word in plain(text))


@pytest.fixture(scope="module")
def answers(analyzer):
    return {
        row["path"]: analyzer.analyze(REAL_VIDEOS / row["path"]).to_dict() for row in recordings()
    }


def test_every_recording_gives_a_valid_answer_with_one_person(answers):
    for answer in answers.values():
        check_schema(answer)
        json.dumps(answer, allow_nan=False)
        assert len(answer["faces"]) == 1
        assert answer["coverage"]["face"] > 0.97
        assert answer["emotion"] is not None


def test_words_are_right_where_somebody_speaks(answers):
    right = total = 0
    for row in recordings():
        if row["talking"] != "yes":
            continue
        transcript = written(
            " ".join(word["text"] for word in answers[row["path"]]["transcript"]["words"])
        )
        found = sum(NUMBERS.get(word, word) in transcript for word in plain(row["text"]))
        assert found >= MIN_WORDS_RIGHT, (row["text"], transcript)
        right, total = right + found, total + 6
    assert right / total > 0.85


def test_no_words_are_invented_where_nobody_speaks(answers):
    for row in recordings():
        if row["talking"] == "no":
            answer = answers[row["path"]]
            assert answer["transcript"]["words"] == []
            assert "no speech was found in this recording" in answer["warnings"]


def test_read_sentences_are_not_taken_for_strong_negative_feelings(answers):
    """Check that no GRID clip, all read neutrally, has high scores of anger, disgust or fear."""
    for row in recordings():
        if row["talking"] == "yes":
            scores = answers[row["path"]]["scores"]
            assert scores["anger"] + scores["disgust"] + scores["fear"] < 0.5
