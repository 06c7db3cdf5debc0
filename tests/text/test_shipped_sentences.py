"""Test the shipped sentence encoder on unusual texts, many texts, and the remarks that tuned it."""

import csv
import json
import time

import pytest
import torch
from conftest import ROOT

from multimodal_fer.hub import loading
from multimodal_fer.text.selection import select_texts
from multimodal_fer.types import Window, strongest

WEIGHTS = ROOT / "weights" / "text-open7-minilm"


@pytest.fixture(scope="module")
def reader():
    return loading.load_reader(WEIGHTS)


def read(reader, text):
    """Return the prediction for a written text, and the warnings."""
    notes = []
    chosen = select_texts(reader, [Window(0.0, 0.0, spoken=False, text=text)], None, notes.append)
    return (reader.predict(list(chosen.values())) or [None])[0], notes


def test_it_is_small_and_gives_its_reference_outputs():
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 35e6
    assert loading.verify(WEIGHTS) < 1e-3


@pytest.mark.parametrize(
    ("text", "emotion"),
    [
        ("👍👍👍", "happiness"),
        ("I LOVE IT 😍", "happiness"),
        ("I love it! " * 3400, "happiness"),
        ("<p>The <b>checkout</b> was <i>terrible</i> &amp; slow, I hate it</p>", "anger"),
        ("i don't get it where do i click", "surprise"),
        ("I opened the page and clicked on the second tab.", "neutral"),
    ],
    ids=["emoji", "words and emoji", "ten thousand words", "markup", "spoken", "factual"],
)
def test_unusual_texts_are_answered(reader, text, emotion):
    answer, notes = read(reader, text)
    assert strongest(answer.scores) == emotion and not notes
    assert sum(answer.scores.values()) == pytest.approx(1) and -1 <= answer.valence <= 1


@pytest.mark.parametrize(
    "text",
    [
        "我找不到按钮，所以放弃了。",
        "Nie mogłem znaleźć przycisku i zrezygnowałem.",
        "Ich konnte den Knopf nicht finden und habe aufgegeben.",
        "Je n'ai pas trouvé le bouton et j'ai abandonné.",
        "No pude encontrar el botón y me rendí.",
        "Не смог найти кнопку",
        "12345 ... ###",
    ],
)
def test_texts_that_it_cannot_read_have_a_warning_instead_of_an_answer(reader, text):
    answer, notes = read(reader, text)
    assert answer is None
    assert len(notes) == 1 and notes[0].startswith(
        "the words were not analysed: the text network knows"
    )


def test_development_remarks_have_their_valence_and_fine_labels(reader):
    with (ROOT / "tests" / "data" / "usability_remarks.csv").open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["split"] == "dev"]
    found = reader.predict([row["text"] for row in rows])
    signs = {"positive": 1, "neutral": 0, "negative": -1}
    right = [
        signs[row["valence"]] == (abs(one.valence) >= 0.25) * (1 if one.valence > 0 else -1)
        for row, one in zip(rows, found, strict=True)
    ]
    assert sum(right) / len(right) > 0.75
    named = {name for one in found for name in one.fine}
    assert named <= set(reader.network.config.thresholds) and "neutral" not in named
    assert {"gratitude", "negative reaction", "confusion or realization"} <= named


def test_long_answers_are_read_to_their_end(reader):
    start = "I opened the page and clicked on the second tab. " * 30
    end = "I hate this terrible app, it makes me furious! " * 30
    (without,), (whole,) = reader.predict([start]), reader.predict([start + end])
    assert whole.valence < without.valence - 0.2


def test_a_sentence_takes_milliseconds(reader):
    torch.set_num_threads(1)
    reader.predict(["warm up"])
    taken = []
    for _ in range(15):
        began = time.process_time()
        reader.predict(["I could not find the button and had to start all over again."])
        taken.append(time.process_time() - began)
    assert min(taken) < 0.03  # about 10 ms on one core of a server


def test_the_config_states_where_it_comes_from():
    config = json.loads((WEIGHTS / "config.json").read_text(encoding="utf-8"))
    assert config["stored"] == "int8-rows" and "MiniLM" in config["licence"]
    assert config["training"]["corpora"] == ["goemotions", "isear", "so_emotion", "remarks"]
