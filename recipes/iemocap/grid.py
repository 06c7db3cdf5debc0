"""Train systems on every fold with every seed: on Ray, in processes of this machine, or one by one.

    python -m recipes.iemocap.grid data=runs/iemocap systems=face,speech,words,mdre [seeds=1,2,3] [folds=all]
        [home=runs] [engine=auto] [workers=1] [small=1] [dry_run=1] [protocol=loso5] [any=setting]

A trial is one system on one fold with one seed; its folder is `home/iemocap-SYSTEM/fold-K`, for other seeds
than 1 `home/iemocap-SYSTEM-seedN/fold-K`. The same command goes on after a kill: finished trials are left,
begun ones continue to the same numbers. A trial that fails is told at the end and stops no other.

`engine=ray` (extra `ray`) takes one GPU a trial where there are GPUs, else one core; with RAY_ADDRESS it
uses a cluster, whose machines must see the same folders. `engine=processes` starts `workers` processes
here. `auto` is Ray where it is installed and there are several GPUs or RAY_ADDRESS; else processes where
`workers` is over 1.
"""

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from multimodal_fer.errors import ConfigError, DataError, MultimodalFerError
from multimodal_fer.training.config import load_config
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.process_pool import TRIES, Died, run_in_processes
from recipes.iemocap.corpus.protocols import deal_folds
from recipes.iemocap.learning.config import TrainConfig
from recipes.iemocap.learning.face_scores import FaceFeatures
from recipes.iemocap.learning.runs import fold_folder
from recipes.iemocap.learning.settings import read_settings
from recipes.iemocap.learning.systems import SYSTEMS
from recipes.iemocap.preparation.prepared import load_prepared
from recipes.iemocap.preparation.transcripts import Transcripts
from recipes.iemocap.train import fold_numbers, plan, train

TOMLS = Path(__file__).parent / "systems"
ENGINES = ("auto", "ray", "processes", "serial")
LOG = "said.txt"  # of a trial beside others, in its fold's folder


@dataclass(frozen=True)
class Settings:
    """What is trained, and on what; `rest` are settings of every system."""

    data: str = "runs/iemocap"
    home: str = "runs"
    systems: tuple[str, ...] = ("face", "speech", "words", "mdre")
    seeds: tuple[str, ...] = ("1",)
    folds: str = "all"
    engine: str = "auto"
    workers: int = 1
    small: bool = False  # the TOML files of systems/small
    dry_run: bool = False
    rest: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ConfigError(f"unknown engine {self.engine!r}; known: {', '.join(ENGINES)}")
        if not all(seed.isdecimal() for seed in self.seeds):
            raise ConfigError(f"seeds: expected numbers, as 1,2,3, found {','.join(self.seeds)!r}")


class Trial(NamedTuple):
    """One system on one fold with one seed."""

    config: TrainConfig
    fold: int
    quiet: bool  # its lines go into a file, since others speak as well

    @property
    def folder(self) -> Path:
        return fold_folder(self.config.run, self.fold)

    @property
    def name(self) -> str:
        return f"{Path(self.config.run).name}, fold {self.fold}"


def toml_of(system: str, small: bool) -> Path:
    """The settings of a system's training."""
    folder = TOMLS / "small" if small else TOMLS
    path = folder / f"{system}.toml"
    if not path.is_file() or system == "fusion":
        known = sorted(path.stem for path in folder.glob("*.toml") if path.stem != "fusion")
        raise ConfigError(f"unknown system {system!r}; known: {', '.join(known)}")
    return path


def run_of(home: str | Path, system: str, seed: str = "1") -> str:
    """The folder of a system's folds."""
    return str(Path(home) / (f"iemocap-{system}" + (f"-seed{seed}" if seed != "1" else "")))


def configs_of(settings: Settings) -> list[TrainConfig]:
    """Each system with each seed. Paths are whole, since workers may stand elsewhere."""
    data = str(Path(settings.data).resolve())
    home = Path(settings.home).resolve()
    return [
        load_config(
            TrainConfig,
            toml_of(system, settings.small),
            [*settings.rest, f"seed={seed}", f"data={data}", f"run={run_of(home, system, seed)}"],
        )
        for seed in settings.seeds
        for system in settings.systems
    ]


def train_grid(settings: Settings) -> list[str]:
    """Train every trial, or continue; returns the run folders. `DataError` names trials that failed."""
    configs = configs_of(settings)
    if settings.dry_run:
        for config in configs:
            print(f"{Path(config.run).name}:")
            plan(config, settings.folds)
        return [config.run for config in configs]
    prepared = load_prepared(settings.data)
    engine = choose_engine(settings)
    trials = [
        Trial(config, number, engine != "serial")
        for config in configs
        for number in fold_numbers(
            settings.folds, len(deal_folds(prepared.turns, config.protocol, config.target))
        )
    ]
    warm(configs)
    run = {"ray": _on_ray, "processes": _in_processes, "serial": _one_by_one}[engine]
    failed = []
    for done, (trial, error) in enumerate(run(trials, settings.workers), start=1):
        print(f"trial {done}/{len(trials)}  {trial.name}  {error or 'done'}", flush=True)
        if error:
            failed.append(f"{trial.name}: {error}")
    if failed:
        raise DataError(
            "trials failed; the same command tries them again:\n  " + "\n  ".join(failed)
        )
    return [config.run for config in configs]


def choose_engine(settings: Settings) -> str:
    """Which of the engines works, where the user leaves it open."""
    installed = importlib.util.find_spec("ray") is not None
    if settings.engine == "ray" and not installed:
        raise ConfigError("engine=ray needs Ray; pip install 'multimodal_fer[ray]'")
    if settings.engine != "auto":
        return settings.engine
    many = torch.cuda.device_count() > 1 or "RAY_ADDRESS" in os.environ
    if installed and many:
        return "ray"
    return "processes" if settings.workers > 1 else "serial"


def warm(configs: Sequence[TrainConfig]) -> None:
    """Look at all faces and hear all words before trials share them: two would write the same file."""
    for config in configs:
        prepared, reads = load_prepared(config.data), SYSTEMS[config.model].reads
        if "faces" in reads:
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            features = FaceFeatures(prepared, config.face_weights, device)
            for turn in prepared.rows:
                if prepared.has(turn, "face"):
                    features.of(turn)
        if "tokens" in reads and config.transcripts == "whisper":
            Transcripts(prepared, config.speech_model, config.engine).finish()


# --- engines: each gives a trial with what went wrong, as they get done ---


def attempt(trial: Trial) -> str | None:
    """Train one trial; returns a sentence where it fails as users can cause."""
    with contextlib.ExitStack() as stack:
        if trial.quiet:
            torch.set_num_threads(1)
            trial.folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((trial.folder / LOG).open("a", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(file))
        try:
            train(trial.config, str(trial.fold))
        except MultimodalFerError as error:
            return str(error)
    return None


Results = Iterator[tuple[Trial, str | None]]


def _one_by_one(trials: Sequence[Trial], workers: int) -> Results:
    return ((trial, attempt(trial)) for trial in trials)


def _in_processes(trials: Sequence[Trial], workers: int) -> Results:
    for trial, answer in run_in_processes(attempt, trials, workers):
        yield trial, f"its process died ({answer.how})" if isinstance(answer, Died) else answer


def _on_ray(trials: Sequence[Trial], workers: int) -> Results:
    import ray  # type: ignore[import-not-found]
    from ray.exceptions import RayError  # type: ignore[import-not-found]

    # Ray reports home unless told not to.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    began = not ray.is_initialized()
    if began:
        root = str(Path(__file__).parent.parent.parent)  # where workers find the recipes
        here: dict[str, Any] = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": workers}
        environment = {"env_vars": {"PYTHONPATH": root}}
        ray.init(include_dashboard=False, log_to_driver=False, runtime_env=environment, **here)
    gpus = 1 if ray.cluster_resources().get("GPU") else 0
    remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=TRIES - 1)(attempt)
    try:
        waiting = {remote.remote(trial): trial for trial in trials}
        while waiting:
            (ready,), _ = ray.wait(list(waiting))
            trial = waiting.pop(ready)
            try:
                yield trial, ray.get(ready)
            except RayError as error:
                yield trial, f"its worker failed ({str(error).strip().splitlines()[-1]})"
    finally:
        if began:
            ray.shutdown()


def main(*words: str) -> None:
    """The command line."""
    train_grid(read_settings(Settings, words))


if __name__ == "__main__":
    run_command(main, __doc__, 0, more=True)
