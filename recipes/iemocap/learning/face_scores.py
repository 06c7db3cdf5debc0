"""Features of every face crop from a frozen facial network, computed once for a prepared release.

The features are the embedding and the log probabilities of the network's labels. They are stored in the
prepared release, one file per dialog, in a folder named by the hash of the weights.
"""

from pathlib import Path

import numpy
import torch
from torch import Tensor

from multimodal_fer.hub.loading import load_model
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.training.evidence import log_scores_of
from multimodal_fer.utils.files import file_hash, replacing
from recipes.iemocap.preparation.prepared import Prepared
from recipes.iemocap.preparation.store import writing

BATCH = 256  # crops


class FaceFeatures:
    """Features (C, D) of a turn's C crops, computed and read dialog by dialog."""

    def __init__(self, prepared: Prepared, weights: str, device: torch.device) -> None:
        folder = find_weights(weights)
        self.prepared, self.device = prepared, device
        self.network = load_model(folder).to(device).eval()
        digest = file_hash(folder / "model.safetensors")[:16]
        self.folder = prepared.folder / f"faces-{digest}"
        self._features: dict[str, dict[str, Tensor]] = {}  # of each turn, by dialog
        self._turns = prepared.turns_by_dialog("face")

    @property
    def size(self) -> int:
        return self.network.head.in_features + len(self.network.config.labels)

    def of(self, turn: str) -> Tensor:
        """Return the features of a turn that has a face."""
        dialog = self.prepared.rows[turn].turn.dialog
        if dialog not in self._features:
            path = self.folder / f"{dialog}.npz"
            self._features[dialog] = self._read(path, dialog) or self._make(path, dialog)
        return self._features[dialog][turn].float()

    def _digests(self, dialog: str) -> list[str]:
        return [self.prepared.rows[name].digest for name in self._turns[dialog]]

    def _read(self, path: Path, dialog: str) -> dict[str, Tensor] | None:
        """Return stored features of the same crops; None without a complete file."""
        try:
            with numpy.load(path, allow_pickle=False) as arrays:
                if list(arrays["digests"]) != self._digests(dialog):
                    return None
                features, edges = torch.from_numpy(arrays["features"]), arrays["edges"].tolist()
        except (OSError, ValueError, KeyError, EOFError):
            return None
        return dict(zip(self._turns[dialog], features.tensor_split(edges), strict=True))

    def _make(self, path: Path, dialog: str) -> dict[str, Tensor]:
        names = self._turns[dialog]
        crops = [self.prepared.crops(name) for name in names]
        pieces = [of_turn for of_turn in crops if of_turn is not None]
        edges = numpy.cumsum([len(of_turn) for of_turn in pieces])[:-1]
        features = self._predict(torch.from_numpy(numpy.concatenate(pieces))).half()
        with writing(path):
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as temporary, temporary.open("wb") as file:
                digests = numpy.array(self._digests(dialog))
                numpy.savez(file, features=features.numpy(), edges=edges, digests=digests)
        return dict(zip(names, features.tensor_split(edges.tolist()), strict=True))

    @torch.inference_mode()
    def _predict(self, crops_BHW: Tensor) -> Tensor:
        found = []
        for some in crops_BHW.split(BATCH):
            output = self.network(some.to(self.device))
            scores = log_scores_of(output, self.network.config.temperature)
            found.append(torch.cat([output.embedding.float().cpu(), scores], dim=1))
        return torch.cat(found)
