"""Training targets with their losses: emotions, or valence, arousal and dominance.

Shapes: N turns, K labels, three numbers.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from multimodal_fer.layers.recurrent import sigmoid_cross_entropy
from multimodal_fer.training.metrics import classification_report
from multimodal_fer.training.sampling import rarity
from recipes.iemocap.corpus.emotions import (
    DIMENSIONS,
    NUMBERS,
    dimension_targets,
    label_numbers,
    label_set,
)
from recipes.iemocap.corpus.turns import Turn

CENTRE, HALF_RANGE = 3.0, 2.0  # of the raters' scale; targets are centred on zero


class Emotions:
    """Targets, loss and validation figures of one label per turn."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.labels = label_set(config.target).labels
        self.weights: Tensor | None = None

    def targets(self, turns: Sequence[Turn]) -> Tensor:
        """Return label indices (N,)."""
        return torch.from_numpy(label_numbers(turns, self.config.target))

    def prepare(self, targets: Tensor) -> None:
        """Compute the class weights of the training part."""
        if self.config.class_weights:
            one_hot = functional.one_hot(targets, len(self.labels)).float()
            self.weights = rarity(one_hot, self.config.class_weights)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self.config.loss == "sigmoid":
            return sigmoid_cross_entropy(logits, targets)
        weights = None if self.weights is None else self.weights.to(logits.device)
        return functional.cross_entropy(
            logits, targets, weights, label_smoothing=self.config.smoothing
        )

    def figures(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        report = classification_report(logits.softmax(1).numpy(), targets.numpy(), self.labels)
        sigmoid = self.config.loss == "sigmoid"
        likelihood = sigmoid_cross_entropy if sigmoid else functional.cross_entropy
        return {
            "valid_accuracy": report["accuracy"],
            "valid_uar": report["uar"],
            "valid_log_likelihood": -likelihood(logits, targets).item(),
        }


class Dimensions:
    """Three numbers per turn; loss and figures are concordance correlations over many turns."""

    labels: tuple[str, ...] = DIMENSIONS

    def __init__(self, config: Any) -> None:
        self.config = config

    def targets(self, turns: Sequence[Turn]) -> Tensor:
        """Return the mean ratings (N, 3), centred on zero."""
        return (torch.from_numpy(dimension_targets(turns)) - CENTRE) / HALF_RANGE

    def prepare(self, targets: Tensor) -> None:
        pass

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return 1 - concordance(logits, targets).mean()

    def figures(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        found = concordance(logits, targets).tolist()
        rows = {f"valid_ccc_{name}": value for name, value in zip(DIMENSIONS, found, strict=True)}
        return {"valid_ccc": sum(found) / len(found)} | rows


Goal = Emotions | Dimensions


def make_goal(config: Any) -> Goal:
    return Dimensions(config) if config.target == NUMBERS else Emotions(config)


def concordance(found_N3: Tensor, truth_N3: Tensor) -> Tensor:
    """Return Lin's concordance correlation (1989) of each column; 1 means equal values."""
    found, truth = found_N3 - found_N3.mean(0), truth_N3 - truth_N3.mean(0)
    offset = (found_N3.mean(0) - truth_N3.mean(0)).square()
    spread = found.square().mean(0) + truth.square().mean(0) + offset
    return 2 * (found * truth).mean(0) / spread.clamp(min=1e-8)
