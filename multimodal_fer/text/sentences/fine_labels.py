"""Answer with fine labels and with a valence.

A network that learnt GoEmotions' 28 labels knows some of them well and others badly. In the answer, each
label that is recognised reliably keeps its name; the others are merged into groups that have a name of their
own, such as "negative reaction" for anger, annoyance, disappointment and disapproval (`shown_as`).

Valence is the sum of the probabilities of the fine labels, each weighted by a number from -1 (unpleasant) to
1 (pleasant); so it lies in this range, and every label's part in it can be read from the config.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from multimodal_fer.types import Scores


def fine_scores(
    probabilities_F: Tensor, names: Sequence[str], shown_as: Mapping[str, str]
) -> Scores:
    """Return the probability of each name in the answer, the sum of those of its fine labels."""
    scores: Scores = {}
    for name, probability in zip(names, probabilities_F.tolist(), strict=True):
        shown = shown_as.get(name, name)
        scores[shown] = scores.get(shown, 0.0) + probability
    return scores


def named(scores: Scores, thresholds: Mapping[str, float]) -> Scores:
    """Return the names that reach their threshold, the most probable first; without one none is named."""
    reached = {name: score for name, score in scores.items() if score >= thresholds.get(name, 2.0)}
    return dict(sorted(reached.items(), key=lambda item: -item[1]))


def valence_of(
    probabilities_F: Tensor, names: Sequence[str], weights: Mapping[str, float]
) -> float | None:
    """Return the valence from -1 to 1; None if the network has no weights for it."""
    if not weights:
        return None
    pairs = zip(names, probabilities_F.tolist(), strict=True)
    return max(-1.0, min(1.0, sum(weights[name] * probability for name, probability in pairs)))
