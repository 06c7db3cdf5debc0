"""A classifier whose labels are sums of finer ones: learnt finely, answered coarsely.

Shapes: B examples, D embedding, F finer labels, K labels.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


def sum_fine_labels(finer_BF: Tensor, labels: Sequence[str], counts_as: Sequence[str]) -> Tensor:
    """Logits (B, K) whose probabilities are the sums of the finer ones', each counting as one label."""
    columns = [
        [place for place, coarse in enumerate(counts_as) if coarse == label] for label in labels
    ]
    return torch.stack([finer_BF[:, places].logsumexp(1) for places in columns], dim=1)


class HierarchicalHead(nn.Module):
    """A linear layer over the finer labels; over the labels themselves where there are none.

    `finer` names each finer label and the label that it counts as. Every label needs at least one.
    """

    def __init__(self, inputs: int, labels: Sequence[str], finer: Mapping[str, str]):
        super().__init__()
        if finer and set(finer.values()) != set(labels):
            raise ValueError(
                f"finer labels must count as the labels {list(labels)}, each at least once; "
                f"got {dict(finer)}"
            )
        self.labels = tuple(labels)
        self.finer = dict(finer) or {label: label for label in labels}
        self.linear = nn.Linear(inputs, len(self.finer))

    def finely(self, embedding_BD: Tensor) -> Tensor:
        """Logits of the finer labels (B, F), in their order."""
        return self.linear(embedding_BD)

    def forward(self, embedding_BD: Tensor) -> Tensor:
        return sum_fine_labels(self.finely(embedding_BD), self.labels, list(self.finer.values()))
