"""Weights from all turns, to be published: no turn is left to measure them with, so folds were measured
before.

The voice and the text system are trained anew on every session, with the settings and the schedule of the
folds, for the median of the epochs that the folds' validation parts chose. Their temperatures are the
geometric means of the folds'. The face is the package's own network, as in the folds.

Late attention learns from answers out of fold (stacked generalisation, Wolpert 1992): each turn as the
networks of the fold that tested on it judged it, neither trained, stopped nor calibrated on that turn.
Embeddings of networks that were trained apart are different spaces, so of the voice and the words the
scores alone are read; of the face, which is one network throughout, the embedding as well. Each session
in turn is left out to choose the epoch, and the median counts; the temperature is fitted on the answers
to the sessions left out, all together.

Figures are those of the folds, in which fewer turns taught the same kind of parts and fusion.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.fusion.late_attention import Evidence, LateAttention
from multimodal_fer.models import build
from multimodal_fer.text.vocabulary import Vocabulary
from multimodal_fer.training.distributed import Workers, workers
from multimodal_fer.training.metrics import fit_temperature
from multimodal_fer.training.run import CHECKPOINT, Run, load_checkpoint, result_state
from recipes.iemocap.fuse import HALVES, AttentionRun, FuseConfig, check_parts, fused_logits
from recipes.iemocap.learning.config import ALL, TrainConfig
from recipes.iemocap.learning.evidence import Joined, Parts, ShippedFace
from recipes.iemocap.learning.runs import (
    TrainedFold,
    best_epoch,
    fold_folder,
    load_state,
    trained_folds,
)
from recipes.iemocap.learning.systems import build_network
from recipes.iemocap.preparation.prepared import Prepared
from recipes.iemocap.train import FoldRun

READABLE = {"voice": ("speech", "are"), "text": ("words",)}  # systems that `analyze` can load


@dataclass(frozen=True, eq=False)
class Final:
    """One network that was trained on all turns."""

    model: Any
    temperature: float
    record: dict[str, Any]  # of its training, for the config
    vocabulary: Vocabulary | None = None


@dataclass(frozen=True, eq=False)
class FinalSystem:
    """All that a bundle is made of."""

    labels: tuple[str, ...]
    face: str  # weights that were taken as they are
    parts: dict[str, Final]  # voice and text
    fusion: Final
    folds: list[Parts]


class _Ending(Run):
    """A training that ends after a given epoch of its schedule; nothing validates it."""

    stop: int

    def resume(self) -> None:
        check_stop(self.folder, self.stop)
        super().resume()

    @property
    def finished(self) -> bool:
        return len(self.epochs) >= self.stop


class FinalRun(_Ending, FoldRun):
    """One system on all turns."""

    def __init__(self, config: TrainConfig, group: Workers, prepared: Prepared, stop: int) -> None:
        super().__init__(config, group, prepared)
        self.stop = self.about["stop"] = stop


class FinalAttention(_Ending, AttentionRun):
    """Late attention over all turns."""

    def __init__(self, *arguments: Any, stop: int) -> None:
        super().__init__(*arguments)
        self.stop = self.about["stop"] = stop


def check_stop(folder: Path, stop: int) -> None:
    """Other folds may choose another epoch; what went on to a later one cannot go back."""
    if not (folder / CHECKPOINT).exists():
        return
    if (before := load_checkpoint(folder / CHECKPOINT)["stop"]) != stop:
        raise ConfigError(
            f"{folder}: was to end after epoch {before}, the folds now say {stop}; use another folder"
        )


def train_final(
    fusion: str, run: str | Path, prepared: Prepared, device: str = "auto"
) -> FinalSystem:
    """Train all that a bundle needs on every turn, or continue; the folds must be trained and fused."""
    numbers = trained_folds(fusion)
    states = [
        load_state(fold_folder(fusion, number) / f"half-{half}", prepared)
        for number in numbers
        for half in HALVES
    ]
    config = FuseConfig(**states[0]["config"])
    folds = [Parts(config.runs, number, prepared, device) for number in numbers]
    for place, parts in enumerate(folds):
        check_parts(fold_folder(fusion, numbers[place]), states[2 * place], parts.digests)
    check_publishable(fusion, config, folds[0])
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


def check_publishable(fusion: str, config: FuseConfig, parts: Parts) -> None:
    """Whether a bundle can be what was measured in the folds."""
    if not isinstance(parts.parts.get("face"), ShippedFace):
        raise ConfigError(
            f"{fusion}: its face is no weights folder; a bundle looks at pictures one by one, so fuse "
            "again with parts=face-ferplus-seresnet,..."
        )
    for name, part in parts.parts.items():
        if not isinstance(part, TrainedFold):
            continue
        if part.config.model not in READABLE[name]:
            raise ConfigError(
                f"{fusion}: its {name} is {part.config.model}, and bundles are loaded with "
                f"{' or '.join(READABLE[name])} as the {name}"
            )
        if name not in config.scores_only:
            raise ConfigError(
                f"{fusion}: reads the embeddings of the {name}, which differ from fold to fold; fuse "
                'again with scores_only=["voice","text"]'
            )
        if part.config.tags:
            raise ConfigError(
                f"{part.folder}: reads marks that no recogniser writes; use tags=false"
            )


def train_part(folds: Sequence[Any], folder: Path, group: Workers, prepared: Prepared) -> Final:
    """One system on all turns, for the median of the folds' best epochs."""
    first: TrainedFold = folds[0]
    chosen = [fold.best_epoch for fold in folds]
    config = replace(first.config, run=str(folder), fold=ALL, keep="last", patience=0)
    config = replace(config, data=str(prepared.folder))
    run = FinalRun(config, group, prepared, stop=median_epoch(chosen))
    print(
        f"{first.config.model} on all {len(run.turns['train']):,} turns, {run.stop} epochs",
        flush=True,
    )
    run.go()
    state = load_checkpoint(folder / CHECKPOINT)
    temperature = statistics.geometric_mean(fold.temperature for fold in folds)
    model = build_network(first.config.model, state["settings"])
    words = state.get("vocabulary")
    return Final(
        _filled(model, result_state(state), temperature),
        temperature,
        first.record
        | {
            "fold": "all turns",
            "keep": "last",
            "patience": 0,
            "epochs_done": run.stop,
            "best_epochs_of_folds": chosen,
            "turns": len(run.turns["train"]),
        },
        Vocabulary(tuple(words)) if words else None,
    )


def train_attention(
    config: FuseConfig, folds: Sequence[Parts], folder: Path, group: Workers
) -> Final:
    """Late attention on answers out of fold; sessions left out choose the epoch and calibrate."""
    prepared, first = folds[0].prepared, folds[0]
    joined = concatenated([fold.join("test") for fold in folds])
    sessions = torch.tensor([prepared.rows[name].turn.session for name in joined.turns])
    about = {"manifest": prepared.hash, "parts": first.digests}
    chosen, logits, targets = [], [], []
    for session in sessions.unique().tolist():
        out = sessions == session
        learnt, choosing = (joined.rows(rows.nonzero()[:, 0]) for rows in (~out, out))
        own = replace(config, run=str(folder / f"without-{session}"), fold=session, half=0)
        run = AttentionRun(own, group, learnt, choosing, first.own_labels, first.labels, about)
        print(f"late attention without session {session}, to choose the epoch", flush=True)
        run.go()
        state = load_checkpoint(run.folder / CHECKPOINT)
        chosen.append(best_epoch(state, own.keep, run.score))
        model = _filled(build("late-attention", state["settings"]), result_state(state), 1.0)
        assert run.choosing is not None
        logits.append(fused_logits(model, run.choosing))
        targets.append(run.choosing.targets)
    temperature = fit_temperature(torch.cat(logits), torch.cat(targets))
    own = replace(config, run=str(folder / "all"), fold=ALL, half=0, keep="last")
    arguments = (own, group, joined, None, first.own_labels, first.labels, about)
    run = FinalAttention(*arguments, stop=median_epoch(chosen))
    print(f"late attention on all {len(joined.turns):,} turns, {run.stop} epochs", flush=True)
    run.go()
    state = load_checkpoint(run.folder / CHECKPOINT)
    model = _filled(build("late-attention", state["settings"]), result_state(state), temperature)
    unscale(model, state["scales"])
    kept = ("scores_only", "width", "dropout", "noise", "missing", "own_loss", "epochs", "batch")
    record = {key: getattr(config, key) for key in kept}
    record |= {
        "epochs_done": run.stop,
        "best_epochs_of_sessions": chosen,
        "turns": len(joined.turns),
    }
    return Final(model, temperature, record)


def median_epoch(chosen: Sequence[int]) -> int:
    """Half-way epochs of an even number are rounded up."""
    return int(statistics.median(chosen) + 0.5)


def concatenated(parts: Sequence[Joined]) -> Joined:
    """Turns of several folds one after the other. Raises `DataError` where one comes twice."""
    turns = [turn for part in parts for turn in part.turns]
    if len(set(turns)) < len(turns):
        raise DataError("a turn is tested on in two folds; the folds are not of one protocol")
    evidence = {
        name: Evidence(
            torch.cat([part.evidence[name].embedding for part in parts]),
            torch.cat([part.evidence[name].log_scores for part in parts]),
        )
        for name in parts[0].evidence
    }
    present, targets = (
        torch.cat([getattr(p, key) for p in parts]) for key in ("present", "targets")
    )
    return Joined(turns, evidence, present, targets)


@torch.no_grad()
def unscale(model: LateAttention, scales: Mapping[str, Sequence[Tensor]]) -> None:
    """Let the network read embeddings as parts give them, with the same answers."""
    for name, (mean, deviation) in scales.items():
        if name in model.config.scores_only:
            continue
        linear: Any = model.projections[name][1]  # type: ignore[index]
        linear.weight[:, : len(mean)] /= deviation
        linear.bias -= linear.weight[:, : len(mean)] @ mean


def _filled(model: Any, state: dict[str, Tensor], temperature: float) -> Any:
    model.load_state_dict(state)
    model.config = replace(model.config, temperature=round(temperature, 4))
    return model.cpu().eval()
