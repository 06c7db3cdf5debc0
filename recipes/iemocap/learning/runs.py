"""Trained folds: listing, loading, and predictions on a part of their turns."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multimodal_fer.errors import DataError
from multimodal_fer.text.vocabulary import Vocabulary
from multimodal_fer.training.evidence import log_scores_of
from multimodal_fer.training.metrics import fit_temperature
from multimodal_fer.training.run import CHECKPOINT, load_checkpoint, result_state, training_record
from multimodal_fer.utils.devices import choose_device
from recipes.iemocap.corpus.emotions import NUMBERS
from recipes.iemocap.corpus.protocols import Fold, make_folds
from recipes.iemocap.learning.config import TrainConfig
from recipes.iemocap.learning.face_scores import FaceFeatures
from recipes.iemocap.learning.inputs import Reader, encode, predict, texts_of
from recipes.iemocap.learning.systems import SYSTEMS, System, build_network
from recipes.iemocap.learning.targets import make_goal
from recipes.iemocap.preparation.prepared import Prepared


def fold_folder(run: str | Path, number: int) -> Path:
    return Path(run) / f"fold-{number}"


def fold_digest(fold: Fold) -> str:
    """Return a hash of the turns of all parts."""
    return hashlib.sha256(json.dumps(fold.to_dict()).encode()).hexdigest()


def trained_folds(run: str | Path) -> list[int]:
    """Return the numbers of the folds in a run folder. Raises `DataError` if there are none."""
    found = [path for path in Path(run).glob("fold-*") if next(path.rglob(CHECKPOINT), None)]
    if not found:
        raise DataError(
            f"{run}: expected folders fold-0, fold-1 and so on of a training, found none"
        )
    return sorted(int(path.name.removeprefix("fold-")) for path in found)


@dataclass(frozen=True, eq=False)
class FoldPrediction:
    """Predictions for N turns, calibrated on the validation part."""

    turns: list[str]
    log_scores: Tensor  # (N, K); the three numbers themselves if these are the target


class TrainedFold:
    """A trained system of one fold, on the prepared release of its training."""

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
        """Return the modality, or the first one of a system with several."""
        return self.system.modalities[0]

    @property
    def labels(self) -> tuple[str, ...]:
        return self.goal.labels

    def _reader(self, words: list[str] | None, device: torch.device) -> Reader:
        config, reads = self.config, self.system.reads
        tokens, faces = {}, None
        if "tokens" in reads:
            vocabulary = Vocabulary(tuple(words)) if words else None
            tokens = encode(self.model, vocabulary, texts_of(self.prepared, config))
        if "faces" in reads:
            faces = FaceFeatures(self.prepared, config.face_weights, device)
        return Reader(self.prepared, self.system, tokens, faces)

    def _temperature(self) -> float:
        if self.config.target == NUMBERS:
            return 1.0
        turns = self.reader.having(self.fold.validation)
        logits = predict(self.model, self.reader, turns).logits
        return fit_temperature(logits, self.goal.targets(self.prepared.turns_of(turns)))

    def predict(self, part: str) -> FoldPrediction:
        """Predict every turn of a part that has all inputs of the system."""
        turns = self.reader.having(self.fold.part(part))
        output = predict(self.model, self.reader, turns)
        scores = output.logits
        if self.config.target != NUMBERS:
            scores = log_scores_of(output, self.temperature)
        return FoldPrediction(turns, scores)


def best_epoch(state: Mapping[str, Any], keep: str, score: str) -> int:
    """Return the epoch, counted from 1, whose weights are the result of a training."""
    if keep == "last":
        return len(state["epochs"])
    scores = [row[score] for row in state["epochs"]]
    return 1 + scores.index(max(scores))


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of the values of weights."""
    found = hashlib.sha256()
    for name, value in state.items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def load_state(folder: Path, prepared: Prepared) -> dict[str, Any]:
    """Load the checkpoint of a training. Raises `DataError` if it is missing or of another release."""
    try:
        state = load_checkpoint(folder / CHECKPOINT)
    except OSError:
        raise DataError(f"{folder}: expected {CHECKPOINT} of a training, found none") from None
    if state["manifest"] != prepared.hash:
        raise DataError(
            f"{folder}: was trained on another prepared release (manifest {state['manifest'][:12]}) than "
            f"{prepared.folder} ({prepared.hash[:12]}); give the prepared release of the training with data="
        )
    return state


def checked_fold(folder: Path, prepared: Prepared, state: dict[str, Any]) -> Fold:
    """Return the fold of a training. Raises `DataError` if its turns have changed since."""
    config = state["config"]
    fold = make_folds(prepared.turns, config["protocol"], config["target"])[config["fold"]]
    if fold_digest(fold) != state["digest"]:
        raise DataError(f"{folder}: was trained on other turns than fold {config['fold']} has now")
    return fold
