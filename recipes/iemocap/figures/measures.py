"""Figures of systems on IEMOCAP under the names that papers use, and what a difference between two is worth.

WA, weighted accuracy, is the share of right answers; UA or UAR is the mean recall of the labels. Yoon et al.
2018 report WAP, weighted average precision, for which neither stands. Means over folds and figures of all
folds' turns pooled are two things, so both are given.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from multimodal_fer.training.metrics import calibration_error, classification_report
from recipes.iemocap.corpus.emotions import DIMENSIONS
from recipes.iemocap.corpus.turns import Turn
from recipes.iemocap.learning.targets import concordance

EMOTION_FIGURES = ("accuracy", "uar", "macro_f1", "weighted_precision", "calibration_error")
NUMBER_FIGURES = tuple(f"ccc_{name}" for name in DIMENSIONS)
DRAWS = 2000
CALIBRATED_DRAWS = 100


@dataclass(frozen=True, eq=False)
class Answers:
    """What a system says of test turns, and what is true. Never written: only figures are."""

    labels: tuple[str, ...]
    turns: list[Turn]
    found: NDArray[numpy.floating]  # (N, K) probabilities, or (N, 3) numbers
    truth: NDArray[Any]  # (N,) numbers of the labels, or (N, 3)
    without: int = 0  # turns of the test part that lack what the system needs

    @property
    def of_emotions(self) -> bool:
        return self.truth.ndim == 1

    def rows(self, wanted: Sequence[bool]) -> "Answers":
        turns = [turn for turn, chosen in zip(self.turns, wanted, strict=True) if chosen]
        chosen = numpy.array(wanted, bool)
        return Answers(self.labels, turns, self.found[chosen], self.truth[chosen], 0)


@dataclass(eq=False)
class FoldAnswers:
    """Answers of one fold, and what a result says of its training."""

    name: str
    answers: Answers
    training: dict[str, Any]
    test: tuple[str, ...]  # ids
    digest: str
    about: dict[str, Any] = field(default_factory=dict)


def pooled(parts: Sequence[Answers]) -> Answers:
    """All folds' turns together."""
    return Answers(
        parts[0].labels,
        [turn for part in parts for turn in part.turns],
        numpy.concatenate([part.found for part in parts]),
        numpy.concatenate([part.truth for part in parts]),
        sum(part.without for part in parts),
    )


def report_of(answers: Answers) -> dict[str, Any]:
    """All figures of some turns; none where there are no turns."""
    if not answers.turns:
        return {"turns": 0}
    if not answers.of_emotions:
        found = concordance(torch.from_numpy(answers.found), torch.from_numpy(answers.truth))
        return {"turns": len(answers.turns)} | dict(
            zip(NUMBER_FIGURES, found.tolist(), strict=True)
        )
    report = classification_report(answers.found, answers.truth, answers.labels)
    count = report.pop("images")
    more = {
        "weighted_precision": weighted_precision(report["confusion"]),
        "calibration_error_by_chance": calibration_by_chance(answers.found),
    }
    return {"turns": count, **more} | report


def calibration_by_chance(found: NDArray[numpy.floating]) -> float:
    """The mean calibration error of answers (N, K) as often right as they say, so by chance alone.

    Bins of few turns differ from their confidence by luck: of 80 turns it is about a tenth, and a measured
    error of that size says nothing against the calibration.
    """
    random = numpy.random.default_rng(0)
    errors = []
    for _ in range(CALIBRATED_DRAWS):
        steps = found.cumsum(1) / found.sum(1, keepdims=True)
        truth = (random.random((len(found), 1)) > steps).sum(1).clip(max=found.shape[1] - 1)
        errors.append(calibration_error(found, truth))
    return float(numpy.mean(errors))


def weighted_precision(confusion: Sequence[Sequence[int]]) -> float:
    """The precision of each label, weighted by how many turns have it (WAP of Yoon et al. 2018).

    Rows are true labels. A label that is never answered counts as never right.
    """
    counts = numpy.array(confusion, float)
    precision = counts.diagonal() / numpy.maximum(counts.sum(0), 1)
    return float((precision * counts.sum(1)).sum() / counts.sum())


def by_kind(answers: Answers) -> dict[str, Any]:
    """Improvised and scripted turns apart: the scripts of the test turns were read in training too."""
    improvised = [turn.improvised for turn in answers.turns]
    return {
        "improvised": report_of(answers.rows(improvised)),
        "scripted": report_of(answers.rows([not value for value in improvised])),
    }


def spread(reports: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over the folds."""
    names = [name for name in (*EMOTION_FIGURES, *NUMBER_FIGURES) if name in reports[0]]
    return {
        name: {
            "mean": statistics.mean(values),
            "deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
        }
        for name in names
        for values in [[report[name] for report in reports]]
    }


# --- two systems ---


def compare(one: Answers, other: Answers) -> dict[str, Any]:
    """How much better the first is on the turns that both judge, with 95 % intervals.

    A paired bootstrap (Efron 1979; for systems, Koehn 2004) over dialogs: turns of one scene are not
    independent of each other, so drawing single turns would give too narrow an interval.
    """
    places = {turn.id: place for place, turn in enumerate(other.turns)}
    pairs = [(a, places[turn.id]) for a, turn in enumerate(one.turns) if turn.id in places]
    if not pairs:
        return {"turns": 0}
    first, second = (numpy.array(column) for column in zip(*pairs, strict=True))
    rights = (
        one.found[first].argmax(1) == one.truth[first],
        other.found[second].argmax(1) == other.truth[second],
    )
    counts = _counts_by_dialog([one.turns[a].dialog for a in first], one.truth[first], rights)
    random = numpy.random.default_rng(0)
    drawn = random.integers(len(counts), size=(DRAWS, len(counts)))
    found = _differences(counts.sum(0))
    draws: dict[str, list[float]] = {name: [] for name in found}
    for rows in drawn:
        for name, value in _differences(counts[rows].sum(0)).items():
            draws[name].append(value)
    return {"turns": len(pairs), "dialogs": len(counts)} | {
        name: {
            "difference": found[name],
            "interval": numpy.percentile(draws[name], [2.5, 97.5]).tolist(),
            "share_of_draws_not_better": float((numpy.array(draws[name]) <= 0).mean()),
        }
        for name in found
    }


def _counts_by_dialog(
    dialogs: Sequence[str], truth: NDArray[Any], rights: tuple[NDArray[Any], NDArray[Any]]
) -> NDArray[Any]:
    """Of each dialog and label: its turns, how many the first has right, how many the second (D, K, 3)."""
    names, labels = sorted(set(dialogs)), int(truth.max()) + 1
    cells = numpy.array([names.index(name) for name in dialogs]) * labels + truth
    columns = [
        numpy.bincount(cells, weights, minlength=len(names) * labels) for weights in (None, *rights)
    ]
    return numpy.stack(columns, axis=1).reshape(len(names), labels, 3)


def _differences(counts: NDArray[Any]) -> dict[str, float]:
    """Accuracy and UAR of the first less those of the second, from counts (K, 3)."""
    turns, first, second = counts.T
    apart, there = first - second, turns > 0
    return {
        "accuracy": float(apart.sum() / turns.sum()),
        "uar": float((apart[there] / turns[there]).mean()),
    }
