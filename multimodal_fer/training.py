"""Bricks of the training loops: configuration, seeds, workers, checkpoints. Inference never needs them."""

import os
import random
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import numpy
import torch
from torch import Tensor, distributed, nn

from multimodal_fer.devices import choose_device
from multimodal_fer.errors import ConfigError, MultimodalFerError
from multimodal_fer.files import replacing, write_json

Config = TypeVar("Config")
Tensors = tuple[Tensor, ...] | list[Tensor]


def load_config(config: type[Config], path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a flat TOML file into the dataclass `config`, then apply `key=value` overrides.

    Raises `ConfigError` for an unknown key or a value of the wrong type: a typo must not train for
    an hour with the default.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML ({error})") from None
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise ConfigError(f"override {override!r}: expected key=value")
        values[key] = _parse_value(text)
    kinds = {
        field.name: dict
        if field.default is MISSING
        else type(field.default)  # a table has no default
        for field in fields(config)  # type: ignore[arg-type]
    }
    for key, value in values.items():
        if key not in kinds:
            raise ConfigError(f"{path}: unknown key {key!r}; known: {sorted(kinds)}")
        values[key] = _checked(path, key, value, kinds[key])
    return config(**values)


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string: device=cuda


def _checked(path: Path, key: str, value: Any, kind: type) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if type(value) is not kind:
        found = f"{value!r} ({type(value).__name__})"
        raise ConfigError(f"{path}: {key} must be {kind.__name__}, found {found}")
    return value


@dataclass(frozen=True)
class Workers:
    """The processes that train together, seen from one of them."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this one writes files and speaks."""
        return self.rank == 0

    def share(self, picks: Tensor) -> Tensor:
        """This worker's part of a batch's numbers; all get equally many, so a rest is left out."""
        return picks[: len(picks) // self.count * self.count][self.rank :: self.count]

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model itself, or one that averages its gradients over the workers."""
        if self.count == 1:
            return model
        return nn.parallel.DistributedDataParallel(model)


@contextmanager
def workers(device: str) -> Iterator[Workers]:
    """Join the group that torchrun has started, one CUDA device each; without torchrun, work alone."""
    chosen = choose_device(device)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield Workers(0, 1, chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Workers(distributed.get_rank(), distributed.get_world_size(), chosen)
    finally:
        distributed.destroy_process_group()


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch (every device)."""
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def decayed_apart(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: kernels decay, biases and normalisation do not."""
    kernels = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


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


def save_checkpoint(state: dict[str, Any], path: str | Path) -> None:
    """Write tensors and plain values so that a kill at any moment leaves the old or the new file."""
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU without executing anything that it holds."""
    return torch.load(path, map_location="cpu", weights_only=True)


def save_config(config: Any, path: str | Path) -> None:
    """Write a resolved configuration, defaults included."""
    write_json(path, asdict(config))


def run_command(
    function: Callable[..., object], usage: str | None, count: int, more: bool = False
) -> None:
    """Call `function` with the words of the command line; a user's mistake ends in one sentence.

    It takes `count` words, or with `more` at least as many.
    """
    arguments = sys.argv[1:]
    if len(arguments) < count or (len(arguments) > count and not more):
        sys.exit(usage)
    try:
        function(*arguments)
    except MultimodalFerError as error:
        sys.exit(f"error: {error}")


def provenance(command: str) -> dict[str, str]:
    """What every result file says of itself: the day, the commit and the command."""
    return {"date": date.today().isoformat(), "commit": current_commit(), "command": command}


def current_commit() -> str:
    """The commit that the code ran at, with `+changes` where the tree differs from it."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        result = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
        return result.stdout.strip() if result.returncode == 0 else ""

    commit = git("rev-parse", "--short=12", "HEAD") or "unknown"
    changed = git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if changed else commit
