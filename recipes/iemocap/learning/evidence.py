"""What trained parts say of the same turns, side by side for late attention. Nothing of it is written."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from multimodal_fer.errors import ConfigError
from multimodal_fer.fusion.late_attention import SMALLEST, Evidence, log_of
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

Scales = dict[str, tuple[Tensor, Tensor]]  # mean and deviation (D,) of each part's embedding


@dataclass(frozen=True, eq=False)
class Joined:
    """N turns as M parts judge them; rows of an absent part are zeros, and never looked at."""

    turns: list[str]
    evidence: dict[str, Evidence]  # by modality, embedding (N, D) and log_scores (N, K)
    present: Tensor  # (N, M)
    targets: Tensor  # (N,) numbers of the labels

    def rows(self, picks: Tensor) -> "Joined":
        evidence = {
            name: Evidence(part.embedding[picks], part.log_scores[picks])
            for name, part in self.evidence.items()
        }
        turns = [self.turns[pick] for pick in picks.tolist()]
        return Joined(turns, evidence, self.present[picks], self.targets[picks])

    def scaled(self, scales: Scales) -> "Joined":
        """Embeddings around zero, alike in size whatever the part: prosody is in hertz."""
        evidence = {
            name: Evidence((part.embedding - scales[name][0]) / scales[name][1], part.log_scores)
            for name, part in self.evidence.items()
        }
        return Joined(self.turns, evidence, self.present, self.targets)

    def scales(self) -> Scales:
        """Over the turns where each part is present."""
        found = {}
        for number, (name, part) in enumerate(self.evidence.items()):
            embeddings = part.embedding[self.present[:, number] > 0]
            deviation = embeddings.std(0).nan_to_num(1)
            # A value that hardly ever moves here may move elsewhere, and must not count hundredfold then.
            least = max(1e-3, 0.1 * float(deviation.median()))
            found[name] = (embeddings.mean(0), deviation.clamp(min=least))
        return found


class ShippedFace:
    """The package's facial network as it is, its pictures averaged over a turn as `analyze` does.

    Nothing of it is learnt here, so it is the same part in every fold, and in what is published.
    """

    modality = "face"
    labels: tuple[str, ...]

    def __init__(self, name: str, fold: Fold, prepared: Prepared, device: str) -> None:
        self.features = FaceFeatures(prepared, name, choose_device(device))
        self.fold, self.prepared = fold, prepared
        self.labels = tuple(self.features.network.config.labels)
        self.weights_digest = file_hash(find_weights(name) / "model.safetensors")
        self.record = {"weights": find_weights(name).name}

    def judge(self, part: str) -> FoldPrediction:
        """Mean embeddings, and logarithms of mean probabilities over FER+'s labels."""
        turns = [name for name in self.fold.part(part) if self.prepared.has(name, "face")]
        size = self.features.size - len(self.labels)
        means, scores = [torch.zeros(0, size)], [torch.zeros(0, len(self.labels))]
        for turn in turns:
            pictures = self.features.of(turn)
            means.append(pictures[:, :size].mean(0, keepdim=True))
            scores.append(pictures[:, size:].exp().mean(0, keepdim=True))
        return FoldPrediction(turns, log_of(torch.cat(scores)), torch.cat(means))


class Parts:
    """The parts of one fold: one of each modality, trained on the same turns.

    Each name is a run folder, or the weights of a facial network to be taken as it is.
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
        """Each part's own: FER+'s of a shipped face, else those of the answer."""
        return {name: part.labels for name, part in self.parts.items()}

    def join(self, part: str) -> Joined:
        """Every turn of a part of the fold that any of the modalities can judge."""
        return join({name: trained.judge(part) for name, trained in self.parts.items()}, self)

    @property
    def digests(self) -> dict[str, str]:
        """Which weights the evidence is of."""
        return {name: trained.weights_digest for name, trained in self.parts.items()}


def scores_among(log_scores: Tensor, own: Sequence[str], labels: Sequence[str]) -> Tensor:
    """Probabilities (N, K) over `labels` alone, by name: what a part says of others is left out.

    A label that the part does not know (frustration, of a face) gets next to nothing.
    """
    least = torch.full_like(log_scores[:, 0], math.log(SMALLEST))
    columns = [log_scores[:, own.index(label)] if label in own else least for label in labels]
    return torch.stack(columns, dim=1).softmax(1)


def join(judged: Mapping[str, FoldPrediction], parts: Parts) -> Joined:
    """Rows of the same turn side by side."""
    turns = sorted({turn for part in judged.values() for turn in part.turns})
    places = {turn: place for place, turn in enumerate(turns)}
    present = torch.zeros(len(turns), len(judged))
    evidence = {}
    for number, (name, part) in enumerate(judged.items()):
        rows = torch.tensor([places[turn] for turn in part.turns], dtype=torch.long)
        present[rows, number] = 1
        evidence[name] = Evidence(
            torch.zeros(len(turns), part.embeddings.shape[1]).index_copy_(0, rows, part.embeddings),
            torch.zeros(len(turns), part.log_scores.shape[1]).index_copy_(0, rows, part.log_scores),
        )
    goal = make_goal(parts.first.config)
    targets = goal.targets([parts.prepared.rows[turn].turn for turn in turns])
    return Joined(turns, evidence, present, targets)


def check_alike(parts: Sequence[TrainedFold], shipped: Sequence[ShippedFace], number: int) -> None:
    """Parts of other turns would have been trained on turns that the fusion is tested on."""
    if len(parts) + len(shipped) < 2:
        raise ConfigError("parts: expected at least two runs, as parts=RUN,RUN; found one")
    seen: dict[str, Path | str] = {part.modality: part.record["weights"] for part in shipped}
    if len(seen) < len(shipped):
        raise ConfigError("parts: two facial networks are given as weights; give one")
    for part in parts:
        if part.config.target == NUMBERS:
            raise ConfigError(f"{part.folder}: answers with numbers; late attention joins emotions")
        if len(part.system.modalities) != 1:
            raise ConfigError(
                f"{part.folder}: {part.config.model} takes {' and '.join(part.system.modalities)} "
                "together; give parts of one modality each"
            )
        (modality,) = part.system.modalities
        if modality in seen:
            raise ConfigError(
                f"{part.folder} and {seen[modality]}: both judge the {modality}; give one"
            )
        seen[modality] = part.folder
        first = parts[0]
        if part.config.fold != number:
            raise ConfigError(
                f"{part.folder}: was trained on fold {part.config.fold}, whose training turns are tested "
                f"on in fold {number}; put every fold's folder back under its own number"
            )
        for key in ("protocol", "target"):
            own, other = getattr(part.config, key), getattr(first.config, key)
            if own != other:
                raise ConfigError(
                    f"{part.folder}: was trained with {key} {own}, {first.folder} with {other}; parts "
                    "must have been trained on the same turns"
                )
