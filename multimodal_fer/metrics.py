"""Figures of merit for the recipes, under the field's names. Needs scikit-learn (extra `train`)."""

from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

CALIBRATION_BINS = 15


def classification_report(
    probabilities: NDArray[numpy.floating], truth: NDArray[numpy.integer], labels: Sequence[str]
) -> dict[str, Any]:
    """Accuracy (WA), unweighted recall (UAR), macro-F1, recall per class, confusion, calibration.

    Parameters
    ----------
    probabilities : array [shape=(N, K)], rows sum to 1
    truth : array [shape=(N,)], class numbers
    labels : the K names

    Returns
    -------
    dict of plain numbers; `confusion` rows are true classes, columns predictions
    """
    every = list(range(len(labels)))
    predicted = probabilities.argmax(axis=1)
    confusion = sklearn_metrics.confusion_matrix(truth, predicted, labels=every)
    support = confusion.sum(axis=1)
    recall = confusion.diagonal() / numpy.maximum(support, 1)
    macro_f1 = sklearn_metrics.f1_score(
        truth,
        predicted,
        labels=every,
        average="macro",
        zero_division=0.0,  # type: ignore[arg-type]
    )
    return {
        "images": len(truth),
        "accuracy": float((predicted == truth).mean()),
        "uar": float(recall[support > 0].mean()),
        "macro_f1": float(macro_f1),
        "recall": {name: float(value) for name, value in zip(labels, recall, strict=True)},
        "support": {name: int(value) for name, value in zip(labels, support, strict=True)},
        "confusion": confusion.tolist(),
        "calibration_error": calibration_error(probabilities, truth),
    }


def calibration_error(
    probabilities: NDArray[numpy.floating], truth: NDArray[numpy.integer]
) -> float:
    """Expected calibration error over 15 equal bins of confidence (Guo et al. 2017)."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    bins = numpy.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [
        abs(correct[bins == number].mean() - confidence[bins == number].mean())
        * (bins == number).mean()
        for number in numpy.unique(bins)
    ]
    return float(sum(gaps))
