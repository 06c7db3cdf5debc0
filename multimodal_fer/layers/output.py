"""The output that every encoder returns and the fusion uses."""

from typing import Any, NamedTuple

from torch import Tensor

from multimodal_fer.types import Scores


class Output(NamedTuple):
    """Logits (B, K) over the model's labels, and the embedding (B, D) that they were computed from."""

    logits: Tensor
    embedding: Tensor


class Prediction(NamedTuple):
    """The calibrated scores of one part for one window, and the quality (0..1) of what it was made from.

    A text network may add the fine labels that it names, with their probabilities, and a valence from -1
    to 1.
    """

    scores: Scores
    quality: float = 1.0
    fine: Scores | None = None
    valence: float | None = None


def predictions_of(output: Output, config: Any) -> list[Prediction]:
    """Return the calibrated scores of each row of a batch, with full quality."""
    rows = (output.logits.float() / config.temperature).softmax(1).cpu().tolist()
    return [Prediction(dict(zip(config.labels, row, strict=True))) for row in rows]
