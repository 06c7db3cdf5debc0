"""What every encoder owes the fusion: an embedding and its own logits."""

from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray
from torch import Tensor

from multimodal_fer.types import Scores


class Output(NamedTuple):
    """Logits (B, K) over the model's own labels, and the embedding (B, D) they were read from."""

    logits: Tensor
    embedding: Tensor


class Prediction(NamedTuple):
    """What one part says of one window: calibrated scores over its own labels, and its embedding (D,)."""

    scores: Scores
    embedding: NDArray[numpy.float32]


def predictions_of(output: Output, config: Any) -> list[Prediction]:
    """Calibrated scores and embedding of each row that a network answered."""
    scores_BL = (output.logits.float() / config.temperature).softmax(1).cpu().tolist()
    embedding_BD = output.embedding.float().cpu().numpy()
    return [
        Prediction(dict(zip(config.labels, scores, strict=True)), embedding)
        for scores, embedding in zip(scores_BL, embedding_BD, strict=True)
    ]
