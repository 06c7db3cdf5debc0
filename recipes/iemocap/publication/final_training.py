"""Train the weights to be published on all turns; figures come from the folds, as no turn is left to test on.

The voice and the text system are trained on every session with the settings and the schedule of the folds,
for the median of the epochs that the folds' validation parts selected. Their temperatures are the geometric
means of the folds'. The face is the package's own network, as in the folds.

Late attention is trained on out-of-fold predictions (stacked generalisation, Wolpert 1992): each turn as
predicted by the networks of the fold that tested on it, which were neither trained, stopped nor calibrated
on that turn. It uses scores only, which are comparable between separately trained networks. Each session in
turn is left out to select the epoch, and the median is used; the temperature is fitted on the predictions for
the sessions left out.

The published figures are those of the folds, whose parts and fusion were trained on fewer turns.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.fusion.late_attention import Evidence
from multimodal_fer.models import build
from multimodal_fer.text.vocabulary import Vocabulary
from multimodal_fer.training.distributed import Workers, workers
from multimodal_fer.training.metrics import fit_temperature
from multimodal_fer.training.run import CHECKPOINT, Run, load_checkpoint, result_state
from recipes.iemocap.fuse import HALVES, AttentionRun, FuseConfig, check_parts, fused_logits
from recipes.iemocap.learning import runs
from recipes.iemocap.learning.config import ALL, TrainConfig
from recipes.iemocap.learning.evidence import Joined, Parts, ShippedFace
from recipes.iemocap.learning.runs import TrainedFold, fold_folder
from recipes.iemocap.learning.systems import WHISPER, build_network
from recipes.iemocap.preparation.prepared import Prepared
from recipes.iemocap.train import FoldRun

# Systems that `analyze` can load.
LOADABLE = {"voice": ("speech", "are", WHISPER), "text": ("words",)}
RECORDED = ("missing", "epochs", "batch")


@dataclass(frozen=True, eq=False)
class Final:
    """A network trained on all turns."""

    model: Any
    record: dict[str, Any]  # of its training, for the config
    vocabulary: Vocabulary | None = None


@dataclass(frozen=True, eq=False)
class FinalSystem:
    """The content of a bundle."""

    labels: tuple[str, ...]
    face: str  # weights without further training
    parts: dict[str, Final]  # voice and text
    fusion: Final
    folds: list[Parts]


class _StoppedRun(Run):
    """A training without validation that ends after a given epoch of its schedule."""

    stop: int

    def resume(self) -> None:
        check_stop(self.folder, self.stop)
        super().resume()

    @property
    def finished(self) -> bool:
        return len(self.epochs) >= self.stop


class FinalRun(_StoppedRun, FoldRun):
    """The training of one system on all turns."""

    def __init__(self, config: TrainConfig, group: Workers, prepared: Prepared, stop: int) -> None:
        super().__init__(config, group, prepared)
        self.stop = self.about["stop"] = stop


class FinalAttention(_StoppedRun, AttentionRun):
    """The training of late attention on all turns."""

    def __init__(self, *arguments: Any, stop: int) -> None:
        super().__init__(*arguments)
        self.stop = self.about["stop"] = stop


def check_stop(folder: Path, stop: int) -> None:
    """Raise `ConfigError` if a training was started with another last epoch."""
    if not (folder / CHECKPOINT).exists():
        return
    if (before := load_checkpoint(folder / CHECKPOINT)["stop"]) != stop:
        raise ConfigError(
            f"{folder}: was started to end after epoch {before}, but the folds now give {stop}; use "
            "another folder"
        )


def train_final(
    fusion: str, run: str | Path, prepared: Prepared, device: str = "auto"
) -> FinalSystem:
    """Train all parts of a bundle on every turn, or continue; the folds must be trained and fused."""
    numbers = runs.trained_folds(fusion)
    states = [
        runs.load_state(fold_folder(fusion, number) / f"half-{half}", prepared)
        for number in numbers
        for half in HALVES
    ]
    config = FuseConfig(**states[0]["config"])
    folds = [Parts(config.runs, number, prepared, device) for number in numbers]
    for place, parts in enumerate(folds):
        check_parts(fold_folder(fusion, numbers[place]), states[2 * place], parts.digests)
    check_publishable(fusion, folds[0])
    with workers(device) as group:
        parts = {
            name: train_part(
                [fold.parts[name] for fold in folds], Path(run) / name, group, prepared
            )
            for name, part in folds[0].parts.items()
            if isinstance(part, TrainedFold)
        }
        attention = train_attention(config, folds, Path(run) / "fusion", group)
    face = folds[0].parts["face"]
    return FinalSystem(folds[0].labels, face.record["weights"], parts, attention, folds)


def check_publishable(fusion: str, parts: Parts) -> None:
    """Raise `ConfigError` if a bundle cannot consist of the systems measured in the folds."""
    if not isinstance(parts.parts.get("face"), ShippedFace):
        raise ConfigError(
            f"{fusion}: its face part is a training run, but a bundle needs a network of single pictures; "
            "fuse again with parts=face-ferplus-seresnet,..."
        )
    for name, part in parts.parts.items():
        if not isinstance(part, TrainedFold):
            continue
        if part.config.model not in LOADABLE[name]:
            raise ConfigError(
                f"{fusion}: its {name} part is {part.config.model}, but bundles can load only "
                f"{' or '.join(LOADABLE[name])} as {name} part"
            )
        if part.config.tags:
            raise ConfigError(
                f"{part.folder}: was trained with marks that recognisers do not write; train with tags=false"
            )


def train_part(folds: Sequence[Any], folder: Path, group: Workers, prepared: Prepared) -> Final:
    """Train one system on all turns for the median of the folds' best epochs."""
    first: TrainedFold = folds[0]
    chosen = [fold.best_epoch for fold in folds]
    changes: dict[str, Any] = {"keep": "last", "patience": 0}
    config = replace(first.config, run=str(folder), fold=ALL, data=str(prepared.folder), **changes)
    run = FinalRun(config, group, prepared, stop=median_epoch(chosen))
    turns = len(run.turns["train"])
    print(f"{first.config.model} on all {turns:,} turns, {run.stop} epochs", flush=True)
    run.go()
    state = load_checkpoint(folder / CHECKPOINT)
    temperature = statistics.geometric_mean(fold.temperature for fold in folds)
    model = build_network(first.config.model, state["settings"])
    words = state.get("vocabulary")
    record = {"epochs_done": run.stop, "best_epochs_of_folds": chosen, "turns": turns}
    return Final(
        _filled(model, result_state(state), temperature),
        first.record | {"fold": "all turns"} | changes | record,
        Vocabulary(tuple(words)) if words else None,
    )


def train_attention(
    config: FuseConfig, folds: Sequence[Parts], folder: Path, group: Workers
) -> Final:
    """Train late attention on out-of-fold predictions; sessions left out select the epoch and calibrate."""
    prepared, first = folds[0].prepared, folds[0]
    joined = concatenated([fold.join("test") for fold in folds])
    sessions = torch.tensor([turn.session for turn in prepared.turns_of(joined.turns)])
    about = {"manifest": prepared.hash, "parts": first.digests}
    shared = (first.own_labels, first.labels, about)
    chosen, logits, targets = [], [], []
    for session in sessions.unique().tolist():
        out = sessions == session
        training, validation = (joined.rows(rows.nonzero()[:, 0]) for rows in (~out, out))
        own = replace(config, run=str(folder / f"without-{session}"), fold=session, half=0)
        run = AttentionRun(own, group, training, validation, *shared)
        print(f"late attention without session {session}, to select the epoch", flush=True)
        run.go()
        state = load_checkpoint(run.folder / CHECKPOINT)
        chosen.append(runs.best_epoch(state, own.keep, run.score))
        model = _filled(build("late-attention", state["settings"]), result_state(state), 1.0)
        assert run.validation is not None
        logits.append(fused_logits(model, run.validation))
        targets.append(run.validation.targets)
    temperature = fit_temperature(torch.cat(logits), torch.cat(targets))
    own = replace(config, run=str(folder / "all"), fold=ALL, half=0, keep="last")
    run = FinalAttention(own, group, joined, None, *shared, stop=median_epoch(chosen))
    print(f"late attention on all {len(joined.turns):,} turns, {run.stop} epochs", flush=True)
    run.go()
    state = load_checkpoint(run.folder / CHECKPOINT)
    model = _filled(build("late-attention", state["settings"]), result_state(state), temperature)
    record = {key: getattr(config, key) for key in RECORDED}
    record |= {
        "epochs_done": run.stop,
        "best_epochs_of_sessions": chosen,
        "turns": len(joined.turns),
    }
    return Final(model, record)


def median_epoch(chosen: Sequence[int]) -> int:
    """Return the median, rounded up."""
    return int(statistics.median(chosen) + 0.5)


def concatenated(parts: Sequence[Joined]) -> Joined:
    """Concatenate the turns of several folds. Raises `DataError` if one occurs twice."""
    turns = [turn for part in parts for turn in part.turns]
    if len(set(turns)) < len(turns):
        raise DataError("a turn is a test turn of two folds; the folds are not of one protocol")
    evidence = {
        name: Evidence(
            torch.cat([part.evidence[name].log_scores for part in parts]),
            torch.cat([part.evidence[name].quality for part in parts]),
        )
        for name in parts[0].evidence
    }
    present, targets = (
        torch.cat([getattr(part, key) for part in parts]) for key in ("present", "targets")
    )
    return Joined(turns, evidence, present, targets)


def _filled(model: Any, state: dict[str, Tensor], temperature: float) -> Any:
    model.load_state_dict(state)
    model.config = replace(model.config, temperature=round(temperature, 4))
    return model.cpu().eval()
