"""Describe a person's voice by the mean and the deviation of its moments, without any label.

Voices differ more from each other than emotions differ in one voice. Measured against the person's own
mean and deviation, emotions of unseen speakers are recognised far better (speaker normalisation of
features). Few utterances give a poor estimate, so it is shrunk towards the corpus.

Shapes: B waveforms, U utterances of one person, F moments.
"""

from typing import NamedTuple

from torch import Tensor

LEAST_UTTERANCES = 5  # of a recording; fewer are judged against the corpus alone
MOST_UTTERANCES = 30  # more count as these, the most in training
RARITY = 0.5  # utterances added to the mass of each emotion, so that a rare one gets no huge weight


class Reference(NamedTuple):
    """Mean and variance of the moments of a person's utterances, and their number."""

    count: Tensor  # (B, 1) or (1, 1)
    mean: Tensor  # (B, F) or (1, F)
    variance: Tensor  # the same shape


def reference_of(
    moments_UF: Tensor, scores_UK: Tensor, counts_BU: Tensor | None = None
) -> Reference:
    """Return the reference of one person from their utterances, the one to judge among them.

    `scores_UK` are the scores of each utterance without a reference. People are neutral most of the time,
    so each utterance counts by the inverse of the mass of its emotions: the mean is that of a balanced
    mixture as far as the scores can tell. The effective number of utterances (Kish 1965) is the reference's
    count. `counts_BU` says how often each utterance was heard, for B mixtures; without it, each once.
    """
    if counts_BU is None:
        counts_BU = moments_UF.new_ones(1, len(moments_UF))
    rarity_BK = 1 / (counts_BU @ scores_UK + RARITY)
    weights_BU = counts_BU * (rarity_BK @ scores_UK.T)
    weights_BU = weights_BU / weights_BU.sum(1, keepdim=True)
    mean_BF = weights_BU @ moments_UF
    variance_BF = (weights_BU @ moments_UF.square() - mean_BF.square()).clamp(min=0)
    effective_B1 = 1 / (weights_BU.square() / counts_BU.clamp(min=1)).sum(1, keepdim=True)
    return Reference(effective_B1.clamp(max=MOST_UTTERANCES), mean_BF, variance_BF)


def shrunk(
    reference: Reference, mean_F: Tensor, variance_F: Tensor, weight: float
) -> tuple[Tensor, Tensor]:
    """Return mean and variance (B, F) between the person's and the corpus's.

    The corpus counts as many utterances as `weight`; no utterances give the corpus alone.
    """
    share_B1 = reference.count / (reference.count + weight)
    return (
        mean_F + share_B1 * (reference.mean - mean_F),
        variance_F + share_B1 * (reference.variance - variance_F),
    )
