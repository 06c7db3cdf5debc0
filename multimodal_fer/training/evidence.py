"""Files with the scores of trained parts for labelled samples; the fusion trains on them.

Each recipe writes the evidence of its own modality. The files hold no image, sound or text.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from torch import Tensor

from multimodal_fer.errors import DataError
from multimodal_fer.fusion.late_attention import Evidence, log_of
from multimodal_fer.labels import OPEN7
from multimodal_fer.layers.output import Output
from multimodal_fer.utils.files import replacing


@dataclass(frozen=True, eq=False)
class EvidenceSet:
    """Evidence of one modality for N samples, each in C conditions (clean, blurred, noisy, …)."""

    log_scores: Tensor  # (C, N, L) float32, over the part's own labels
    quality: Tensor  # (C, N) float32, see `multimodal_fer.media.quality`
    labels: Tensor  # (N,) int64, indices into `OPEN7`
    conditions: tuple[str, ...]  # C names; the first is the clean one
    part_labels: tuple[str, ...]  # L names
    digest: str  # sha256 of the weights that made it
    people: Tensor  # (N,) int64, whose sample it is: nobody is in training and measurement

    def rows(self, picks: Tensor, conditions: Tensor) -> Evidence:
        """Return the samples `picks` (B,), each in its own condition (B,)."""
        return Evidence(self.log_scores[conditions, picks], self.quality[conditions, picks])

    def save(self, path: str | Path) -> None:
        """Write an .npz file."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            numpy.savez_compressed(
                file,
                log_scores=self.log_scores.numpy(),
                quality=self.quality.numpy(),
                labels=self.labels.numpy(),
                conditions=numpy.array(self.conditions),
                part_labels=numpy.array(self.part_labels),
                label_names=numpy.array(OPEN7),
                digest=numpy.array(self.digest),
                people=self.people.numpy(),
            )

    @classmethod
    def load(cls, path: str | Path) -> "EvidenceSet":
        """Read a file. Raises `DataError` if it cannot be read or has other labels than open7."""
        try:
            with numpy.load(path, allow_pickle=False) as arrays:
                if tuple(arrays["label_names"]) != OPEN7:
                    raise DataError(
                        f"{path}: expected the labels {', '.join(OPEN7)}, found "
                        f"{', '.join(arrays['label_names'])}; make it again"
                    )
                return cls(
                    torch.from_numpy(arrays["log_scores"]),
                    torch.from_numpy(arrays["quality"]),
                    torch.from_numpy(arrays["labels"]),
                    tuple(map(str, arrays["conditions"])),
                    tuple(map(str, arrays["part_labels"])),
                    str(arrays["digest"]),
                    torch.from_numpy(arrays["people"]),
                )
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise DataError(f"{path}: cannot be read ({error}); make it again") from None


def log_scores_of(output: Output, temperature: float) -> Tensor:
    """Return log probabilities (B, L), calibrated, as `analyze` passes them to the fusion."""
    return log_of((output.logits.float() / temperature).softmax(1)).cpu()
