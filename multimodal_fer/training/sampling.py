"""Sampling and weighting of rare classes in training.

Shapes: N samples, K classes.
"""

import torch
from torch import Tensor


def rarity(targets: Tensor, power: float) -> Tensor:
    """Return frequency ** -power of each class (K,), scaled to a mean of one over the samples."""
    frequency = targets.mean(0).clamp(min=1e-6)
    weights = frequency.pow(-power)
    return weights / (targets @ weights).mean()


def draw_order(targets: Tensor, balance: float, generator: torch.Generator) -> Tensor:
    """Return N shuffled sample numbers for one epoch; with `balance`, rare classes are drawn more often.

    Systematic sampling: one random offset and equal steps through the running sum of the weights, so
    a sample of weight w is drawn floor(w) or ceil(w) times.
    """
    weights = targets.double() @ rarity(targets, balance).double()
    edges = (weights / weights.sum()).cumsum(0) * len(targets)
    ticks = torch.arange(len(targets)) + torch.rand(1, generator=generator).double()
    drawn = torch.searchsorted(edges, ticks).clamp(max=len(targets) - 1)
    return drawn[torch.randperm(len(drawn), generator=generator)]
