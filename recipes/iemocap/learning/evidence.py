"""Predictions of trained parts on the same turns, as input of late attention; they are never written."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from multimodal_fer.errors import ConfigError
from multimodal_fer.fusion.late_attention import (
    SMALLEST,
    Evidence,
    label_frequencies,
    log_of,
)
from multimodal_fer.hub.registry import find_weights, folder_here
from multimodal_fer.labels import MODALITIES
from multimodal_fer.utils.devices import choose_device
from multimodal_fer.utils.files import file_hash
from recipes.iemocap.corpus.emotions import NUMBERS
from recipes.iemocap.corpus.protocols import Fold
from recipes.iemocap.learning.face_scores import FaceFeatures
from recipes.iemocap.learning.runs import FoldPrediction, TrainedFold, fold_folder
from recipes.iemocap.learning.targets import make_goal
from recipes.iemocap.preparation.prepared import Prepared


@dataclass(frozen=True, eq=False)
class Joined:
    """Predictions of M parts for N turns; rows of an absent part are zeros and not used."""

    turns: list[str]
    evidence: dict[str, Evidence]  # by modality, log_scores (N, L) and quality (N,)
    present: Tensor  # (N, M)
    targets: Tensor  # (N,) label indices

    def rows(self, picks: Tensor) -> "Joined":
        evidence = {
            name: Evidence(part.log_scores[picks], part.quality[picks])
            for name, part in self.evidence.items()
        }
        turns = [self.turns[pick] for pick in picks.tolist()]
        return Joined(turns, evidence, self.present[picks], self.targets[picks])

    def evidence_on(self, device: torch.device) -> dict[str, Evidence]:
        """Return the evidence on a device."""
        return {
            name: Evidence(*(values.to(device) for values in part))
            for name, part in self.evidence.items()
        }

    def frequencies(
        self, own_labels: Mapping[str, Sequence[str]], labels: Sequence[str]
    ) -> dict[str, tuple[float, ...]]:
        """Return how often each part gives each label, over the turns in which it is present."""
        return {
            name: label_frequencies(
                part.log_scores[self.present[:, number] > 0], own_labels[name], labels
            )
            for number, (name, part) in enumerate(self.evidence.items())
        }

    def label_shares(self, count: int) -> tuple[float, ...]:
        """Return the share of each label among the targets, with one more turn of each."""
        counts_K = torch.bincount(self.targets, minlength=count).double() + 1
        return tuple((counts_K / counts_K.sum()).tolist())


class ShippedFace:
    """The package's facial network without training, averaged over a turn's crops as in `analyze`.

    It is the same part in every fold and in the published bundle.
    """

    modality = "face"
    labels: tuple[str, ...]

    def __init__(self, name: str, fold: Fold, prepared: Prepared, device: str) -> None:
        self.features = FaceFeatures(prepared, name, choose_device(device))
        self.fold, self.prepared = fold, prepared
        self.labels = tuple(self.features.network.config.labels)
        self.weights_digest = file_hash(find_weights(name) / "model.safetensors")
        self.record = {"weights": find_weights(name).name}

    def predict(self, part: str) -> FoldPrediction:
        """Return the logarithms of mean probabilities over FER+'s labels."""
        turns = [name for name in self.fold.part(part) if self.prepared.has(name, "face")]
        size = self.features.size - len(self.labels)
        scores = [torch.zeros(0, len(self.labels))]
        scores += [self.features.of(turn)[:, size:].exp().mean(0, keepdim=True) for turn in turns]
        return FoldPrediction(turns, log_of(torch.cat(scores)))


class Parts:
    """The parts of one fold, one per modality, trained on the same turns.

    Each name is a run folder or the weights of a facial network. Raises `ConfigError` for parts that do not
    belong together.
    """

    def __init__(self, names: Sequence[str], number: int, prepared: Prepared, device: str) -> None:
        runs = [name for name in names if not folder_here(name)]
        trained = [TrainedFold(fold_folder(run, number), prepared, device) for run in runs]
        if not trained:
            raise ConfigError("parts: expected at least one run folder of a training, found none")
        self.first = trained[0]
        shipped = [
            ShippedFace(name, self.first.fold, prepared, device)
            for name in names
            if folder_here(name)
        ]
        check_alike(trained, shipped, number)
        by_modality = {part.modality: part for part in (*shipped, *trained)}
        self.parts = {name: by_modality[name] for name in MODALITIES if name in by_modality}
        self.prepared = prepared

    @property
    def fold(self) -> Fold:
        return self.first.fold

    @property
    def labels(self) -> tuple[str, ...]:
        return self.first.goal.labels

    @property
    def own_labels(self) -> dict[str, tuple[str, ...]]:
        """Return each part's labels, which are FER+'s for a shipped face."""
        return {name: part.labels for name, part in self.parts.items()}

    @property
    def digests(self) -> dict[str, str]:
        """Return the hash of each part's weights."""
        return {name: trained.weights_digest for name, trained in self.parts.items()}

    def join(self, part: str) -> Joined:
        """Predict every turn of a part of the fold with all available modalities."""
        return join({name: trained.predict(part) for name, trained in self.parts.items()}, self)


def scores_among(log_scores: Tensor, own: Sequence[str], labels: Sequence[str]) -> Tensor:
    """Return probabilities (N, K) over `labels` only, matched by name with the part's `own` labels.

    A label that the part lacks (frustration, for a face) gets nearly zero.
    """
    least = torch.full_like(log_scores[:, 0], math.log(SMALLEST))
    columns = [log_scores[:, own.index(label)] if label in own else least for label in labels]
    return torch.stack(columns, dim=1).softmax(1)


def join(predictions: Mapping[str, FoldPrediction], parts: Parts) -> Joined:
    """Align the predictions of all parts by turn."""
    turns = sorted({turn for part in predictions.values() for turn in part.turns})
    places = {turn: place for place, turn in enumerate(turns)}
    present = torch.zeros(len(turns), len(predictions))
    evidence = {}
    for number, (name, part) in enumerate(predictions.items()):
        rows = torch.tensor([places[turn] for turn in part.turns], dtype=torch.long)
        present[rows, number] = 1
        log_scores = torch.zeros(len(turns), part.log_scores.shape[1])
        log_scores.index_copy_(0, rows, part.log_scores)
        evidence[name] = Evidence(log_scores, torch.ones(len(turns)))
    targets = make_goal(parts.first.config).targets(parts.prepared.turns_of(turns))
    return Joined(turns, evidence, present, targets)


def check_alike(parts: Sequence[TrainedFold], shipped: Sequence[ShippedFace], number: int) -> None:
    """Check that parts have different modalities and the same fold, protocol and target."""
    if len(parts) + len(shipped) < 2:
        raise ConfigError("parts: expected at least two runs, as parts=RUN,RUN; found one")
    known: dict[str, Path | str] = {part.modality: part.record["weights"] for part in shipped}
    if len(known) < len(shipped):
        raise ConfigError("parts: expected one facial network as weights, found two; give one")
    first = parts[0]
    for part in parts:
        if part.config.target == NUMBERS:
            raise ConfigError(
                f"{part.folder}: predicts dimensions; late attention needs parts that predict emotions"
            )
        if len(part.system.modalities) != 1:
            raise ConfigError(
                f"{part.folder}: {part.config.model} takes {' and '.join(part.system.modalities)} "
                "together; give parts of one modality each"
            )
        (modality,) = part.system.modalities
        if modality in known:
            raise ConfigError(
                f"{part.folder} and {known[modality]}: both are {modality} parts; give one"
            )
        known[modality] = part.folder
        if part.config.fold != number:
            raise ConfigError(
                f"{part.folder}: was trained on fold {part.config.fold}, whose training turns are test "
                f"turns of fold {number}; move every fold's folder back to its own number"
            )
        for key in ("protocol", "target"):
            own, other = getattr(part.config, key), getattr(first.config, key)
            if own != other:
                raise ConfigError(
                    f"{part.folder}: was trained with {key} {own}, {first.folder} with {other}; parts "
                    "must have been trained on the same turns"
                )
