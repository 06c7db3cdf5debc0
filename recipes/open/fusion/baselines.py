"""Other ways to fuse scores, fitted on the same samples as late attention, to compare it with.

Shapes: B samples, M modalities, K labels.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

STEPS, RATE = 800, 1e-2  # of fitting
SMALLEST = 1e-6

# Log scores (B, M, K), present modalities (B, M), log prior (B, K) and labels (B,).
Sample = tuple[Tensor, Tensor, Tensor, Tensor]


class Stacking(nn.Module):
    """Logistic regression on the log scores of all modalities, zeros if absent, and on their presence."""

    def __init__(self, modalities: int, labels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(modalities * (labels + 1), labels)

    def forward(self, log_scores_BMK: Tensor, present_BM: Tensor, log_prior_BK: Tensor) -> Tensor:
        shown_BMK = log_scores_BMK * present_BM.unsqueeze(2)
        return log_prior_BK + self.linear(torch.cat([shown_BMK.flatten(1), present_BM], dim=1))


class OpinionPool(nn.Module):
    """A logarithmic opinion pool with a scale and a shift for each modality and label (vector scaling)."""

    def __init__(self, modalities: int, labels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(modalities, labels))
        self.shift = nn.Parameter(torch.zeros(modalities, labels))
        self.power = nn.Parameter(torch.tensor(0.0))  # of the number of modalities

    def forward(self, log_scores_BMK: Tensor, present_BM: Tensor, log_prior_BK: Tensor) -> Tensor:
        evidence_BMK = (log_scores_BMK * self.scale + self.shift) * present_BM.unsqueeze(2)
        return log_prior_BK + evidence_BMK.sum(1) / present_BM.sum(1, keepdim=True) ** self.power


FITTED = {"logistic stacking": Stacking, "opinion pool": OpinionPool}


def fit(kind: type[nn.Module], draw: Callable[[int], Sample], seed: int = 1) -> nn.Module:
    """Fit a baseline on the samples that `draw` returns for each step."""
    torch.manual_seed(seed)
    first = draw(0)[0]
    model = kind(*first.shape[1:])
    optimizer = AdamW(model.parameters(), RATE, weight_decay=1e-3)
    schedule = OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for step in range(STEPS):
        log_scores_BMK, present_BM, log_prior_BK, labels_B = draw(step)
        logits_BK = model(log_scores_BMK, present_BM, log_prior_BK)
        loss = functional.cross_entropy(logits_BK, labels_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def product_of_ratios(scores_BMK: Tensor, frequencies_MK: Tensor, log_prior_BK: Tensor) -> Tensor:
    """Fuse independent experts by Bayes' rule, each divided by its own label frequencies, as (B, K)."""
    ratios_BMK = scores_BMK.clamp(min=SMALLEST).log() - frequencies_MK.log()
    return (log_prior_BK + ratios_BMK.sum(1)).softmax(1)
