"""Settings of a training; every key of a TOML file in `systems` is a field."""

from dataclasses import dataclass, field
from typing import Any

from multimodal_fer.errors import ConfigError
from multimodal_fer.utils.devices import PRECISIONS
from recipes.ferplus.learning.augmentation import AUGMENTATIONS
from recipes.ferplus.learning.optimisation import OPTIMIZERS, SCHEDULES
from recipes.ferplus.learning.schemes import SCHEMES


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the training of a facial network."""

    data: str = "runs/ferplus.npz"  # what prepare.py wrote
    run: str = "runs/compact"  # folder for checkpoints, log and the resolved configuration
    model: str = "se-resnet"  # a key of multimodal_fer.models.MODELS
    settings: dict[str, Any] = field(default_factory=dict)  # of the network, other than defaults
    scheme: str = "crossentropy"  # labels, targets and loss: a key of SCHEMES
    class_weights: float = 0.0  # losses of rare classes are weighted by frequency ** -class_weights
    balance: float = 0.0  # rare classes are drawn more often: frequency ** -balance
    teachers: tuple[str, ...] = ()  # weights or runs whose predictions are mixed into the targets
    teacher_share: float = 0.5  # of the target
    start: str = ""  # weights, a run or a published file (see starts) to start from; empty: random
    frozen: tuple[str, ...] = ()  # parts of the network whose weights stay, such as "stages.0"
    early_rate: float = 1.0  # rate of the first layers, of that of the last; between them geometric
    epochs: int = 30
    batch: int = 128  # of all workers together
    sizes: tuple[int, ...] = (48,)  # side of the training images, each for an equal share of epochs
    augmentation: str = "compact"  # a key of AUGMENTATIONS
    optimizer: str = "sgd"  # a key of OPTIMIZERS
    learning_rate: float = 0.1  # maximum of the schedule
    momentum: float = 0.9
    dampening: float = 0.0
    nesterov: bool = True
    weight_decay: float = 5e-4  # of kernels; biases and normalisation do not decay
    clip_value: float = 0.0  # gradients are clamped to this; 0 is no limit
    schedule: str = "one-cycle"  # a key of SCHEDULES
    average_decay: float = 0.999  # exponential moving average of the weights, per step; 0 is none
    keep: str = "last"  # or best, on PublicTest
    validate_every: int = 1  # epochs; the last one is always validated
    patience: int = 0  # stop after this many epochs without a better one; 0 is never
    seed: int = 1
    device: str = "auto"
    precision: str = "auto"  # of the logits: one of PRECISIONS, see mixed_precision
    limit: int = 0  # use only the first images of each split; 0 means all

    def __post_init__(self) -> None:
        known = {
            "scheme": SCHEMES,
            "augmentation": AUGMENTATIONS,
            "optimizer": OPTIMIZERS,
            "schedule": SCHEDULES,
            "keep": ("last", "best"),
            "precision": PRECISIONS,
        }
        if self.validate_every != 1 and (
            self.keep == "best" or self.patience or self.schedule == "plateau"
        ):
            raise ConfigError("keep = best, patience and plateau need validate_every = 1")
        for key, values in known.items():
            if getattr(self, key) not in values:
                raise ConfigError(f"unknown {key} {getattr(self, key)!r}; known: {sorted(values)}")
