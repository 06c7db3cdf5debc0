"""Train a facial network on FER+ or FER2013.

    python -m recipes.ferplus.train recipes/ferplus/systems/compact.toml \\
        data=runs/ferplus.npz run=runs/compact
    torchrun --nproc-per-node 4 -m recipes.ferplus.train recipes/ferplus/systems/vgg19.toml run=runs/vgg19

Every epoch ends in `last.pt`; the same command continues from there to the same numbers. With `keep = "last"`
the result is the last epoch, with `keep = "best"` the most accurate one on PublicTest.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.face.zoo.mobilenet import MobileNet
from multimodal_fer.models import build
from multimodal_fer.models.inference import for_inference
from multimodal_fer.training.distributed import Workers, seed_everything
from multimodal_fer.training.metrics import classification_report
from multimodal_fer.training.run import Run
from multimodal_fer.training.sampling import draw_order, rarity
from multimodal_fer.utils.devices import mixed_precision
from multimodal_fer.utils.files import file_hash
from recipes.ferplus.corpus.votes import counted
from recipes.ferplus.learning.augmentation import AUGMENTATIONS, augment
from recipes.ferplus.learning.config import TrainConfig
from recipes.ferplus.learning.optimisation import (
    OPTIMIZERS,
    SCHEDULES,
    freeze,
    parameter_groups,
)
from recipes.ferplus.learning.runs import load_any
from recipes.ferplus.learning.schemes import SCHEMES, Scheme
from recipes.ferplus.learning.views import predict
from recipes.ferplus.prepare import load_split
from recipes.ferplus.starts.mobilenet import is_published, start_from

NORM_IMAGES = 512  # images on which the statistics of normalisation are measured at the start


@dataclass(frozen=True)
class Samples:
    """Images (N, 48, 48) uint8 and targets (N, K) float, on the training device."""

    images: Tensor
    targets: Tensor


def load_samples(config: TrainConfig, split: str, scheme: Scheme, device: torch.device) -> Samples:
    """Load the images of one split that have a target by the scheme. Raises `DataError` if none has."""
    part = load_split(config.data, split)
    targets = scheme.targets(part)
    usable = counted(targets)
    usable = usable[: config.limit or None]
    if not len(usable):
        raise DataError(
            f"{config.data}: no image of {split} has a label by this scheme; prepare it again with "
            "both label files (FER+ votes, FER2013's own) beside the images"
        )
    return Samples(
        torch.from_numpy(part.images[usable]).to(device),
        torch.from_numpy(targets[usable]).float().to(device),
    )


def load_alike(name: str, labels: tuple[str, ...]) -> tuple[FaceNetwork, dict[str, Any]]:
    """Load a network and its training record. Raises `ConfigError` if it has other labels than the run."""
    title, model, training = load_any(name)
    if tuple(model.config.labels) != labels:
        raise ConfigError(
            f"{title}: expected the labels {labels} of this run, found {model.config.labels}"
        )
    return model, training


def with_teacher(samples: Samples, config: TrainConfig, device: torch.device) -> Samples:
    """Mix the predictions of the teachers into the targets (Hinton et al. 2015).

    Teachers predict the original image and its mirror image once, not every augmented image, which costs
    minutes for a teacher of any size.
    """
    predictions = []
    for name in config.teachers:
        teacher, _ = load_alike(name, SCHEMES[config.scheme].labels)
        logits = predict(for_inference(teacher).to(device), samples.images, "flip_averaged")
        predictions.append((logits / teacher.config.temperature).softmax(1))
    taught = torch.stack(predictions).mean(0)
    return replace(samples, targets=samples.targets.lerp(taught, config.teacher_share))


class FaceRun(Run):
    """The training of a facial network."""

    def __init__(self, config: TrainConfig, group: Workers) -> None:
        super().__init__(config, group)
        self.scheme = SCHEMES[config.scheme]
        seed_everything(config.seed)
        settings = {"labels": self.scheme.labels} | config.settings
        self.model = build(config.model, settings)
        self.training = load_samples(config, "train", self.scheme, group.device)
        if is_published(config.start):
            self.start_from_file(Path(config.start))
        elif config.start:
            start, training = load_alike(config.start, self.scheme.labels)
            self.about["started_from"] = training
            self.model.load_state_dict(start.state_dict())
        freeze(self.model, config.frozen)
        self.model.to(group.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parallel = group.parallel(self.model)
        self.average = self.averaged(self.model)
        if config.teachers:
            self.training = with_teacher(self.training, config, group.device)
        self.validation = load_samples(
            config, "valid", SCHEMES[self.scheme.measured_by], group.device
        )
        groups = parameter_groups(self.model, config)
        self.optimizer = OPTIMIZERS[config.optimizer](groups, config)
        steps = math.ceil(len(self.training.images) / config.batch)
        self.schedule = SCHEDULES[config.schedule](self.optimizer, config, steps)

    def start_from_file(self, path: Path) -> None:
        """Copy published weights into the network. Raises `ConfigError` if it is not a MobileNet."""
        if not isinstance(self.model, MobileNet):
            raise ConfigError(f"start = {path}: only a mobilenet starts from a published file")
        start_from(self.model, path, self.training.images[:NORM_IMAGES].cpu())
        self.about["started_from"] = {"file": path.name, "sha256": file_hash(path)}

    def train_epoch(self) -> float:
        """Train on all images once and return the mean loss; draws depend on seed, epoch and worker only."""
        config, epoch, group = self.config, len(self.epochs), self.group
        seed_everything(config.seed * 1000 + epoch + group.rank * 10**6)
        generator = torch.Generator().manual_seed(config.seed * 1000 + epoch)
        order = draw_order(self.training.targets.cpu(), config.balance, generator)
        generator.manual_seed(config.seed * 1000 + epoch + group.rank * 10**6)
        size = config.sizes[epoch * len(config.sizes) // config.epochs]
        policy = AUGMENTATIONS[config.augmentation]
        weights = rarity(self.training.targets, config.class_weights)
        self.model.train()
        total = 0.0
        for picks in order.split(config.batch):
            own = group.share(picks).to(group.device)
            if len(own) < 2:  # batch normalisation needs two samples
                continue
            images = augment(self.training.images[own], policy, generator, size)
            targets = self.training.targets[own] * weights
            with mixed_precision(group.device, config.precision):
                logits = self.parallel(images).logits
            loss = self.scheme.loss(logits.float(), targets, generator)
            self.update(loss)
            total += loss.item() * len(picks)
        return total / len(order)

    def update(self, loss: Tensor, clip_norm: float = 0.0) -> None:
        """Update the weights and their average, with clamped gradients if the configuration asks for it."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.clip_value:
            nn.utils.clip_grad_value_(self.model.parameters(), self.config.clip_value)
        self.optimizer.step()
        if self.config.schedule != "plateau":
            self.schedule.step()
        self.average.update_parameters(self.model)

    def validate(self) -> dict[str, float]:
        """Return metrics of the averaged weights on PublicTest."""
        done = len(self.epochs) + 1
        if done % self.config.validate_every and done != self.config.epochs:
            return {}
        logits = predict(for_inference(self.average.module), self.validation.images)
        report = classification_report(
            logits.softmax(1).cpu().numpy(),
            self.validation.targets.argmax(1).cpu().numpy(),
            self.scheme.labels,
        )
        loss = nn.functional.cross_entropy(logits, self.validation.targets).item()
        if self.config.schedule == "plateau":
            self.schedule.step(loss)  # type: ignore[arg-type]
        return {
            "valid_accuracy": report["accuracy"],
            "valid_uar": report["uar"],
            "valid_loss": loss,
        }


train = FaceRun.train

if __name__ == "__main__":
    FaceRun.command(TrainConfig, __doc__)
