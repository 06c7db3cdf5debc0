"""Train systems on every fold with every seed: with Ray, in processes of this machine, or one by one.

    python -m recipes.iemocap.grid data=runs/iemocap systems=face,speech,words,mdre [seeds=1,2,3] [folds=all]
        [home=runs] [engine=auto] [workers=1] [small=1] [dry_run=1] [protocol=loso5] [any=setting]

A trial is one system on one fold with one seed. Its folder is `home/iemocap-SYSTEM/fold-K`, or
`home/iemocap-SYSTEM-seedN/fold-K` for seeds other than 1. The same command skips finished trials and
continues interrupted ones to the same numbers. A failed trial does not stop the others; failures are listed
at the end.

`engine=ray` (extra `ray`) uses one GPU per trial if there are GPUs, else one core; with RAY_ADDRESS it uses a
cluster whose machines must access the same folders. `engine=processes` starts `workers` processes. `auto` is
Ray if it is installed and there are several GPUs or RAY_ADDRESS; otherwise processes if `workers` exceeds 1.
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
from recipes.iemocap.learning.config import TrainConfig, read_settings
from recipes.iemocap.learning.face_scores import FaceFeatures
from recipes.iemocap.learning.runs import fold_folder
from recipes.iemocap.learning.systems import SYSTEMS
from recipes.iemocap.preparation.prepared import load_prepared
from recipes.iemocap.preparation.transcripts import Transcripts
from recipes.iemocap.train import plan, protocol_folds, train

TOMLS = Path(__file__).parent / "systems"
ENGINES = ("auto", "ray", "processes", "serial")
LOG = "output.txt"  # of a parallel trial, in its fold's folder


@dataclass(frozen=True)
class Settings:
    """The trials of a grid; `rest` are settings of every system."""

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
    quiet: bool  # print into a file, because other trials print too

    @property
    def folder(self) -> Path:
        return fold_folder(self.config.run, self.fold)

    @property
    def name(self) -> str:
        return f"{Path(self.config.run).name}, fold {self.fold}"


def toml_of(system: str, small: bool) -> Path:
    """Return the TOML file of a system. Raises `ConfigError` for an unknown system."""
    folder = TOMLS / "small" if small else TOMLS
    path = folder / f"{system}.toml"
    if not path.is_file() or system == "fusion":
        known = sorted(path.stem for path in folder.glob("*.toml") if path.stem != "fusion")
        raise ConfigError(f"unknown system {system!r}; known: {', '.join(known)}")
    return path


def run_of(home: str | Path, system: str, seed: str = "1") -> str:
    """Return the folder of a system's folds."""
    return str(Path(home) / (f"iemocap-{system}" + (f"-seed{seed}" if seed != "1" else "")))


def configs_of(settings: Settings) -> list[TrainConfig]:
    """Return each system with each seed; paths are absolute for workers in other folders."""
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
    """Train every trial, or continue; return the run folders. Raises `DataError` that lists failed trials."""
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
        for number in protocol_folds(config, prepared, settings.folds)
    ]
    make_shared_files(configs)
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
    """Return the engine, chosen by the machine if the user gives `auto`."""
    installed = importlib.util.find_spec("ray") is not None
    if settings.engine == "ray" and not installed:
        raise ConfigError("engine=ray needs Ray; pip install 'multimodal_fer[ray]'")
    if settings.engine != "auto":
        return settings.engine
    many = torch.cuda.device_count() > 1 or "RAY_ADDRESS" in os.environ
    if installed and many:
        return "ray"
    return "processes" if settings.workers > 1 else "serial"


def make_shared_files(configs: Sequence[TrainConfig]) -> None:
    """Compute face features and transcripts before the trials, so that no two write the same file."""
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


# --- engines: each yields finished trials with an error message or None ---


def train_trial(trial: Trial) -> str | None:
    """Train one trial; return the message of an error of this package."""
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
    return ((trial, train_trial(trial)) for trial in trials)


def _in_processes(trials: Sequence[Trial], workers: int) -> Results:
    for trial, error in run_in_processes(train_trial, trials, workers):
        yield trial, f"its process ended ({error.how})" if isinstance(error, Died) else error


def _on_ray(trials: Sequence[Trial], workers: int) -> Results:
    import ray  # type: ignore[import-not-found]
    from ray.exceptions import RayError  # type: ignore[import-not-found]

    # Ray sends usage statistics by default.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    started = not ray.is_initialized()
    if started:
        root = str(Path(__file__).parent.parent.parent)  # for the workers to import the recipes
        local: dict[str, Any] = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": workers}
        environment = {"env_vars": {"PYTHONPATH": root}}
        ray.init(include_dashboard=False, log_to_driver=False, runtime_env=environment, **local)
    gpus = 1 if ray.cluster_resources().get("GPU") else 0
    remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=TRIES - 1)(train_trial)
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
        if started:
            ray.shutdown()


def main(*words: str) -> None:
    """Run the command."""
    train_grid(read_settings(Settings, words))


if __name__ == "__main__":
    run_command(main, __doc__, 0, more=True)
