"""A classifier with hierarchical labels: it learns fine labels and sums their probabilities.

Shapes: B samples, D embedding, F fine labels, K labels.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


def sum_fine_labels(fine_BF: Tensor, labels: Sequence[str], counts_as: Sequence[str]) -> Tensor:
    """Return logits (B, K) whose probabilities are sums of those of the fine logits (B, F).

    `counts_as` names the label of each fine label.
    """
    columns = [[i for i, coarse in enumerate(counts_as) if coarse == label] for label in labels]
    return torch.stack([fine_BF[:, column].logsumexp(1) for column in columns], dim=1)


class HierarchicalHead(nn.Module):
    """A linear layer over the fine labels, or over the labels themselves if there are no fine ones.

    `finer` maps each fine label to its label. Raises `ValueError` if a label has no fine label.
    """

    def __init__(self, inputs: int, labels: Sequence[str], finer: Mapping[str, str]):
        super().__init__()
        if finer and set(finer.values()) != set(labels):
            raise ValueError(
                f"expected fine labels that map to {list(labels)}, each at least once; "
                f"found {dict(finer)}"
            )
        self.labels = tuple(labels)
        self.finer = dict(finer) or {label: label for label in labels}
        self.linear = nn.Linear(inputs, len(self.finer))

    def finely(self, embedding_BD: Tensor) -> Tensor:
        """Return the logits of the fine labels (B, F), in their order."""
        return self.linear(embedding_BD)

    def forward(self, embedding_BD: Tensor) -> Tensor:
        return sum_fine_labels(self.finely(embedding_BD), self.labels, list(self.finer.values()))
