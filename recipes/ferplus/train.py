"""Train a facial network on FER+ or FER2013.

    python -m recipes.ferplus.train recipes/ferplus/compact.toml data=runs/ferplus.npz run=runs/compact
    torchrun --nproc-per-node 4 -m recipes.ferplus.train recipes/ferplus/vgg19.toml run=runs/vgg19

Every epoch ends in `last.pt`; the same command continues from there to the same numbers. With `keep = "last"`
the result is the last epoch, with `keep = "best"` the one most accurate on PublicTest.
"""

import math
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from multimodal_fer.errors import ConfigError, DataError, MultimodalFerError
from multimodal_fer.files import write_json
from multimodal_fer.metrics import classification_report
from multimodal_fer.models import FaceNetwork, build
from multimodal_fer.training import (
    Workers,
    load_checkpoint,
    load_config,
    save_checkpoint,
    save_config,
    seed_everything,
    workers,
)
from recipes.ferplus.augment import AUGMENTATIONS, augment
from recipes.ferplus.optimisation import OPTIMIZERS, SCHEDULES, decayed_apart, warmed_average
from recipes.ferplus.prepare import load_split
from recipes.ferplus.schemes import SCHEMES, Scheme
from recipes.ferplus.views import predict


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a run; every key of the TOML file is one of these."""

    data: str = "runs/ferplus.npz"  # what prepare.py wrote
    run: str = "runs/compact"  # folder for checkpoints, log and the resolved configuration
    model: str = "se-resnet"  # a key of multimodal_fer.models.MODELS
    settings: dict[str, Any] = field(
        default_factory=dict
    )  # of the network, other than its defaults
    scheme: str = "crossentropy"  # which labels, and how they become targets: a key of SCHEMES
    class_weights: float = 0.0  # errors on rare classes cost more: frequency ** -class_weights
    balance: float = 0.0  # rare classes are drawn more often: frequency ** -balance
    epochs: int = 30
    batch: int = 128  # of all workers together
    sizes: tuple[int, ...] = (48,)  # side of the training images, each for an equal share of epochs
    augmentation: str = "compact"  # a key of AUGMENTATIONS
    optimizer: str = "sgd"  # or adam
    learning_rate: float = 0.1  # the highest of the schedule
    momentum: float = 0.9
    dampening: float = 0.0
    nesterov: bool = True
    weight_decay: float = 5e-4  # of kernels; biases and normalisation do not decay
    clip_value: float = 0.0  # gradients are clamped to this, where it is not zero
    schedule: str = "one-cycle"  # a key of SCHEDULES
    average_decay: float = 0.999  # exponential moving average of the weights, per step; 0 is none
    keep: str = "last"  # or best, on PublicTest
    patience: int = 0  # stop after this many epochs without a better one; 0 is never
    seed: int = 1
    device: str = "auto"
    limit: int = 0  # use only the first images of each split; 0 means all

    def __post_init__(self) -> None:
        known = {
            "scheme": SCHEMES,
            "augmentation": AUGMENTATIONS,
            "optimizer": OPTIMIZERS,
            "schedule": SCHEDULES,
            "keep": ("last", "best"),
        }
        for key, values in known.items():
            if getattr(self, key) not in values:
                raise ConfigError(f"unknown {key} {getattr(self, key)!r}; known: {sorted(values)}")


@dataclass(frozen=True)
class Examples:
    """Images (N, 48, 48) uint8 and targets (N, K) float, on the training device."""

    images: Tensor
    targets: Tensor


def load_examples(
    config: TrainConfig, split: str, scheme: Scheme, device: torch.device
) -> Examples:
    """Load one split, without the images to which the scheme gives no target."""
    part = load_split(config.data, split)
    targets = scheme.targets(part)
    usable = numpy.flatnonzero(targets.sum(axis=1) > 0)
    usable = usable[: config.limit or None]
    if not len(usable):
        raise DataError(
            f"{config.data}: no image of {split} has a label by this scheme; were both label files "
            "(FER+ votes, FER2013's own) beside the images when it was prepared?"
        )
    return Examples(
        torch.from_numpy(part.images[usable]).to(device),
        torch.from_numpy(targets[usable]).float().to(device),
    )


def rarity(targets: Tensor, power: float) -> Tensor:
    """frequency ** -power of each class (K,), scaled so that the mean over the images is one."""
    frequency = targets.mean(0).clamp(min=1e-6)
    weights = frequency.pow(-power)
    return weights / (targets @ weights).mean()


def draw_order(targets: Tensor, balance: float, generator: torch.Generator) -> Tensor:
    """N numbers of images for one epoch, shuffled; with `balance`, rare classes come up more often.

    Systematic sampling: one random offset and equal steps through the running sum of the weights, so
    an image of weight w is drawn floor(w) or ceil(w) times and none is forgotten by bad luck.
    """
    weights = targets.double() @ rarity(targets, balance).double()
    edges = (weights / weights.sum()).cumsum(0) * len(targets)
    ticks = torch.arange(len(targets)) + torch.rand(1, generator=generator).double()
    drawn = torch.searchsorted(edges, ticks).clamp(max=len(targets) - 1)
    return drawn[torch.randperm(len(drawn), generator=generator)]


class Run:
    """A training under way: what changes from epoch to epoch, and how it is kept and continued."""

    def __init__(self, config: TrainConfig, group: Workers) -> None:
        self.config, self.group = config, group
        self.folder = Path(config.run)
        self.scheme = SCHEMES[config.scheme]
        seed_everything(config.seed)
        settings = {"labels": self.scheme.labels} | config.settings
        self.model = build(config.model, settings).to(group.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parallel = group.parallel(self.model)
        self.average = AveragedModel(
            self.model, multi_avg_fn=warmed_average(config.average_decay), use_buffers=True
        )
        self.training = load_examples(config, "train", self.scheme, group.device)
        self.validation = load_examples(
            config, "valid", SCHEMES[self.scheme.measured_by], group.device
        )
        groups = decayed_apart(self.model, config.weight_decay)
        self.optimizer = OPTIMIZERS[config.optimizer](groups, config)
        steps = math.ceil(len(self.training.images) / config.batch)
        self.schedule = SCHEDULES[config.schedule](self.optimizer, config, steps)
        self.epochs: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}

    @property
    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds the state of."""
        return {
            "model": self.model,
            "average": self.average,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }

    def resume(self) -> None:
        """Continue from `last.pt`, where there is one of the same settings."""
        if (self.folder / "last.pt").exists():
            state = load_checkpoint(self.folder / "last.pt")
            check_same_run(self.config, state["config"], self.folder)
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            self.epochs, self.best = state["epochs"], state["best"]
            self.say(f"continuing after epoch {len(self.epochs)} of {self.config.epochs}")

    def save(self) -> None:
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"epochs": self.epochs, "best": self.best, "config": asdict(self.config)}
        save_checkpoint(state, self.folder / "last.pt")
        write_json(self.folder / "log.json", self.epochs)

    def say(self, message: str) -> None:
        if self.group.first:
            print(message, flush=True)

    def train_epoch(self) -> float:
        """One pass in a random order; returns the mean loss. All draws depend on seed and epoch only."""
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
            if len(own) < 2:  # batch normalisation needs company
                continue
            images = augment(self.training.images[own], policy, generator, size)
            targets = self.training.targets[own] * weights
            with torch.autocast(
                group.device.type, torch.bfloat16, enabled=group.device.type == "cuda"
            ):
                logits = self.parallel(images).logits
            loss = self.scheme.loss(logits.float(), targets, generator)
            self.step(loss)
            total += loss.item() * len(picks)
        return total / len(order)

    def step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.clip_value:
            nn.utils.clip_grad_value_(self.model.parameters(), self.config.clip_value)
        self.optimizer.step()
        if self.config.schedule != "plateau":
            self.schedule.step()
        self.average.update_parameters(self.model)

    def validate(self) -> dict[str, Any]:
        """Figures of the averaged weights on PublicTest; remembers them where they are the best yet."""
        logits = predict(self.average.module, self.validation.images)
        report = classification_report(
            logits.softmax(1).cpu().numpy(),
            self.validation.targets.argmax(1).cpu().numpy(),
            self.scheme.labels,
        )
        loss = nn.functional.cross_entropy(logits, self.validation.targets).item()
        if self.config.schedule == "plateau":
            self.schedule.step(loss)  # type: ignore[arg-type]
        best = max((row["valid_accuracy"] for row in self.epochs), default=-1.0)
        if self.config.keep == "best" and report["accuracy"] > best:
            self.best = {
                name: value.detach().clone()
                for name, value in self.average.module.state_dict().items()
            }
        return {
            "valid_accuracy": report["accuracy"],
            "valid_uar": report["uar"],
            "valid_loss": loss,
        }

    def advance(self) -> None:
        """One epoch: train, validate, save, say."""
        started = time.monotonic()
        loss = self.train_epoch()
        row = {"epoch": len(self.epochs) + 1, "loss": loss, **self.validate()}
        row["seconds"] = time.monotonic() - started
        self.epochs.append(row)
        if self.group.first:
            self.save()
        left = row["seconds"] * (self.config.epochs - len(self.epochs)) / 60
        self.say(
            f"epoch {row['epoch']}/{self.config.epochs}  loss {loss:.4f}  "
            f"valid accuracy {row['valid_accuracy']:.4f}  UAR {row['valid_uar']:.4f}  "
            f"{row['seconds']:.0f} s  {left:.0f} min left"
        )

    @property
    def finished(self) -> bool:
        scores = [row["valid_accuracy"] for row in self.epochs]
        waited = len(scores) - 1 - scores.index(max(scores)) if scores else 0
        tired = bool(self.config.patience) and waited >= self.config.patience
        return len(scores) >= self.config.epochs or tired


def check_same_run(config: TrainConfig, started: dict[str, Any], run: Path) -> None:
    """Refuse to continue a run with other settings: its figures would belong to neither."""
    free = {"data", "run", "device"}  # may move between sittings
    changed = {
        key: (value, now)
        for key, now in asdict(config).items()
        if key not in free and (value := started.get(key)) != now
    }
    if changed:
        listed = ", ".join(f"{key} was {a!r}, now {b!r}" for key, (a, b) in changed.items())
        raise ConfigError(f"{run}: was started with other settings ({listed}); use another folder")


def result_model(checkpoint: dict[str, Any]) -> FaceNetwork:
    """The network that a run has come to: its last averaged weights, or its best."""
    config = TrainConfig(**checkpoint["config"])
    model = build(config.model, {"labels": SCHEMES[config.scheme].labels} | config.settings)
    state = checkpoint["best"]
    if config.keep == "last":
        prefix = "module."  # torch's AveragedModel keeps the network under this name
        state = {
            name.removeprefix(prefix): value
            for name, value in checkpoint["average"].items()
            if name.startswith(prefix)
        }
    model.load_state_dict(state)
    return model.eval()


def training_record(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What a result has to say of its training: the settings, and how far it went."""
    config, epochs = checkpoint["config"], checkpoint["epochs"]
    settings = {key: config[key] for key in config if key not in ("data", "run", "device", "limit")}
    minutes = sum(row["seconds"] for row in epochs) / 60
    return settings | {"epochs_done": len(epochs), "minutes": round(minutes)}


def train(config: TrainConfig) -> Path:
    """Train to the end or continue; returns the run folder with `last.pt` and `log.json`."""
    with workers(config.device) as group:
        run = Run(config, group)
        run.folder.mkdir(parents=True, exist_ok=True)
        run.resume()
        if group.first:  # only now: a refused run keeps its own
            save_config(config, run.folder / "config.json")
        while not run.finished:
            run.advance()
        return run.folder


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        train(load_config(TrainConfig, sys.argv[1], sys.argv[2:]))
    except MultimodalFerError as error:
        sys.exit(f"error: {error}")
