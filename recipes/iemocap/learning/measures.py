"""Figures of systems on IEMOCAP, named as in papers, and paired comparisons of two systems.

WA (weighted accuracy) is the share of correct predictions; UA or UAR is the mean recall of the labels. Yoon
et al. 2018 report WAP (weighted average precision), which is neither. Means over folds differ from figures of
all folds' turns pooled; both are given.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
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
CALIBRATION_DRAWS = 100


@dataclass(frozen=True, eq=False)
class Answers:
    """Predictions and targets of test turns; only figures of them are written."""

    labels: tuple[str, ...]
    turns: list[Turn]
    found: NDArray[numpy.floating]  # (N, K) probabilities, or (N, 3) numbers
    truth: NDArray[Any]  # (N,) label indices, or (N, 3)
    without: int = 0  # test turns that lack an input of the system

    @property
    def of_emotions(self) -> bool:
        return self.truth.ndim == 1

    def rows(self, wanted: Sequence[bool]) -> "Answers":
        turns = [turn for turn, chosen in zip(self.turns, wanted, strict=True) if chosen]
        chosen = numpy.array(wanted, bool)
        return Answers(self.labels, turns, self.found[chosen], self.truth[chosen], 0)


def pooled(parts: Sequence[Answers]) -> Answers:
    """Concatenate the turns of all folds."""
    return Answers(
        parts[0].labels,
        [turn for part in parts for turn in part.turns],
        numpy.concatenate([part.found for part in parts]),
        numpy.concatenate([part.truth for part in parts]),
        sum(part.without for part in parts),
    )


def report_of(answers: Answers) -> dict[str, Any]:
    """Return the number of turns and, if there are any, all figures."""
    if not answers.turns:
        return {"turns": 0}
    if not answers.of_emotions:
        found = concordance(torch.from_numpy(answers.found), torch.from_numpy(answers.truth))
        return {"turns": len(answers.turns)} | dict(
            zip(NUMBER_FIGURES, found.tolist(), strict=True)
        )
    report = classification_report(answers.found, answers.truth, answers.labels)
    return {
        "turns": report.pop("images"),
        "weighted_precision": weighted_precision(report["confusion"]),
        "calibration_error_by_chance": calibration_by_chance(answers.found),
        **report,
    }


def calibration_by_chance(found: NDArray[numpy.floating]) -> float:
    """Return the mean calibration error of perfectly calibrated predictions (N, K) with random targets.

    Bins of few turns deviate from their confidence by chance: with 80 turns the error is about 0.1, so a
    measured error of that size is no evidence of poor calibration.
    """
    random = numpy.random.default_rng(0)
    steps = found.cumsum(1) / found.sum(1, keepdims=True)
    errors = []
    for _ in range(CALIBRATION_DRAWS):
        truth = (random.random((len(found), 1)) > steps).sum(1).clip(max=found.shape[1] - 1)
        errors.append(calibration_error(found, truth))
    return float(numpy.mean(errors))


def weighted_precision(confusion: Sequence[Sequence[int]]) -> float:
    """Return the precision of each label, weighted by its number of turns (WAP of Yoon et al. 2018).

    Rows are true labels. A label that is never predicted has precision 0.
    """
    counts = numpy.array(confusion, float)
    precision = counts.diagonal() / numpy.maximum(counts.sum(0), 1)
    return float((precision * counts.sum(1)).sum() / counts.sum())


def by_kind(answers: Answers) -> dict[str, Any]:
    """Report improvised and scripted turns separately; training contains the scripts of the test turns."""
    improvised = [turn.improvised for turn in answers.turns]
    return {
        "improvised": report_of(answers.rows(improvised)),
        "scripted": report_of(answers.rows([not value for value in improvised])),
    }


def spread(reports: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation over the folds."""
    names = [name for name in (*EMOTION_FIGURES, *NUMBER_FIGURES) if name in reports[0]]
    return {
        name: {
            "mean": statistics.mean(values),
            "deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
        }
        for name in names
        for values in [[report[name] for report in reports]]
    }


# --- comparison of two systems ---


def compare(one: Answers, other: Answers) -> dict[str, Any]:
    """Return the differences of figures on the turns of both systems, with 95 % intervals.

    A paired bootstrap (Efron 1979; for systems, Koehn 2004) over dialogs: turns of one scene are not
    independent, so single turns would give too narrow an interval.
    """
    places = {turn.id: place for place, turn in enumerate(other.turns)}
    pairs = [(a, places[turn.id]) for a, turn in enumerate(one.turns) if turn.id in places]
    if not pairs:
        return {"turns": 0}
    first, second = (numpy.array(column) for column in zip(*pairs, strict=True))
    correct = (
        one.found[first].argmax(1) == one.truth[first],
        other.found[second].argmax(1) == other.truth[second],
    )
    counts = _counts_by_dialog([one.turns[a].dialog for a in first], one.truth[first], correct)
    random = numpy.random.default_rng(0)
    drawn = random.integers(len(counts), size=(DRAWS, len(counts)))
    draws = [_differences(counts[rows].sum(0)) for rows in drawn]
    result: dict[str, Any] = {"turns": len(pairs), "dialogs": len(counts)}
    for name, difference in _differences(counts.sum(0)).items():
        values = numpy.array([draw[name] for draw in draws])
        result[name] = {
            "difference": difference,
            "interval": numpy.percentile(values, [2.5, 97.5]).tolist(),
            "share_of_draws_not_better": float((values <= 0).mean()),
        }
    return result


def _counts_by_dialog(
    dialogs: Sequence[str], truth: NDArray[Any], correct: tuple[NDArray[Any], NDArray[Any]]
) -> NDArray[Any]:
    """Count by dialog and label: turns, correct ones of the first, of the second system (D, K, 3)."""
    names, labels = sorted(set(dialogs)), int(truth.max()) + 1
    cells = numpy.array([names.index(name) for name in dialogs]) * labels + truth
    columns = [
        numpy.bincount(cells, weights, minlength=len(names) * labels)
        for weights in (None, *correct)
    ]
    return numpy.stack(columns, axis=1).reshape(len(names), labels, 3)


def _differences(counts: NDArray[Any]) -> dict[str, float]:
    """Return accuracy and UAR of the first system minus those of the second, from counts (K, 3)."""
    turns, first, second = counts.T
    more, occurs = first - second, turns > 0
    return {
        "accuracy": float(more.sum() / turns.sum()),
        "uar": float((more[occurs] / turns[occurs]).mean()),
    }
