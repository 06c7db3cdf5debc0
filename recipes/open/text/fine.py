"""Choose on GoEmotions' development split which fine labels keep their name in the answer.

A label whose F1 is at least `RELIABLE` there keeps its name. The others are merged into groups; a group that
is recognised worse than `ACCEPTABLE`, and neutral, which the emotion says already, are not named at all.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from multimodal_fer.training.metrics import fit_temperature
from recipes.open.text.corpora import FINE_LABELS, Sample, fine_targets_of

RELIABLE = 0.45  # F1 of a label on the development split
ACCEPTABLE = 0.40  # of a group
LEAST_COUNT = 20  # texts of a label there; F1 of fewer says little
THRESHOLDS = [number / 100 for number in range(4, 80)]
NOT_NAMED = "neutral"
GROUPS = {
    **dict.fromkeys(
        ("anger", "annoyance", "disappointment", "disapproval", "disgust"), "negative reaction"
    ),
    **dict.fromkeys(
        ("approval", "admiration", "joy", "excitement", "optimism", "pride", "relief", "amusement"),
        "positive reaction",
    ),
    **dict.fromkeys(("love", "caring", "gratitude"), "positive reaction"),
    **dict.fromkeys(("sadness", "grief", "remorse"), "sorrow"),
    **dict.fromkeys(("fear", "nervousness", "embarrassment"), "unease"),
    **dict.fromkeys(("confusion", "surprise", "realization"), "confusion or realization"),
    **dict.fromkeys(("curiosity", "desire"), "interest"),
    "neutral": "neutral",
}

Scores = NDArray[numpy.float32]
Truth = NDArray[numpy.bool_]


class FineAnswer(NamedTuple):
    """Settings of the network that say which fine labels it names, and the F1 of each name."""

    temperature: float
    shown_as: dict[str, str]
    thresholds: dict[str, float]
    f1: dict[str, float]


def f1(truth: Truth, given: Truth) -> float:
    """Return the F1 of one label, zero if it neither occurs nor is predicted."""
    return float(f1_score(truth, given, zero_division=0.0))  # type: ignore[arg-type]


def fit_thresholds(scores: Scores, truth: Truth) -> list[float]:
    """Return the threshold with the best F1 for each label."""
    return [
        max(THRESHOLDS, key=lambda t: f1(truth[:, label], scores[:, label] >= t))
        for label in range(scores.shape[1])
    ]


def fine_truth(samples: Sequence[Sample]) -> Truth:
    """Return which fine labels each text has, bool (N, 28)."""
    return fine_targets_of(samples) > 0


def merge(
    scores: Scores, truth: Truth, shown_as: Mapping[str, str]
) -> tuple[list[str], Scores, Truth]:
    """Return the names in the answer, their scores (N, S) and which of them each text has (N, S)."""
    names = list(dict.fromkeys(shown_as[label] for label in FINE_LABELS))
    columns = [
        [n for n, label in enumerate(FINE_LABELS) if shown_as[label] == name] for name in names
    ]
    merged = numpy.stack([scores[:, column].sum(1) for column in columns], axis=1)
    return names, merged, numpy.stack([truth[:, column].any(1) for column in columns], axis=1)


def choose_names(logits: torch.Tensor, samples: Sequence[Sample]) -> FineAnswer:
    """Return the settings for fine logits (N, 28) of GoEmotions' development split."""
    temperature = round(fit_temperature(logits, torch.from_numpy(fine_targets_of(samples))), 4)
    scores, truth = (logits / temperature).softmax(1).numpy(), fine_truth(samples)
    thresholds = fit_thresholds(scores, truth)
    reliable = {
        label
        for n, label in enumerate(FINE_LABELS)
        if truth[:, n].sum() >= LEAST_COUNT
        and f1(truth[:, n], scores[:, n] >= thresholds[n]) >= RELIABLE
    }
    shown_as = {label: label if label in reliable else GROUPS[label] for label in FINE_LABELS}
    names, merged, merged_truth = merge(scores, truth, shown_as)
    fitted = fit_thresholds(merged, merged_truth)
    reached = {
        name: f1(merged_truth[:, n], merged[:, n] >= fitted[n]) for n, name in enumerate(names)
    }
    named = {
        name: threshold
        for name, threshold in zip(names, fitted, strict=True)
        if name != NOT_NAMED and reached[name] >= (RELIABLE if name in reliable else ACCEPTABLE)
    }
    return FineAnswer(temperature, shown_as, named, reached)
