"""Metrics of answers, beside those of the part that they come from.

A sample without an answer counts as wrong in accuracy (WA), recall, UAR and macro-F1. ECE and the share of
`unsure` are computed over the answered samples.
"""

import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy
from torch import Tensor

from multimodal_fer import Analyzer
from multimodal_fer.errors import DataError
from multimodal_fer.fusion.bundle import Bundle
from multimodal_fer.labels import FER_PLUS_TO_OPEN7, OPEN7, fold_scores
from multimodal_fer.training.metrics import calibration_error, macro_f1
from multimodal_fer.types import Analysis, Scores, strongest

SHOWN_EVERY = 20  # samples between two reports of progress

Item = TypeVar("Item")


class ScoredSample(NamedTuple):
    """Scores for one sample; empty if there is no answer."""

    scores: Scores
    unsure: bool


class Measured(NamedTuple):
    """One sample: its label, the prediction of the part and the answer of the analysis."""

    truth: str
    part: ScoredSample
    answer: ScoredSample


def open_analyzer(bundle: str, *needed: str, speech_model: str = "none") -> Analyzer:
    """Load an analyzer. Raises `DataError` if its labels are not open7 or a part is missing."""
    analyzer = Analyzer(bundle, speech_model=speech_model)
    if set(analyzer.bundle.labels) != set(OPEN7):
        raise DataError(
            f"{bundle}: expected the labels {', '.join(OPEN7)}, found {', '.join(analyzer.bundle.labels)}"
        )
    if missing := [name for name in needed if getattr(analyzer.bundle, name) is None]:
        raise DataError(f"{bundle}: has no part for {' and '.join(missing)}")
    return analyzer


def answer_of(analysis: Analysis) -> ScoredSample:
    """Return the answer for a whole recording or text."""
    return ScoredSample(analysis.scores, analysis.unsure)


def parts_of(logits: Tensor, config: Any, bundle: Bundle) -> list[ScoredSample]:
    """Return a part's calibrated predictions over open7 from logits (N, L)."""
    rows = (logits.float() / config.temperature).softmax(1).tolist()
    scores = [
        fold_scores(dict(zip(config.labels, row, strict=True)), OPEN7, FER_PLUS_TO_OPEN7)
        for row in rows
    ]
    return [ScoredSample(row, max(row.values()) < bundle.unsure_below) for row in scores]


def row_of(data: str, measured: Sequence[Measured], **about: Any) -> dict[str, Any]:
    """Return the metrics of part and answer on one data set."""
    truth = [sample.truth for sample in measured]
    return {
        "data": data,
        **about,
        "files": len(measured),
        "part": report([sample.part for sample in measured], truth),
        "answer": report([sample.answer for sample in measured], truth),
    }


def report(predictions: Sequence[ScoredSample], truth: Sequence[str]) -> dict[str, Any]:
    """Return all metrics; the last column of `confusion` counts samples without an answer."""
    labels = list(OPEN7)
    predicted = [strongest(answer.scores) for answer in predictions]
    confusion = count(predicted, truth)
    support = confusion.sum(1)
    recall = confusion.diagonal() / numpy.maximum(support, 1)
    right = numpy.array([one == other for one, other in zip(predicted, truth, strict=True)])
    answered = numpy.array([bool(answer.scores) for answer in predictions])
    unsure = numpy.array([answer.unsure for answer in predictions]) & answered
    return {
        "unanswered": int((~answered).sum()),
        "accuracy": float(right.mean()),
        "accuracy_of_answered": share(right[answered]),
        "uar": float(recall[support > 0].mean()),
        "macro_f1": macro_f1(confusion),
        "calibration_error": calibration_of(predictions, truth),
        "mean_score_of_truth": share(
            [
                answer.scores[label]
                for answer, label in zip(predictions, truth, strict=True)
                if answer[0]
            ]
        ),
        "unsure": {"share": share(unsure[answered]), "accuracy": share(right[unsure])},
        "sure": {"share": share(~unsure[answered]), "accuracy": share(right[answered & ~unsure])},
        "recall": dict(zip(labels, recall.tolist(), strict=True)),
        "support": dict(zip(labels, support.tolist(), strict=True)),
        "confusion": confusion.tolist(),
    }


def count(predicted: Sequence[str | None], truth: Sequence[str]) -> numpy.ndarray:
    """Return the confusion matrix (7, 8): rows are labels, the last column is for no answer."""
    columns = {name: number for number, name in enumerate([*OPEN7, None])}
    confusion = numpy.zeros((len(OPEN7), len(columns)), numpy.int64)
    for answer, label in zip(predicted, truth, strict=True):
        confusion[OPEN7.index(label), columns[answer]] += 1
    return confusion


def calibration_of(predictions: Sequence[ScoredSample], truth: Sequence[str]) -> float | None:
    """Return the ECE of the answered samples, None if there are none."""
    pairs = [(a.scores, label) for a, label in zip(predictions, truth, strict=True) if a.scores]
    if not pairs:
        return None
    probabilities = numpy.array([[scores[name] for name in OPEN7] for scores, _ in pairs])
    return calibration_error(probabilities, numpy.array([OPEN7.index(name) for _, name in pairs]))


def share(values: Any) -> float | None:
    """Return the mean, None if there are no values."""
    return float(numpy.mean(values)) if len(values) else None


def chosen(items: Sequence[Item], limit: int) -> list[Item]:
    """Return all items, or `limit` random ones with a fixed seed, in their own order."""
    if not 0 < limit < len(items):
        return list(items)
    return [items[number] for number in sorted(random.Random(0).sample(range(len(items)), limit))]


def with_progress(title: str, items: Sequence[Item]) -> Iterator[Item]:
    """Yield the items and print the progress to stderr."""
    for number, item in enumerate(items, start=1):
        yield item
        if number % SHOWN_EVERY == 0 or number == len(items):
            end = "\n" if number == len(items) else ""
            print(f"\r{title}: {number} of {len(items)}", end=end, file=sys.stderr, flush=True)


def summaries(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield one line for each row."""
    for row in rows:
        title = ", ".join([row["data"], *filter(None, [row.get("condition")])])
        part, answer = row["part"], row["answer"]
        yield (
            f"{title} ({row['files']}, {answer['unanswered']} without an answer): "
            f"UAR {part['uar']:.3f} part, {answer['uar']:.3f} answer; "
            f"WA {part['accuracy']:.3f}, {answer['accuracy']:.3f}; "
            f"macro-F1 {part['macro_f1']:.3f}, {answer['macro_f1']:.3f}; "
            f"ECE {shown(part['calibration_error'])}, {shown(answer['calibration_error'])}; "
            f"unsure {shown(answer['unsure']['share'])}, right then "
            f"{shown(answer['unsure']['accuracy'])}, else {shown(answer['sure']['accuracy'])}"
        )


def shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
