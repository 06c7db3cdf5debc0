"""Turn crowd votes into targets by the rules of Barsoum et al. 2016 and later papers.

Votes are (N, 10) counts in the order of `FER_PLUS_VOTES`; targets are (N, 8) over `FER_PLUS`.
"""

import numpy
from numpy.typing import NDArray

from multimodal_fer.labels import FER_PLUS

EMOTIONS = len(FER_PLUS)


def without_outliers(votes: NDArray[numpy.uint8]) -> NDArray[numpy.float64]:
    """Return votes (N, 10) with single votes set to zero as outliers, as in the released code."""
    return numpy.where(votes <= 1, 0, votes).astype(numpy.float64)


def counted(targets: NDArray[numpy.floating]) -> NDArray[numpy.int64]:
    """Return the numbers of the images with a target; other rows of (N, K) are all zero."""
    return numpy.flatnonzero(targets.any(axis=1))


def majority_targets(votes: NDArray[numpy.uint8]) -> NDArray[numpy.float64]:
    """Return one-hot targets (N, 8), all-zero for images without a majority, which are not counted."""
    kept = without_outliers(votes)
    winner = kept.argmax(axis=1)  # the first on ties, as numpy and the released code both do
    agreed = kept.max(axis=1) > 0.5 * kept.sum(axis=1)
    return _one_hot(winner, agreed)


def paper_targets(votes: NDArray[numpy.uint8]) -> NDArray[numpy.float64]:
    """Return one-hot targets (N, 8) by the unstated rule of the figures of Barsoum et al. 2016.

    One tag alone has the most votes, at least four of ten, and is an emotion: only this gives the row sums
    of the published confusion matrix and makes all twenty published accuracies whole counts.
    """
    winner = votes.argmax(axis=1)
    most = votes.max(axis=1, keepdims=True)
    alone = (votes == most).sum(axis=1) == 1
    return _one_hot(winner, alone & (most[:, 0] >= 4))


def albanie_targets(votes: NDArray[numpy.uint8]) -> NDArray[numpy.float64]:
    """Return one-hot targets (N, 8) by the "CNTK" rule of Albanie et al. 2018 (getFerPlusImdb, mcnDatasets).

    The rule is for the votes of fer2013new.csv, without outliers. An image is left out if a tag with the
    most votes is not an emotion, if three or more tags share the most votes, or if these tags hold at most
    half of the remaining votes. Of two emotions with the most votes the first in column order counts, as
    with MATLAB's `max` in the released code (141 of the 3,294 images of PrivateTest).
    """
    kept = without_outliers(votes)
    most = kept.max(axis=1)
    strongest = kept == most[:, None]
    tied = strongest.sum(axis=1)
    only_emotions = ~strongest[:, EMOTIONS:].any(axis=1)
    usable = only_emotions & (tied < 3) & (tied * most > 0.5 * kept.sum(axis=1))
    return _one_hot(kept.argmax(axis=1), usable)


def _one_hot(
    winner: NDArray[numpy.integer], agreed: NDArray[numpy.bool_]
) -> NDArray[numpy.float64]:
    """Return one-hot rows (N, 8) of the winners, all-zero if not agreed or not an emotion."""
    usable = agreed & (winner < EMOTIONS)
    targets = numpy.zeros((len(winner), EMOTIONS))
    targets[usable, winner[usable]] = 1.0
    return targets


def multi_targets(votes: NDArray[numpy.uint8]) -> NDArray[numpy.float64]:
    """Return shares (N, 8) of the emotions with 30 % of the votes, all-zero for left-out images."""
    kept = without_outliers(votes)
    total = kept.sum(axis=1, keepdims=True)
    strong = numpy.where(kept >= 0.3 * total, kept, 0.0)
    usable = (strong.sum(axis=1) > 0.5 * total[:, 0]) & (strong.argmax(axis=1) < EMOTIONS)
    emotions = strong[:, :EMOTIONS] * usable[:, None]
    return emotions / numpy.maximum(emotions.sum(axis=1, keepdims=True), 1e-9)


def distribution_targets(votes: NDArray[numpy.uint8]) -> NDArray[numpy.float64]:
    """Return vote distributions (N, 8) without the weakest tags, all-zero for left-out images."""
    return numpy.stack([_distribution(row) for row in without_outliers(votes)])


def _distribution(votes: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    """Take the strongest tags until they hold 75 % of the votes, three tags, or "not a face"."""
    total = votes.sum()
    taken = numpy.zeros_like(votes)
    remaining = votes.copy()
    nothing = numpy.zeros(EMOTIONS)
    while taken.sum() < 0.75 * total and numpy.count_nonzero(taken) < 3 and remaining.any():
        strongest = numpy.flatnonzero(remaining == remaining.max())
        reached_unusable = bool((strongest >= EMOTIONS).any())
        if reached_unusable:  # emotions before it or tied with it exclude it
            usable = strongest[strongest < EMOTIONS]
            strongest = usable if usable.size or taken.any() else strongest[:1]
        taken[strongest] = votes[strongest]
        remaining[strongest] = 0
        if reached_unusable:
            break
    if taken.sum() <= 0.5 * total or numpy.count_nonzero(taken) > 3 or taken.argmax() >= EMOTIONS:
        return nothing
    emotions = taken[:EMOTIONS]
    return emotions / emotions.sum()
