"""Labels, targets and loss of a training by name.

The four schemes of Barsoum et al. 2016 (section 3) for crowd votes, and FER2013's own label.

Shapes: B images, K emotions.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from multimodal_fer.labels import FER2013, FER_PLUS
from recipes.ferplus.corpus.releases import Split
from recipes.ferplus.corpus.votes import distribution_targets, majority_targets, multi_targets

UNVOTED = 0.001  # the weight of an emotion without votes in the multi-label loss, as released

Loss = Callable[[Tensor, Tensor, torch.Generator], Tensor]


class Scheme(NamedTuple):
    """Labels (K), targets (N, K) of a split, and the loss of logits (B, K) against them."""

    labels: tuple[str, ...]
    targets: Callable[[Split], NDArray[numpy.float64]]
    loss: Loss
    measured_by: str  # the scheme of the validation targets


def cross_entropy(logits_BK: Tensor, targets_BK: Tensor, generator: torch.Generator) -> Tensor:
    """Return the loss against the whole distribution, or a one-hot row."""
    return functional.cross_entropy(logits_BK, targets_BK)


def drawn_cross_entropy(
    logits_BK: Tensor, targets_BK: Tensor, generator: torch.Generator
) -> Tensor:
    """Return the loss against one emotion, drawn from the distribution at every step."""
    drawn_B = torch.multinomial(targets_BK.cpu(), 1, generator=generator)[:, 0]
    return functional.cross_entropy(logits_BK, drawn_B.to(logits_BK.device))


def best_of_voted(logits_BK: Tensor, targets_BK: Tensor, generator: torch.Generator) -> Tensor:
    """Return -log of the largest probability among the voted emotions."""
    weights_BK = (targets_BK > 0) * (1 - UNVOTED) + UNVOTED
    return -(logits_BK.log_softmax(1) + weights_BK.log()).amax(1).mean()


def own_targets(part: Split) -> NDArray[numpy.float64]:
    """Return one-hot targets (N, 7) of FER2013's own label, all-zero for images without one."""
    return numpy.eye(len(FER2013) + 1)[part.emotions][:, :-1]  # -1 is the last row


def five_targets(part: Split) -> NDArray[numpy.float64]:
    """Return one-hot targets (N, 5), without images of fear and disgust (amineHorseman's five classes)."""
    return own_targets(part)[:, [FER2013.index(label) for label in FIVE]]


FIVE = ("anger", "happiness", "sadness", "surprise", "neutral")

SCHEMES = {
    "majority": Scheme(
        FER_PLUS, lambda part: majority_targets(part.votes), cross_entropy, "majority"
    ),
    "multi_target": Scheme(
        FER_PLUS, lambda part: multi_targets(part.votes), best_of_voted, "majority"
    ),
    "probability": Scheme(
        FER_PLUS, lambda part: distribution_targets(part.votes), drawn_cross_entropy, "majority"
    ),
    "crossentropy": Scheme(
        FER_PLUS, lambda part: distribution_targets(part.votes), cross_entropy, "majority"
    ),
    "fer2013": Scheme(FER2013, own_targets, cross_entropy, "fer2013"),
    "fer2013-five": Scheme(FIVE, five_targets, cross_entropy, "fer2013-five"),
}
