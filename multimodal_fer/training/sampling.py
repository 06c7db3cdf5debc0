"""Rare classes in training: how often their examples are drawn, and how much they weigh.

Shapes: N examples, K classes.
"""

import torch
from torch import Tensor


def rarity(targets: Tensor, power: float) -> Tensor:
    """frequency ** -power of each class (K,), scaled so that the mean over the examples is one."""
    frequency = targets.mean(0).clamp(min=1e-6)
    weights = frequency.pow(-power)
    return weights / (targets @ weights).mean()


def draw_order(targets: Tensor, balance: float, generator: torch.Generator) -> Tensor:
    """N numbers of examples for one epoch, shuffled; with `balance`, rare classes come up more often.

    Systematic sampling: one random offset and equal steps through the running sum of the weights, so
    an example of weight w is drawn floor(w) or ceil(w) times and none is forgotten by bad luck.
    """
    weights = targets.double() @ rarity(targets, balance).double()
    edges = (weights / weights.sum()).cumsum(0) * len(targets)
    ticks = torch.arange(len(targets)) + torch.rand(1, generator=generator).double()
    drawn = torch.searchsorted(edges, ticks).clamp(max=len(targets) - 1)
    return drawn[torch.randperm(len(drawn), generator=generator)]
