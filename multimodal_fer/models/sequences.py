"""Sequences of unequal lengths in one batch: which steps are real, and how they become one embedding.

Shapes: B sequences, T steps, D values of a step.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence


def pad(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """One batch (B, T), zero behind each end, and the lengths (B,), int64."""
    lengths_B = torch.tensor([len(sequence) for sequence in sequences])
    return pad_sequence(list(sequences), batch_first=True), lengths_B


def check_lengths(lengths_B: Tensor, steps: int) -> int:
    """The longest length. Raises `ValueError` where one is not in 1..steps, or where there is none."""
    if len(lengths_B) == 0:
        raise ValueError("an empty batch")
    shortest, longest = (int(value) for value in torch.aminmax(lengths_B))
    if shortest < 1:
        raise ValueError(
            f"a length of {shortest}: without frames or tokens there is nothing to judge; "
            "leave this modality out"
        )
    if longest > steps:
        raise ValueError(f"a length of {longest}, but the batch has {steps} steps")
    return longest


def present(lengths_B: Tensor, steps: int) -> Tensor:
    """True where a step lies within its length; bool (B, T)."""
    return torch.arange(steps, device=lengths_B.device) < lengths_B.unsqueeze(1)


class MaskedMean(nn.Module):
    """The mean of the real frames or tokens."""

    def __init__(self, width: int):
        super().__init__()
        self.outputs = width

    def forward(self, states_BTD: Tensor, present_BT: Tensor) -> Tensor:
        share_BT = present_BT / present_BT.sum(1, keepdim=True)
        return (states_BTD * share_BT[..., None]).sum(1)


class AttentiveStatistics(nn.Module):
    """Weighted mean and standard deviation, weights by attention (Okabe et al. 2018, section 3.2)."""

    def __init__(self, width: int, hidden: int = 128):
        super().__init__()
        self.outputs = 2 * width
        self.score = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, states_BTD: Tensor, present_BT: Tensor) -> Tensor:
        scores_BT = self.score(states_BTD).squeeze(-1).masked_fill(~present_BT, -torch.inf)
        weights_BT1 = scores_BT.softmax(1)[..., None]
        mean_BD = (weights_BT1 * states_BTD).sum(1)
        variance_BD = (weights_BT1 * (states_BTD - mean_BD[:, None]).square()).sum(1)
        # A single frame has no variance, and the root's slope at zero is infinite.
        return torch.cat([mean_BD, (variance_BD + 1e-6).sqrt()], dim=1)
