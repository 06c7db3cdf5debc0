"""Compare probabilities with the shares of the votes, not only the strongest emotion with the majority.

A curve over time needs probabilities that follow how many people see an emotion, above all in restrained
faces: those of which four to six of ten votes name it. Only the eight emotions count as votes; images with
fewer than half of their votes for an emotion are left out.

Shapes: N images, K emotions.
"""

from typing import Any

import numpy
from numpy.typing import NDArray
from scipy.stats import spearmanr

from multimodal_fer.labels import FER_PLUS

BINS = 10  # of the probability, equally wide
RESTRAINED = (0.4, 0.6)  # share of the votes
EDGE = 1e-6  # shares are fractions of small numbers

Floats = NDArray[numpy.floating]


def vote_shares(votes: NDArray[numpy.integer]) -> tuple[Floats, NDArray[numpy.integer]]:
    """Return shares (N', K) of the emotions among their votes, and the numbers (N',) of the images."""
    emotions = votes[:, : len(FER_PLUS)].astype(float)
    named, every = emotions.sum(axis=1), votes.sum(axis=1)
    usable = numpy.flatnonzero((named > 0) & (2 * named >= every))
    return emotions[usable] / named[usable, None], usable


def vote_report(probabilities: Floats, shares: Floats) -> dict[str, Any]:
    """Return the agreement of probabilities (N, K) with vote shares (N, K), by emotion and in the mean.

    For each emotion: `images` with at least one vote for it; `correlation`, Spearman's, over all images, and
    `correlation_if_voted` over those with a vote; `calibration_error`, the mean gap between probability and
    share over equal bins of the probability; `absolute_error`, the mean over the images with a vote; and for
    `restrained` images their number, mean share, mean probability and how often the emotion is among the two
    strongest. Figures of fewer than two images, or of constant values, are None.
    """
    emotions = {
        label: emotion_report(probabilities, shares, number)
        for number, label in enumerate(FER_PLUS)
    }
    figures = ("correlation", "correlation_if_voted", "calibration_error", "absolute_error")
    means = {}
    for figure in figures:
        known = [row[figure] for row in emotions.values() if row[figure] is not None]
        means[figure] = float(numpy.mean(known)) if known else None
    return {"images": len(shares), "mean": means, "emotions": emotions}


def emotion_report(probabilities: Floats, shares: Floats, number: int) -> dict[str, Any]:
    """Return the agreement for the emotion in column `number`."""
    probability, share = probabilities[:, number], shares[:, number]
    voted = share > 0
    low, high = RESTRAINED
    some = (share >= low - EDGE) & (share <= high + EDGE)
    strongest = numpy.argsort(-probabilities[some], axis=1)[:, :2]
    restrained: dict[str, Any] = {"images": int(some.sum())}
    if some.any():
        restrained |= {
            "share": float(share[some].mean()),
            "probability": float(probability[some].mean()),
            "among_two_strongest": float((strongest == number).any(axis=1).mean()),
        }
    return {
        "images": int(voted.sum()),
        "correlation": rank_correlation(probability, share),
        "correlation_if_voted": rank_correlation(probability[voted], share[voted]),
        "calibration_error": share_calibration_error(probability, share),
        "absolute_error": (
            float(numpy.abs(probability - share)[voted].mean()) if voted.any() else None
        ),
        "restrained": restrained,
    }


def rank_correlation(first: Floats, second: Floats) -> float | None:
    """Return Spearman's rank correlation; None if one side is constant."""
    if len(first) < 2 or numpy.ptp(first) == 0 or numpy.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)  # type: ignore[union-attr]


def share_calibration_error(probability: Floats, share: Floats) -> float:
    """Return the mean gap of probability and share over equal bins of probability, weighted by images."""
    bins = numpy.minimum((probability * BINS).astype(int), BINS - 1)
    gaps = [
        abs((probability - share)[bins == number].mean()) * (bins == number).mean()
        for number in numpy.unique(bins)
    ]
    return float(sum(gaps))
