"""Fit how a sentence encoder answers with fine labels and valence, on development texts."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy

from multimodal_fer.text.sentences.encoder import SentenceEncoder
from recipes.open.runs import Trained
from recipes.open.text.corpora import FINE_LABELS, read_texts
from recipes.open.text.fine import choose_names
from recipes.open.text.train import encode_texts, predict_texts
from recipes.open.text.valence import fit_valence, read_emobank, read_remarks

MOST_RATINGS = 2000  # of EmoBank; enough for 28 weights


@lru_cache(maxsize=2)
def fine_logits(model: Any, vocabulary: Any, texts: tuple[str, ...]) -> Any:
    """Return the logits of the fine labels, computed once for the same texts."""
    return predict_texts(model, encode_texts(model, vocabulary, texts), fine=True)


def calibrate_fine_labels(trained: Trained, folder: str, corpora: Sequence[str]) -> Any:
    """Return the settings of a network with names, thresholds and weights for valence fitted.

    Networks of other kinds, and those without GoEmotions' labels, keep their settings.
    """
    model = trained.model
    if not isinstance(model, SentenceEncoder) or set(model.head.finer) != set(FINE_LABELS):
        return model.config
    samples = read_texts(folder, corpora, "validation")
    rows = [number for number, sample in enumerate(samples) if sample.fine_labels]
    logits = fine_logits(model, trained.vocabulary, tuple(sample.text for sample in samples))
    answer = choose_names(logits[rows], [samples[row] for row in rows])
    for name, value in answer.f1.items():
        shown = "named" if name in answer.thresholds else "not named"
        print(f"{name}: F1 {value:.3f} on the development split, {shown}")
    emobank = read_emobank(folder, "train")[:MOST_RATINGS]
    remarks = read_remarks("dev")
    emobank_F, remarks_F = (
        (
            fine_logits(model, trained.vocabulary, tuple(row.text for row in rated))
            / answer.temperature
        )
        .softmax(1)
        .double()
        .numpy()
        for rated in (emobank, remarks)
    )
    valence = fit_valence(
        emobank_F,
        numpy.array([row.valence for row in emobank]),
        remarks_F,
        numpy.array([row.valence for row in remarks]),
    )
    return replace(
        model.config,
        fine_temperature=answer.temperature,
        shown_as=answer.shown_as,
        thresholds=answer.thresholds,
        valence=valence,
    )
