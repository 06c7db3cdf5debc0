"""Training runs: epochs, checkpoints, continuation, and records of how a result was made."""

import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from multimodal_fer.errors import ConfigError, MultimodalFerError
from multimodal_fer.training.config import current_names, load_config, save_config
from multimodal_fer.training.distributed import Workers, seed_everything, workers
from multimodal_fer.utils.files import replacing, write_json

Tensors = tuple[Tensor, ...] | list[Tensor]

CHECKPOINT = "last.pt"
# Settings of a machine, which are no part of a record.
OF_THE_MACHINE = ("data", "evidence", "run", "device", "limit")


class Run:
    """A training run that is saved after every epoch; an interrupted one continues to the same numbers.

    A subclass sets `model`, `average`, `optimizer` and `schedule` and defines `train_epoch` and `validate`.
    Its configuration has the fields `run` (folder), `device`, `epochs`, `average_decay`, `keep` ("last" or
    "best") and `patience`. Random draws of an epoch must depend on the seed and the epoch's number alone.
    """

    score = "valid_accuracy"  # the metric for `keep = "best"` and `patience`
    model: Any
    average: AveragedModel
    optimizer: Any
    schedule: Any

    def __init__(self, config: Any, group: Workers) -> None:
        self.config, self.group = config, group
        self.folder = Path(config.run)
        self.epochs: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.about: dict[str, Any] = {}  # further entries of the checkpoint

    @property
    def parts(self) -> dict[str, Any]:
        """Return the objects whose states a checkpoint holds."""
        return {
            "model": self.model,
            "average": self.average,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }

    @property
    def result(self) -> nn.Module:
        """Return the network with the averaged weights."""
        return self.average.module

    def train_epoch(self) -> float:
        """Train on all samples once and return the mean loss."""
        raise NotImplementedError

    def validate(self) -> dict[str, float]:
        """Return metrics of `result` on the validation split, `score` among them; empty without a split."""
        raise NotImplementedError

    def seed_epoch(self) -> torch.Generator:
        """Seed all draws of the next epoch and return a CPU generator with the same seed."""
        seed = self.config.seed * 1000 + len(self.epochs)
        seed_everything(seed)
        return torch.Generator().manual_seed(seed)

    def update(self, loss: Tensor, clip_norm: float = 0.0) -> None:
        """Update the weights and their average; `clip_norm` limits the norm of the gradients."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), clip_norm)
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.model)

    def resume(self) -> None:
        """Continue from `last.pt` if it exists. Raises `ConfigError` if it has other settings."""
        if (self.folder / CHECKPOINT).exists():
            state = load_checkpoint(self.folder / CHECKPOINT)
            check_same_run(self.config, state["config"], self.folder)
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            self.epochs, self.best = state["epochs"], state["best"]
            self.say(f"continuing after epoch {len(self.epochs)} of {self.config.epochs}")

    def save(self) -> None:
        """Write `last.pt` and `log.json`."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"epochs": self.epochs, "best": self.best, "config": asdict(self.config)}
        save_checkpoint(state | self.about, self.folder / CHECKPOINT)
        write_json(self.folder / "log.json", self.epochs)

    def say(self, message: str) -> None:
        """Print a message once for all workers."""
        if self.group.first:
            print(message, flush=True)

    def advance(self) -> None:
        """Train and validate for one epoch, save and print."""
        started = time.monotonic()
        loss = self.train_epoch()
        row: dict[str, Any] = {"epoch": len(self.epochs) + 1, "loss": loss, **self.validate()}
        row["seconds"] = time.monotonic() - started
        before = max((old.get(self.score, 0.0) for old in self.epochs), default=-math.inf)
        if self.config.keep == "best" and row[self.score] > before:
            state = self.result.state_dict()
            self.best = {name: value.detach().clone() for name, value in state.items()}
        self.epochs.append(row)
        if self.group.first:
            self.save()
        left = row["seconds"] * (self.config.epochs - len(self.epochs)) / 60
        figures = "  ".join(
            f"{name.replace('_', ' ')} {value:.4f}"
            for name, value in row.items()
            if name not in ("epoch", "seconds")
        )
        self.say(
            f"epoch {row['epoch']}/{self.config.epochs}  {figures}  {row['seconds']:.0f} s  "
            f"{left:.0f} min left"
        )

    @property
    def finished(self) -> bool:
        """Return if all epochs are done or `patience` is used up."""
        if len(self.epochs) >= self.config.epochs:
            return True
        if not self.config.patience or not self.epochs:
            return False
        scores = [row[self.score] for row in self.epochs]
        return len(scores) - 1 - scores.index(max(scores)) >= self.config.patience

    def go(self) -> Path:
        """Train or continue to the end and return the run folder with `last.pt` and `log.json`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.resume()
        if self.group.first:  # after `resume`, so that a refused run keeps its own
            save_config(self.config, self.folder / "config.json")
        while not self.finished:
            self.advance()
        return self.folder

    def averaged(self, model: nn.Module) -> AveragedModel:
        """Return a running mean of the model's weights and buffers."""
        average = warmed_average(self.config.average_decay)
        return AveragedModel(model, multi_avg_fn=average, use_buffers=True)

    @classmethod
    def train(cls, config: Any) -> Path:
        """Train or continue to the end, alone or as a worker of torchrun, and return the run folder."""
        with workers(config.device) as group:
            return cls(config, group).go()

    @classmethod
    def command(cls, config: type[Any], usage: str | None) -> None:
        """Run the command line of a training: a TOML file, then settings as key=value."""
        if len(sys.argv) < 2:
            sys.exit(usage)
        try:
            cls.train(load_config(config, sys.argv[1], sys.argv[2:]))
        except MultimodalFerError as error:
            sys.exit(f"error: {error}")


def check_same_run(config: Any, started: dict[str, Any], run: Path) -> None:
    """Raise `ConfigError` if a run would continue with other settings than it was started with."""
    free = {"data", "run", "device"}  # may change between sessions
    started = current_names(started) | started
    changed = {
        key: (value, now)
        for key, now in asdict(config).items()
        if key not in free and (value := started.get(key)) != now
    }
    if changed:
        listed = ", ".join(f"{key} was {a!r}, now {b!r}" for key, (a, b) in changed.items())
        raise ConfigError(f"{run}: was started with other settings ({listed}); use another folder")


def result_state(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Return the resulting weights of a run: the last averaged ones, or the best."""
    if checkpoint["config"]["keep"] == "best":
        return checkpoint["best"]
    prefix = "module."  # torch's AveragedModel keeps the network under this name
    return {
        name.removeprefix(prefix): value
        for name, value in checkpoint["average"].items()
        if name.startswith(prefix)
    }


def training_record(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a training for a result: settings, epochs done, minutes."""
    config, epochs = checkpoint["config"], checkpoint["epochs"]
    settings = {key: config[key] for key in config if key not in OF_THE_MACHINE}
    minutes = sum(row["seconds"] for row in epochs) / 60
    return settings | {
        "epochs_done": len(epochs),
        "minutes": round(minutes),
        "started_from": checkpoint.get("started_from", {}),
    }


def decayed_apart(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups in which kernels decay and biases and normalisation do not."""
    kernels = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def warmed_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """Return the update of a running mean whose decay grows with the steps up to `decay`.

    With a constant 0.999, two percent of the untrained weights would remain after 4,000 steps.
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


def save_checkpoint(state: dict[str, Any], path: str | Path) -> None:
    """Write tensors and plain values; an interruption leaves the old or the new file."""
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU without executing code from it."""
    return torch.load(path, map_location="cpu", weights_only=True)


def provenance(command: str) -> dict[str, str]:
    """Return the date, commit and command for a result file, without folders of this machine."""
    command = " ".join(map(without_folder, command.split(" ")))
    return {"date": date.today().isoformat(), "commit": current_commit(), "command": command}


def without_folder(word: str) -> str:
    """Replace an absolute path in a word of a command, which differs on other machines."""
    key, separator, value = word.rpartition("=")
    return f"{key}{separator}{'FOLDER' if Path(value).is_absolute() else value}"


def current_commit() -> str:
    """Return the current commit, with `+changes` if tracked files differ from it."""
    here = Path(__file__).parent.parent

    def git(*arguments: str) -> str:
        result = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
        return result.stdout.strip() if result.returncode == 0 else ""

    commit = git("rev-parse", "--short=12", "HEAD") or "unknown"
    changed = git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if changed else commit
