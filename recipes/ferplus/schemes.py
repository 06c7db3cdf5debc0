"""The four ways of Barsoum et al. 2016 (section 3) to train on crowd votes: targets and loss of each.

Shapes: B images, K emotions.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recipes.ferplus.votes import distribution_targets, majority_targets, multi_targets

UNVOTED = 0.001  # the weight of an emotion without votes in the multi-label loss, as released

Loss = Callable[[Tensor, Tensor, torch.Generator], Tensor]


class Scheme(NamedTuple):
    """Votes (N, 10) to targets (N, 8), and the loss of logits (B, K) against targets (B, K)."""

    targets: Callable[[NDArray[numpy.uint8]], NDArray[numpy.float64]]
    loss: Loss


def cross_entropy(logits_BK: Tensor, targets_BK: Tensor, generator: torch.Generator) -> Tensor:
    """Against the whole distribution, or a one-hot row."""
    return functional.cross_entropy(logits_BK, targets_BK)


def drawn_cross_entropy(
    logits_BK: Tensor, targets_BK: Tensor, generator: torch.Generator
) -> Tensor:
    """Against one emotion drawn from the distribution, anew at every visit."""
    drawn_B = torch.multinomial(targets_BK.cpu(), 1, generator=generator)[:, 0]
    return functional.cross_entropy(logits_BK, drawn_B.to(logits_BK.device))


def best_of_voted(logits_BK: Tensor, targets_BK: Tensor, generator: torch.Generator) -> Tensor:
    """-log of the largest probability among the voted emotions: any one of them will do."""
    weights_BK = (targets_BK > 0) * (1 - UNVOTED) + UNVOTED
    return -(logits_BK.log_softmax(1) + weights_BK.log()).amax(1).mean()


SCHEMES = {
    "majority": Scheme(majority_targets, cross_entropy),
    "multi_target": Scheme(multi_targets, best_of_voted),
    "probability": Scheme(distribution_targets, drawn_cross_entropy),
    "crossentropy": Scheme(distribution_targets, cross_entropy),
}
