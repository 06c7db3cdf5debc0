"""What a network answers with, and how far off it is: emotions, or valence, arousal and dominance.

Shapes: N turns, K labels, three numbers.
"""

from collections.abc import Sequence
from typing import Any, Protocol

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

MIDDLE, REACH = 3.0, 2.0  # of the raters' scale; networks answer around zero


class Goal(Protocol):
    """Targets, the loss in training, and figures of a validation part."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    def targets(self, turns: Sequence[Turn]) -> Tensor: ...
    def prepare(self, targets: Tensor) -> None: ...
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor: ...
    def figures(self, logits: Tensor, targets: Tensor) -> dict[str, float]: ...


class Emotions:
    """One label a turn."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.labels = label_set(config.target).labels
        self.weights: Tensor | None = None

    def targets(self, turns: Sequence[Turn]) -> Tensor:
        """Numbers of the labels (N,)."""
        return torch.from_numpy(label_numbers(turns, self.config.target))

    def prepare(self, targets: Tensor) -> None:
        """Count the classes of the training part."""
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
        likelihood = functional.cross_entropy
        if self.config.loss == "sigmoid":
            likelihood = sigmoid_cross_entropy
        return {
            "valid_accuracy": report["accuracy"],
            "valid_uar": report["uar"],
            "valid_log_likelihood": -likelihood(logits, targets).item(),
        }


class Dimensions:
    """Three numbers a turn; what is judged, and learnt, is how they go together over many turns."""

    labels: tuple[str, ...] = DIMENSIONS

    def __init__(self, config: Any) -> None:
        self.config = config

    def targets(self, turns: Sequence[Turn]) -> Tensor:
        """The raters' means (N, 3), around zero."""
        return (torch.from_numpy(dimension_targets(turns)) - MIDDLE) / REACH

    def prepare(self, targets: Tensor) -> None:
        pass

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return 1 - concordance(logits, targets).mean()

    def figures(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        found = concordance(logits, targets).tolist()
        rows = {f"valid_ccc_{name}": value for name, value in zip(DIMENSIONS, found, strict=True)}
        return {"valid_ccc": sum(found) / len(found)} | rows


def make_goal(config: Any) -> Goal:
    """By the configuration's target."""
    return Dimensions(config) if config.target == NUMBERS else Emotions(config)


def concordance(found_N3: Tensor, truth_N3: Tensor) -> Tensor:
    """Lin's concordance correlation (1989) of each column: 1 only where all values are equal."""
    found, truth = found_N3 - found_N3.mean(0), truth_N3 - truth_N3.mean(0)
    apart = (found_N3.mean(0) - truth_N3.mean(0)).square()
    spread = found.square().mean(0) + truth.square().mean(0) + apart
    return 2 * (found * truth).mean(0) / spread.clamp(min=1e-8)
