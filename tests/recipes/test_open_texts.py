"""Test the sentence encoder's recipe: spoken style, remarks, fine labels, valence, learning rates."""

import csv
import random
from collections import Counter

import numpy
import pytest
import torch
from conftest import ROOT

from benchmarks.answers import texts as answers
from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.labels import GOEMOTIONS_TO_OPEN7
from multimodal_fer.text.sentences.encoder import SentenceConfig, SentenceEncoder
from recipes.open.text import fine, valence
from recipes.open.text.corpora import FINE_LABELS, Sample, read_texts
from recipes.open.text.spoken import misheard, spoken
from recipes.open.text.train import TextRun, TextTrainConfig, layer_rates

REMARKS = ROOT / "tests" / "data" / "usability_remarks.csv"


def read_remarks():
    with REMARKS.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_the_remarks_are_two_hundred_in_two_like_halves():
    rows = read_remarks()
    assert len(rows) == 200 and len({row["text"].lower() for row in rows}) == 200
    halves = [
        Counter((row["valence"], row["style"]) for row in rows if row["split"] == split)
        for split in ("dev", "test")
    ]
    assert all(abs(halves[0][kind] - halves[1][kind]) <= 1 for kind in halves[0] | halves[1])
    assert {row["fine"] for row in rows} <= set(FINE_LABELS)
    assert {"spoken ironic", "written ironic"} <= {row["style"] for row in rows}
    measured = answers.read_table(REMARKS)
    assert {row.text for row in measured} == {row["text"] for row in rows if row["split"] == "test"}


def test_no_measured_remark_is_trained_on():
    def plain(text):
        return "".join(letter for letter in text.lower() if letter.isalnum())

    trained = {plain(sample.text) for sample in read_texts("nowhere", ["remarks"], "train")}
    assert len(trained) > 300
    tables = [row["text"] for row in read_remarks()]
    for name in ("usability_answers.csv", "factual_remarks.csv"):
        with (ROOT / "tests" / "data" / name).open(encoding="utf-8", newline="") as lines:
            tables += [row["text"] for row in csv.DictReader(lines)]
    assert not trained & {plain(text) for text in tables}
    assert read_texts("nowhere", ["remarks"], "validation") == []


def test_spoken_texts_have_no_emoji_and_stay_the_same_for_a_seed():
    text = "I can't believe [NAME] did that!! 😂 (really)"
    drawn = {spoken(text, random.Random(seed)) for seed in range(40)}
    assert len(drawn) > 20 and spoken(text, random.Random(3)) == spoken(text, random.Random(3))
    for changed in drawn:
        assert "😂" not in changed and "[" not in changed and "(" not in changed
        assert "believe" in changed and changed == changed.replace("  ", " ")
    assert any(not set(changed) & set(".,!?") for changed in drawn)
    assert spoken("😂😂", random.Random(0)) == "😂😂" and spoken("", random.Random(0)) == ""


def test_words_are_confused_with_words_that_sound_alike_only():
    chance = random.Random(0)
    heard = Counter(" ".join(misheard("their", chance)) for _ in range(2000))
    assert set(heard) == {"their", "their their", "there", "they're"}
    assert heard["their"] > 1500
    assert {" ".join(misheard("not", chance)) for _ in range(2000)} == {"not", "not not"}


def test_frozen_layers_do_not_learn_and_rates_fall_towards_the_input():
    sizes = {"vocabulary_size": 30, "width": 8, "heads": 2, "blocks": 4}
    model = SentenceEncoder(SentenceConfig(finer=GOEMOTIONS_TO_OPEN7, **sizes))
    config = TextTrainConfig(frozen_blocks=1, layer_decay=0.5, head_rate=3.0, learning_rate=1e-2)
    rate_of = {
        parameter: group["lr"]
        for group in layer_rates(model, config)
        for parameter in group["params"]
    }
    assert rate_of[model.head.linear.weight] == pytest.approx(3e-2)
    for number, rate in ((3, 1e-2), (2, 5e-3), (1, 2.5e-3)):
        assert rate_of[model.blocks[number].wide.weight] == pytest.approx(rate)
    for part in (model.pieces, model.positions, model.norm, model.blocks[0]):
        for parameter in part.parameters():
            assert parameter not in rate_of and not parameter.requires_grad


def test_only_the_sentence_encoder_has_a_start():
    run = TextRun.__new__(TextRun)
    run.model = torch.nn.Linear(1, 1)
    with pytest.raises(ConfigError, match="only the model sentences has a start"):
        run.start_from("minilm")


def fine_logits(count=400, seed=0):
    """Return samples with one label each, and logits that know only the first ten labels."""
    chance = numpy.random.default_rng(seed)
    truth = chance.integers(0, len(FINE_LABELS), count)
    samples = [Sample("x", (), fine_labels=(FINE_LABELS[label],)) for label in truth]
    logits = chance.normal(0, 1, (count, len(FINE_LABELS))).astype("f4")
    known = truth < 10
    logits[numpy.flatnonzero(known), truth[known]] += 8
    return torch.from_numpy(logits), samples


def test_labels_that_are_not_recognised_are_merged():
    answer = fine.choose_names(*fine_logits(2000))
    for label in FINE_LABELS[:10]:
        assert answer.shown_as[label] == label and answer.f1[label] > 0.8
    for label in FINE_LABELS[10:]:
        assert answer.shown_as[label] == fine.GROUPS[label]
    assert "neutral" not in answer.thresholds and set(answer.thresholds) <= set(answer.f1)
    assert all(answer.f1[name] >= fine.ACCEPTABLE for name in answer.thresholds)
    assert all(answer.f1[label] >= fine.RELIABLE for label in FINE_LABELS[:10])
    assert set(fine.GROUPS) == set(FINE_LABELS)


def test_thresholds_have_the_best_f1():
    scores = numpy.array([[0.1], [0.2], [0.6], [0.7]], numpy.float32)
    truth = numpy.array([[False], [False], [True], [True]])
    (threshold,) = fine.fit_thresholds(scores, truth)
    assert 0.2 < threshold <= 0.6


def test_valence_is_learnt_from_ratings_and_stays_in_its_range():
    chance = numpy.random.default_rng(0)
    emobank = chance.dirichlet(numpy.full(len(FINE_LABELS), 0.1), 8000)
    secret = numpy.array([valence.MEANING[label] for label in FINE_LABELS])
    surprise = FINE_LABELS.index("surprise")
    secret[surprise] = 0.8  # data may disagree with what the labels mean
    ratings = 3 + emobank @ secret / valence.EMOBANK_SPREAD
    weights = valence.fit_valence(emobank, ratings, emobank[:50], emobank[:50] @ secret)
    assert set(weights) == set(FINE_LABELS) and all(-1 <= w <= 1 for w in weights.values())
    assert weights["surprise"] > 0.5 and weights["joy"] > 0.8 and weights["anger"] < -0.8
    given = emobank @ numpy.array(list(weights.values()))
    rated = [valence.Rated("", rating) for rating in ratings]
    assert valence.measure_ratings(given, rated)["pearson"] > 0.95


def test_the_sign_of_valence_has_a_neutral_middle():
    assert valence.sign_of(numpy.array([-1, -0.1, 0.0, 0.15, 0.9])).tolist() == [-1, 0, 0, 0, 1]
    rated = [valence.Rated("", sign) for sign in (-1, 0, 1, 1)]
    report = valence.measure_signs(numpy.array([-0.9, 0.0, 0.9, 0.0]), rated)
    assert report["right"] == 0.75
    assert report["recall"] == {"positive": 0.5, "neutral": 1.0, "negative": 1.0}


def test_tables_that_do_not_fit_are_named(tmp_path):
    (tmp_path / "emobank").mkdir()
    with pytest.raises(DataError, match=r"emobank\.csv: cannot be read"):
        valence.read_emobank(tmp_path, "train")
    (tmp_path / "emobank" / "emobank.csv").write_text("id,text\n1,fine\n")
    with pytest.raises(DataError, match="expected the columns split, V, text"):
        valence.read_emobank(tmp_path, "train")
    bad = tmp_path / "bad.csv"
    bad.write_text("text,valence,fine,style,split\nfine,good,joy,spoken,test\n")
    with pytest.raises(DataError, match=r"bad\.csv, row 2: expected a valence"):
        answers.read_table(bad)
