"""The output that every encoder returns and the fusion uses."""

from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray
from torch import Tensor

from multimodal_fer.types import Scores


class Output(NamedTuple):
    """Logits (B, K) over the model's labels, and the embedding (B, D) that they were computed from."""

    logits: Tensor
    embedding: Tensor


class Prediction(NamedTuple):
    """The calibrated scores of one part for one window, and its embedding (D,).

    A text network may add the fine labels that it names, with their probabilities, and a valence from -1
    to 1.
    """

    scores: Scores
    embedding: NDArray[numpy.float32]
    fine: Scores | None = None
    valence: float | None = None


def predictions_of(output: Output, config: Any) -> list[Prediction]:
    """Return the calibrated scores and the embedding of each row of a batch."""
    scores_BK = (output.logits.float() / config.temperature).softmax(1).cpu().tolist()
    embedding_BD = output.embedding.float().cpu().numpy()
    return [
        Prediction(dict(zip(config.labels, scores, strict=True)), embedding)
        for scores, embedding in zip(scores_BK, embedding_BD, strict=True)
    ]
