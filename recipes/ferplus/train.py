"""Train a facial network on FER+.

    python -m recipes.ferplus.train recipes/ferplus/compact.toml data=runs/ferplus.npz run=runs/compact

Every epoch ends in `last.pt`; the same command continues from there to the same numbers. The averaged
weights of the last epoch are the result: no epoch is picked by its score.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from multimodal_fer.devices import choose_device
from multimodal_fer.errors import ConfigError, MultimodalFerError
from multimodal_fer.files import write_json
from multimodal_fer.labels import FER_PLUS
from multimodal_fer.metrics import classification_report
from multimodal_fer.models import build
from multimodal_fer.training import (
    load_checkpoint,
    load_config,
    save_checkpoint,
    save_config,
    seed_everything,
)
from recipes.ferplus.augment import AUGMENTATIONS, augment
from recipes.ferplus.prepare import load_split
from recipes.ferplus.schemes import SCHEMES

Tensors = tuple[Tensor, ...] | list[Tensor]


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a run; every key of the TOML file is one of these."""

    data: str = "runs/ferplus.npz"  # what prepare.py wrote
    run: str = "runs/compact"  # folder for checkpoints, log and the resolved configuration
    model: str = "se-resnet"  # a key of multimodal_fer.models.MODELS
    scheme: str = "crossentropy"  # how votes become targets: a key of SCHEMES
    epochs: int = 30
    batch: int = 128
    sizes: tuple[int, ...] = (48,)  # side of the training images, each for an equal share of epochs
    augmentation: str = "compact"  # a key of AUGMENTATIONS
    balance: float = 0.0  # rare classes are drawn more often: weights are frequency ** -balance
    dropout: float = 0.3
    learning_rate: float = 0.1  # peak of the one-cycle schedule
    momentum: float = 0.9
    weight_decay: float = 5e-4
    average_decay: float = 0.999  # exponential moving average of the weights, per step
    seed: int = 1
    device: str = "auto"
    limit: int = 0  # use only the first images of each split; 0 means all


@dataclass(frozen=True)
class Examples:
    """Images (N, 48, 48) uint8 and targets (N, 8) float, on the training device."""

    images: Tensor
    targets: Tensor


def load_examples(config: TrainConfig, split: str, scheme: str, device: torch.device) -> Examples:
    """Load one split, without the images to which the scheme gives no target."""
    if scheme not in SCHEMES:
        raise ConfigError(f"unknown scheme {scheme!r}; known: {sorted(SCHEMES)}")
    part = load_split(config.data, split)
    targets = SCHEMES[scheme].targets(part.votes)
    usable = numpy.flatnonzero(targets.sum(axis=1) > 0)
    usable = usable[: config.limit or None]
    return Examples(
        torch.from_numpy(part.images[usable]).to(device),
        torch.from_numpy(targets[usable]).float().to(device),
    )


def warmed_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """A running mean that forgets the random start: its decay grows with the steps up to `decay`.

    With a constant 0.999, two percent of the untrained weights would be left after 4,000 steps.
    """

    @torch.no_grad()
    def update(averaged: Tensors, current: Tensors, steps: Tensor | int) -> None:
        count = int(steps)
        share = 1 - min(decay, (1 + count) / (10 + count))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, share)
            else:
                mean.copy_(value)

    return update


def draw_order(targets: Tensor, balance: float, generator: torch.Generator) -> Tensor:
    """N numbers of images for one epoch, shuffled; with `balance`, rare classes come up more often.

    Systematic sampling: one random offset and equal steps through the running sum of the weights, so
    an image of weight w is drawn floor(w) or ceil(w) times and none is forgotten by bad luck.
    """
    frequency = targets.mean(0).clamp(min=1e-6)
    weights = targets.double() @ frequency.double().pow(-balance)
    edges = (weights / weights.sum()).cumsum(0) * len(targets)
    ticks = torch.arange(len(targets)) + torch.rand(1, generator=generator).double()
    drawn = torch.searchsorted(edges, ticks).clamp(max=len(targets) - 1)
    return drawn[torch.randperm(len(drawn), generator=generator)]


def decayed_apart(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: kernels decay, biases and normalisation do not."""
    kernels = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def train_epoch(
    model: nn.Module,
    average: AveragedModel,
    examples: Examples,
    optimizer,
    schedule,
    config: TrainConfig,
    epoch: int,
) -> float:
    """One pass in a random order; returns the mean loss. All draws depend on seed and epoch only."""
    seed_everything(config.seed * 1000 + epoch)
    generator = torch.Generator().manual_seed(config.seed * 1000 + epoch)
    order = draw_order(examples.targets.cpu(), config.balance, generator)
    size = config.sizes[epoch * len(config.sizes) // config.epochs]
    policy = AUGMENTATIONS[config.augmentation]
    device = examples.images.device
    loss_of = SCHEMES[config.scheme].loss
    model.train()
    total = 0.0
    for picks in order.split(config.batch):
        picks = picks.to(device)
        images = augment(examples.images[picks], policy, generator, size)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = model(images).logits
        loss = loss_of(logits.float(), examples.targets[picks], generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
        total += loss.item() * len(picks)
    return total / len(order)


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, flip: bool = False, batch: int = 256) -> Tensor:
    """Logits (N, K); with `flip`, the mean of the image's and its mirror image's."""
    model.eval()
    parts = []
    for chunk in images.split(batch):
        logits = model(chunk).logits
        if flip:
            logits = (logits + model(chunk.flip(-1)).logits) / 2
        parts.append(logits.float())
    return torch.cat(parts)


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


def train(config: TrainConfig) -> Path:
    """Train to the end or continue; returns the run folder with `last.pt` and `log.json`."""
    device = choose_device(config.device)
    run = Path(config.run)
    run.mkdir(parents=True, exist_ok=True)
    seed_everything(config.seed)
    model = (
        build(config.model, {"dropout": config.dropout})
        .to(device)
        .to(memory_format=torch.channels_last)
    )
    average = AveragedModel(
        model, multi_avg_fn=warmed_average(config.average_decay), use_buffers=True
    )
    training = load_examples(config, "train", config.scheme, device)
    validation = load_examples(config, "valid", "majority", device)
    steps = math.ceil(len(training.images) / config.batch)
    optimizer = torch.optim.SGD(
        decayed_apart(model, config.weight_decay),
        config.learning_rate,
        config.momentum,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=steps * config.epochs, pct_start=0.25
    )
    parts = {"model": model, "average": average, "optimizer": optimizer, "schedule": schedule}
    epochs: list[dict] = []
    if (run / "last.pt").exists():
        state = load_checkpoint(run / "last.pt")
        check_same_run(config, state["config"], run)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        epochs = state["epochs"]
        print(f"continuing after epoch {len(epochs)} of {config.epochs}", flush=True)
    save_config(config, run / "config.json")  # only now: a refused run keeps its own
    for epoch in range(len(epochs), config.epochs):
        started = time.monotonic()
        loss = train_epoch(model, average, training, optimizer, schedule, config, epoch)
        logits = predict(average, validation.images)
        report = classification_report(
            logits.softmax(1).cpu().numpy(), validation.targets.argmax(1).cpu().numpy(), FER_PLUS
        )
        seconds = time.monotonic() - started
        epochs.append(
            {
                "epoch": epoch + 1,
                "loss": loss,
                "valid_accuracy": report["accuracy"],
                "valid_uar": report["uar"],
                "seconds": seconds,
            }
        )
        state = {name: part.state_dict() for name, part in parts.items()}
        save_checkpoint(state | {"epochs": epochs, "config": asdict(config)}, run / "last.pt")
        write_json(run / "log.json", epochs)
        left = seconds * (config.epochs - epoch - 1) / 60
        print(
            f"epoch {epoch + 1}/{config.epochs}  loss {loss:.4f}  "
            f"valid accuracy {report['accuracy']:.4f}  UAR {report['uar']:.4f}  "
            f"{seconds:.0f} s  {left:.0f} min left",
            flush=True,
        )
    return run


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        train(load_config(TrainConfig, sys.argv[1], sys.argv[2:]))
    except MultimodalFerError as error:
        sys.exit(f"error: {error}")
