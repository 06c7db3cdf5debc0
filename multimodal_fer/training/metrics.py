"""Metrics for the recipes. Needs scikit-learn (extra `train`)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics
from torch import Tensor
from torch.nn import functional

CALIBRATION_BINS = 15
WIDEST_TEMPERATURE = 20.0
RESAMPLES = 1000


def classification_report(
    probabilities: NDArray[numpy.floating], truth: NDArray[numpy.integer], labels: Sequence[str]
) -> dict[str, Any]:
    """Return accuracy (WA), unweighted average recall (UAR), macro-F1, recall per class, confusion, ECE.

    Parameters
    ----------
    probabilities
        array [shape=(N, K)], rows sum to 1
    truth
        array [shape=(N,)], class numbers
    labels : the K names

    Returns
    -------
    dict of plain numbers; `confusion` rows are true classes, columns predictions. UAR and macro-F1 are
    means over the classes that appear in `truth`.
    """
    every = list(range(len(labels)))
    predicted = probabilities.argmax(axis=1)
    confusion = sklearn_metrics.confusion_matrix(truth, predicted, labels=every)
    support = confusion.sum(axis=1)
    recall = confusion.diagonal() / numpy.maximum(support, 1)
    return {
        "images": len(truth),
        "accuracy": float((predicted == truth).mean()),
        "uar": float(recall[support > 0].mean()),
        "macro_f1": macro_f1(confusion),
        "recall": {name: float(value) for name, value in zip(labels, recall, strict=True)},
        "support": {name: int(value) for name, value in zip(labels, support, strict=True)},
        "confusion": confusion.tolist(),
        "calibration_error": calibration_error(probabilities, truth),
    }


def macro_f1(confusion: NDArray[numpy.integer]) -> float:
    """Return the mean F1 of the classes that appear in the truth.

    Parameters
    ----------
    confusion
        counts [shape=(K, M)]: rows are true classes, the first K columns predictions of them; columns after
        these (no answer) count as misses
    """
    support = confusion.sum(axis=1)
    predicted = confusion[:, : len(confusion)].sum(axis=0)
    f1 = 2 * confusion.diagonal() / numpy.maximum(support + predicted, 1)
    return float(f1[support > 0].mean())


def calibration_error(
    probabilities: NDArray[numpy.floating], truth: NDArray[numpy.integer]
) -> float:
    """Return the expected calibration error (ECE) over 15 equal bins of confidence (Guo et al. 2017)."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    bins = numpy.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [
        abs(correct[bins == number].mean() - confidence[bins == number].mean())
        * (bins == number).mean()
        for number in numpy.unique(bins)
    ]
    return float(sum(gaps))


def bootstrap_intervals(
    predicted: NDArray[numpy.integer], truth: NDArray[numpy.integer], seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return 95 % bootstrap intervals of accuracy and UAR: percentiles over 1,000 resamples (Efron 1979).

    They cover the choice of test samples, not the seed of the training. A class that is missing from a
    resample is left out of its UAR.
    """
    random = numpy.random.default_rng(seed)
    correct = predicted == truth
    classes = int(truth.max()) + 1
    figures = []
    for _ in range(RESAMPLES):
        drawn = random.integers(len(truth), size=len(truth))
        support = numpy.bincount(truth[drawn], minlength=classes)
        hits = numpy.bincount(truth[drawn], weights=correct[drawn], minlength=classes)
        figures.append((correct[drawn].mean(), (hits[support > 0] / support[support > 0]).mean()))
    low, high = numpy.percentile(figures, [2.5, 97.5], axis=0)
    names = ("accuracy", "uar")
    return {name: (float(low[k]), float(high[k])) for k, name in enumerate(names)}


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """Return the divisor of the logits with the lowest cross-entropy on validation data (Guo et al. 2017).

    Cross-entropy is convex in the divisor's inverse, so bisection on its slope finds the minimum between
    1/20 and 20; gradient descent can overshoot on small splits or small logits.

    Parameters
    ----------
    logits : float [shape=(N, K)]
    targets
        class numbers [shape=(N,)], or shares of the classes [shape=(N, K)]
    """
    logits = logits.double()
    if targets.ndim == 1:
        targets = functional.one_hot(targets, logits.shape[1])
    wanted = (logits * targets).sum(1).mean()
    low, high = -math.log(WIDEST_TEMPERATURE), math.log(WIDEST_TEMPERATURE)  # of the inverse
    for _ in range(60):
        middle = (low + high) / 2
        expected = ((logits * math.exp(middle)).softmax(1) * logits).sum(1).mean()
        if expected < wanted:
            low = middle
        else:
            high = middle
    return math.exp(-(low + high) / 2)
