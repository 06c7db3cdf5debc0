"""Train late attention over a face, a voice and a text system, fold by fold.

    python -m recipes.iemocap.fuse data=runs/iemocap run=runs/iemocap-fusion
        parts=face-ferplus-seresnet,runs/iemocap-speech,runs/iemocap-words [fold=0|all]

Fold k joins the parts' folds k, which must have the same prepared release, protocol, target and turns. The
face may be weights without further training, as in a bundle, or a run of the system `face`.

The parts are overconfident on their own training turns, the most overfitted one most of all, and late
attention trained there would trust it most. It is therefore trained on the validation part by two-way
cross-fitting: the speakers (the dialogs, if there is one speaker) are split into two halves; one network
learns from the first half while the second selects its epoch and calibrates it, another one the other way
round; the prediction is the mean of both. The parts' own epochs and temperatures were selected on the same
validation part, one number each. The test part is not used. Modalities are dropped at random, so that every
combination is learnt. The prior is the share of each label in the turns that it learns from.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.fusion.late_attention import LateAttention, drop_modalities
from multimodal_fer.hub.registry import folder_here
from multimodal_fer.models import build
from multimodal_fer.training.config import load_config
from multimodal_fer.training.distributed import Workers, seed_everything, workers
from multimodal_fer.training.metrics import classification_report, fit_temperature
from multimodal_fer.training.run import (
    CHECKPOINT,
    Run,
    decayed_apart,
    load_checkpoint,
    result_state,
    training_record,
)
from multimodal_fer.utils.command_line import run_command
from recipes.iemocap.learning.config import split_words
from recipes.iemocap.learning.evidence import Joined, Parts
from recipes.iemocap.learning.runs import fold_digest, fold_folder, load_state, trained_folds
from recipes.iemocap.preparation.prepared import Prepared, load_prepared
from recipes.iemocap.train import fold_numbers

DEFAULT = Path(__file__).parent / "systems" / "fusion.toml"
HALVES = (0, 1)


@dataclass(frozen=True)
class FuseConfig:
    """The parts and the settings of the training."""

    data: str = "runs/iemocap"
    run: str = "runs/iemocap-fusion"  # folder of the folds; of half a fold while it is trained
    parts: str = ""  # run folders, or a facial network's weights, separated by commas
    fold: int = 0
    half: int = 0  # of the validation part, used for training
    missing: float = 0.3  # share of the modalities that are dropped
    epochs: int = 60
    batch: int = 64
    learning_rate: float = 1e-2
    weight_decay: float = 5e-2
    average_decay: float = 0.98
    keep: str = "best"
    patience: int = 0
    seed: int = 1
    device: str = "auto"

    @property
    def runs(self) -> list[str]:
        return [part for part in self.parts.split(",") if part]


def split_halves(joined: Joined, prepared: Prepared) -> tuple[Tensor, Tensor]:
    """Return the rows of two halves without common speakers, or dialogs if there is only one speaker.

    Raises `DataError` for a single dialog.
    """
    turns = prepared.turns_of(joined.turns)
    groups = [turn.speaker for turn in turns]
    if len(set(groups)) == 1:
        groups = [turn.dialog for turn in turns]
    order = sorted(set(groups))
    if len(order) < 2:
        raise DataError("the validation part has one dialog; it cannot be split into two halves")
    first = torch.tensor([order.index(group) % 2 == 0 for group in groups])
    return first.nonzero()[:, 0], (~first).nonzero()[:, 0]


class AttentionRun(Run):
    """The training of late attention on some turns; others, if given, select the epoch."""

    score = "valid_log_likelihood"  # accuracy has too few distinct values on half a part

    def __init__(
        self,
        config: FuseConfig,
        group: Workers,
        training: Joined,
        validation: Joined | None,
        own_labels: Mapping[str, Sequence[str]],
        labels: Sequence[str],
        about: Mapping[str, Any],
    ) -> None:
        super().__init__(config, group)
        seed_everything(config.seed)
        self.training, self.validation = training, validation
        self.about |= {
            **about,
            "settings": {
                "labels": list(labels),
                "part_labels": {name: own_labels[name] for name in training.evidence},
                "frequencies": training.frequencies(own_labels, labels),
                "prior": training.label_shares(len(labels)),
            },
        }
        self.model = build("late-attention", self.about["settings"]).to(group.device)
        self.average = self.averaged(self.model)
        self.optimizer = AdamW(decayed_apart(self.model, config.weight_decay), config.learning_rate)
        steps = math.ceil(len(self.training.turns) / config.batch)
        self.schedule = OneCycleLR(
            self.optimizer, config.learning_rate, total_steps=steps * config.epochs
        )

    def resume(self) -> None:
        """Continue. Raises `ConfigError` if the parts are other ones."""
        if (self.folder / CHECKPOINT).exists():
            check_parts(self.folder, load_checkpoint(self.folder / CHECKPOINT), self.about["parts"])
        super().resume()

    def train_epoch(self) -> float:
        config, epoch = self.config, len(self.epochs)
        seed_everything(config.seed * 1000 + epoch)
        generator = torch.Generator().manual_seed(config.seed * 1000 + epoch)
        self.model.train()
        total = 0.0
        order = torch.randperm(len(self.training.turns), generator=generator)
        for picks in order.split(config.batch):
            loss = self.loss(self.training.rows(picks), generator)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            self.average.update_parameters(self.model)
            total += loss.item() * len(picks)
        return total / len(order)

    def loss(self, batch: Joined, generator: torch.Generator) -> Tensor:
        """Return the cross-entropy of the joint prediction."""
        device = self.group.device
        present_BM = drop_modalities(batch.present, self.config.missing, generator).to(device)
        fused = self.model(batch.evidence_on(device), present_BM)
        return functional.cross_entropy(fused.logits, batch.targets.to(device))

    def validate(self) -> dict[str, float]:
        if self.validation is None:
            return {}
        logits, targets = fused_logits(self.result, self.validation), self.validation.targets
        labels = self.about["settings"]["labels"]
        report = classification_report(logits.softmax(1).numpy(), targets.numpy(), labels)
        return {
            "valid_accuracy": report["accuracy"],
            "valid_uar": report["uar"],
            "valid_log_likelihood": -functional.cross_entropy(logits, targets).item(),
        }


class HalfRun(AttentionRun):
    """A training on half a validation part; the other half selects the epoch."""

    def __init__(
        self, config: FuseConfig, group: Workers, parts: Parts, validation: Joined
    ) -> None:
        halves = split_halves(validation, parts.prepared)
        own, other = (validation.rows(halves[half]) for half in (config.half, 1 - config.half))
        about = {
            "manifest": parts.prepared.hash,
            "digest": fold_digest(parts.fold),
            "parts": parts.digests,
        }
        super().__init__(config, group, own, other, parts.own_labels, parts.labels, about)


@torch.no_grad()
def fused_logits(model: nn.Module, joined: Joined, present: Tensor | None = None) -> Tensor:
    """Return logits (N, K) of the turns; `present` (N, M) may exclude modalities."""
    model.eval()
    device = next(model.parameters()).device
    present = joined.present if present is None else present
    return model(joined.evidence_on(device), present.to(device)).logits.float().cpu()


def check_parts(folder: Path, state: Mapping[str, Any], digests: Mapping[str, str]) -> None:
    """Raise `ConfigError` if the weights of the parts are not those that late attention was trained on."""
    before = dict(state["parts"])
    if before != dict(digests):
        names = sorted({*before, *digests})
        changed = [name for name in names if before.get(name) != digests.get(name)]
        raise ConfigError(
            f"{folder}: was trained on other weights of {', '.join(changed)}; use another folder, or the "
            "parts that it was trained on"
        )


class FusedFold:
    """Both networks of a fold's fusion, with their parts."""

    def __init__(self, run: str | Path, number: int, prepared: Prepared, device: str = "auto"):
        folders = [fold_folder(run, number) / f"half-{half}" for half in HALVES]
        states = [load_state(folder, prepared) for folder in folders]
        self.config = FuseConfig(**states[0]["config"])
        names = [Path(part).name for part in self.config.runs]
        self.record = training_record(states[0]) | {"parts": names}
        self.parts = Parts(self.config.runs, number, prepared, device)
        self.fold, self.labels = self.parts.fold, self.parts.labels
        validation = self.parts.join("validation")
        halves = split_halves(validation, prepared)
        self.networks = []
        for folder, state, half in zip(folders, states, HALVES, strict=True):
            check_parts(folder, state, self.parts.digests)
            model: LateAttention = build("late-attention", state["settings"])
            model.load_state_dict(result_state(state))
            other = validation.rows(halves[1 - half])
            temperature = fit_temperature(fused_logits(model, other), other.targets)
            self.networks.append((model, temperature))

    @property
    def parameters(self) -> int:
        """Return the number of parameters of late attention, without those of the parts."""
        return sum(weights.numel() for model, _ in self.networks for weights in model.parameters())

    def probabilities(self, joined: Joined, present: Tensor | None = None) -> Tensor:
        """Return the mean probabilities (N, K) of both networks."""
        scores = [
            (fused_logits(model, joined, present) / temperature).softmax(1)
            for model, temperature in self.networks
        ]
        return torch.stack(scores).mean(0)


def fuse(config: FuseConfig, folds: str = "all") -> Path:
    """Train both halves of folds, or continue; return the folder that holds the folds."""
    if not config.runs:
        raise ConfigError(
            "parts: expected run folders, as parts=runs/iemocap-face,runs/iemocap-speech"
        )
    prepared = load_prepared(config.data)
    available = [set(trained_folds(run)) for run in config.runs if not folder_here(run)]
    if not available:
        raise ConfigError("parts: expected at least one run folder of a training, found none")
    common = sorted(set.intersection(*available))
    numbers = common if folds == "all" else fold_numbers(folds, max(common, default=0) + 1)
    if missing := set(numbers or [0]) - set(common):
        raise ConfigError(f"fold {min(missing)}: not every part has been trained on it")
    with workers(config.device) as group:
        for number in numbers:
            parts = Parts(config.runs, number, prepared, config.device)
            validation = parts.join("validation")
            for half in HALVES:
                folder = fold_folder(config.run, number) / f"half-{half}"
                own = replace(config, run=str(folder), fold=number, half=half)
                print(f"fold {number} ({parts.fold.name}), half {half}", flush=True)
                HalfRun(own, group, parts, validation).go()
    return Path(config.run)


def main(*words: str) -> None:
    """Run the command."""
    options, rest = split_words(words, fold="all")
    fuse(load_config(FuseConfig, DEFAULT, rest), options["fold"])


if __name__ == "__main__":
    run_command(main, __doc__, 1, more=True)
