"""What every encoder owes the fusion: an embedding and its own logits."""

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """Logits (B, K) over the model's own labels, and the embedding (B, D) they were read from."""

    logits: Tensor
    embedding: Tensor
