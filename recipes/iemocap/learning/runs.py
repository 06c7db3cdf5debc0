"""Trained folds: found, opened again, and asked about a part of their fold."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multimodal_fer.errors import DataError
from multimodal_fer.layers.output import Output
from multimodal_fer.text.vocabulary import Vocabulary
from multimodal_fer.training.evidence import log_scores_of
from multimodal_fer.training.metrics import fit_temperature
from multimodal_fer.training.run import CHECKPOINT, load_checkpoint, result_state, training_record
from multimodal_fer.utils.devices import choose_device
from recipes.iemocap.corpus.emotions import NUMBERS
from recipes.iemocap.corpus.protocols import Fold, deal_folds
from recipes.iemocap.learning.config import TrainConfig
from recipes.iemocap.learning.face_scores import FaceFeatures
from recipes.iemocap.learning.inputs import Reader, encode, judge, texts_of
from recipes.iemocap.learning.systems import SYSTEMS, System, build_network
from recipes.iemocap.learning.targets import make_goal
from recipes.iemocap.preparation.prepared import Prepared


def fold_folder(run: str | Path, number: int) -> Path:
    return Path(run) / f"fold-{number}"


def fold_digest(fold: Fold) -> str:
    """The same where the same turns train, validate and test."""
    return hashlib.sha256(json.dumps(fold.to_dict()).encode()).hexdigest()


def trained_folds(run: str | Path) -> list[int]:
    """Numbers of the folds that a run folder holds; raises `DataError` where there is none."""
    found = [path for path in Path(run).glob("fold-*") if next(path.rglob(CHECKPOINT), None)]
    if not found:
        raise DataError(
            f"{run}: expected folders fold-0, fold-1 and so on of a training, found none"
        )
    return sorted(int(path.name.removeprefix("fold-")) for path in found)


@dataclass(frozen=True, eq=False)
class FoldPrediction:
    """What a system says of turns: log scores are calibrated on the validation part."""

    turns: list[str]
    log_scores: Tensor  # (N, K); the three numbers themselves where these are the target
    embeddings: Tensor  # (N, D)


class TrainedFold:
    """A finished training of one fold, on the prepared release that it was trained on."""

    def __init__(self, folder: Path, prepared: Prepared, device: str = "auto") -> None:
        state = load_state(folder, prepared)
        self.folder, self.prepared = folder, prepared
        self.config = TrainConfig(**state["config"])
        self.record = training_record(state)
        self.best_epoch = best_epoch(state, self.config.keep, self.config.score)
        self.system: System = SYSTEMS[self.config.model]
        self.goal = make_goal(self.config)
        self.fold = checked_fold(folder, prepared, state)
        self.model = build_network(self.config.model, state["settings"])
        self.model.load_state_dict(result_state(state))
        chosen = choose_device(device)
        self.model.to(chosen).eval()
        self.weights_digest = state_digest(self.model.state_dict())
        self.parameters = sum(weights.numel() for weights in self.model.parameters())
        self.reader = self._reader(state.get("vocabulary"), chosen)
        self.temperature = self._temperature()

    @property
    def modality(self) -> str:
        """The first where a system takes several together."""
        return self.system.modalities[0]

    @property
    def labels(self) -> tuple[str, ...]:
        return self.goal.labels

    def _reader(self, words: list[str] | None, device: torch.device) -> Reader:
        config, reads = self.config, self.system.reads
        tokens, faces = {}, None
        if "tokens" in reads:
            texts = texts_of(self.prepared, config)
            vocabulary = Vocabulary(tuple(words)) if words else None
            tokens = encode(self.model, vocabulary, texts)
        if "faces" in reads:
            faces = FaceFeatures(self.prepared, config.face_weights, device)
        return Reader(self.prepared, self.system, tokens, faces)

    def _temperature(self) -> float:
        if self.config.target == NUMBERS:
            return 1.0
        turns = self.reader.having(self.fold.validation)
        logits = judge(self.model, self.reader, turns).logits
        targets = self.goal.targets([self.prepared.rows[turn].turn for turn in turns])
        return fit_temperature(logits, targets)

    def judge(self, part: str) -> FoldPrediction:
        """Every turn of a part that has what the system needs."""
        turns = self.reader.having(self.fold.part(part))
        output = judge(self.model, self.reader, turns)
        return FoldPrediction(turns, self._scores(output), output.embedding)

    def _scores(self, output: Output) -> Tensor:
        if self.config.target == NUMBERS:
            return output.logits
        return log_scores_of(output, self.temperature)


def best_epoch(state: Mapping[str, Any], keep: str, score: str) -> int:
    """After how many epochs the weights that a training came to were taken."""
    if keep == "last":
        return len(state["epochs"])
    scores = [row[score] for row in state["epochs"]]
    return 1 + scores.index(max(scores))


def state_digest(state: Mapping[str, Tensor]) -> str:
    """sha256 of weights, whatever file they are in."""
    found = hashlib.sha256()
    for name, value in state.items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def load_state(folder: Path, prepared: Prepared) -> dict[str, Any]:
    """The checkpoint of a training on this prepared release."""
    try:
        state = load_checkpoint(folder / CHECKPOINT)
    except OSError:
        raise DataError(f"{folder}: expected {CHECKPOINT} of a training, found none") from None
    if state["manifest"] != prepared.hash:
        raise DataError(
            f"{folder}: was trained on another prepared release (manifest {state['manifest'][:12]}) than "
            f"{prepared.folder} ({prepared.hash[:12]}); name the one that it was trained on with data="
        )
    return state


def checked_fold(folder: Path, prepared: Prepared, state: dict[str, Any]) -> Fold:
    """The fold of a training, whose turns must be the same as then and whose folder is its own."""
    config = state["config"]
    folds = deal_folds(prepared.turns, config["protocol"], config["target"])
    fold = folds[config["fold"]]
    if fold_digest(fold) != state["digest"]:
        raise DataError(f"{folder}: was trained on other turns than fold {config['fold']} has now")
    return fold
