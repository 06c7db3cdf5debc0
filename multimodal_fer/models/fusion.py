"""Late attention: what the face, the voice and the words say each by itself, weighed and joined.

Shapes: B samples, M modalities in the order of `MODALITIES`, D embedding of a part, W width of the joint
space, K labels of the answer, L labels of a part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from multimodal_fer.labels import MODALITIES, OPEN7

SMALLEST = 1e-6  # a probability whose logarithm is taken counts as at least this
ABSENT = -1e9  # the score of a modality that is not there: its attention becomes zero


@dataclass(frozen=True)
class FusionConfig:
    """What the parts give, and the shape of what joins them; stored as `config.json`."""

    labels: tuple[str, ...] = OPEN7
    embeddings: dict[str, int] = field(default_factory=dict)  # D of each modality's part
    part_labels: dict[str, int] = field(default_factory=dict)  # L of each modality's part
    width: int = 64
    dropout: float = 0.1
    temperature: float = 1.0


class Evidence(NamedTuple):
    """What one part gives for B samples; rows of absent samples may hold anything finite."""

    embedding: Tensor  # (B, D)
    log_scores: Tensor  # (B, L), logarithms of calibrated probabilities


class Fused(NamedTuple):
    """The joint answer."""

    logits: Tensor  # (B, K)
    attention: Tensor  # (B, M), sums to 1 over the modalities that are present
    own_logits: Tensor  # (B, M, K), of each modality by its own head


class LateAttention(nn.Module):
    """Project each modality, score it, and classify the weighted evidence.

    The attention a of the present modalities sums to one, as in additive attention (Bahdanau et al.
    2015, section 3.1, over modalities instead of words). Evidence is then the sum of n**p · a · z over
    the modalities: with p = 1, equal weights and z the log-probabilities that is the product rule of
    independent experts, with p = 0 it is their geometric mean (Kittler et al. 1998, section 2). The
    power p of the number n of present modalities is learnt, so two that agree may count more than one.

    Each modality has a head of its own (auxiliary in training), so none can be left to the others.
    """

    config: FusionConfig

    def __init__(self, config: FusionConfig):
        super().__init__()
        self.config = config
        self.modalities = tuple(name for name in MODALITIES if name in config.embeddings)
        self.projections = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(config.embeddings[name] + config.part_labels[name], config.width),
                    nn.LayerNorm(config.width),
                    nn.GELU(),
                    nn.Dropout(config.dropout),
                    nn.Linear(config.width, config.width),
                )
                for name in self.modalities
            }
        )
        self.shortcuts = nn.ModuleDict(
            {
                name: nn.Linear(config.part_labels[name], config.width, bias=False)
                for name in self.modalities
            }
        )
        self.scorers = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(config.width, config.width), nn.Tanh(), nn.Linear(config.width, 1)
                )
                for name in self.modalities
            }
        )
        self.own_heads = nn.ModuleDict(
            {name: nn.Linear(config.width, len(config.labels)) for name in self.modalities}
        )
        self.power = nn.Parameter(torch.tensor(0.5))
        self.head = nn.Linear(config.width, len(config.labels))

    def forward(self, evidence: Mapping[str, Evidence], present_BM: Tensor) -> Fused:
        """Join what is present; a row of `present_BM` without any gets the head's bias alone."""
        joint = {name: self._project(name, evidence[name]) for name in self.modalities}
        scores_BM = torch.cat([self.scorers[name](joint[name]) for name in self.modalities], dim=1)
        own_BMK = torch.stack([self.own_heads[name](joint[name]) for name in self.modalities], 1)
        joint_BMW = torch.stack([joint[name] for name in self.modalities], dim=1)
        present_BM = present_BM.to(joint_BMW.dtype)
        attention_BM = scores_BM.masked_fill(present_BM == 0, ABSENT).softmax(1) * present_BM
        count_B1 = present_BM.sum(1, keepdim=True).clamp(min=1)
        weights_BM1 = (attention_BM * count_B1**self.power).unsqueeze(2)
        logits_BK = self.head((weights_BM1 * joint_BMW).sum(1))
        return Fused(logits_BK, attention_BM, own_BMK)

    def _project(self, name: str, part: Evidence) -> Tensor:
        """One modality in the joint space (B, W): its log-probabilities, corrected by its embedding."""
        both = torch.cat([part.embedding, part.log_scores], dim=1)
        return self.projections[name](both) + self.shortcuts[name](part.log_scores)


def log_of(scores: Tensor) -> Tensor:
    """Logarithms of probabilities, finite for those of zero."""
    return scores.clamp(min=SMALLEST).log()


def mean_of_scores(scores_BMK: Tensor, present_BM: Tensor) -> Tensor:
    """The baseline without weights: mean probabilities (B, K) over the present modalities."""
    weights_BM1 = present_BM.to(scores_BMK.dtype).unsqueeze(2)
    return (scores_BMK * weights_BM1).sum(1) / weights_BM1.sum(1).clamp(min=1)


def product_rule(scores_BMK: Tensor, present_BM: Tensor, prior_K: Tensor) -> Tensor:
    """Experts that are independent given the label (Kittler et al. 1998, equation 9), as (B, K).

    The prior is in each of n posteriors and counts once: it is divided out n - 1 times.
    """
    present_BM1 = present_BM.to(scores_BMK.dtype).unsqueeze(2)
    evidence_BK = (scores_BMK.clamp(min=1e-9).log() * present_BM1).sum(1)
    spare_B1 = (present_BM1.sum(1) - 1).clamp(min=0)
    return (evidence_BK - spare_B1 * prior_K.log()).softmax(1)


def drop_modalities(present_BM: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Hide present modalities at random in training; every sample keeps at least one that it had."""
    draws_BM = torch.rand(present_BM.shape, generator=generator).to(present_BM.device)
    last_B = draws_BM.masked_fill(present_BM == 0, -1).argmax(1)
    kept_BM = (draws_BM >= rate) | nn.functional.one_hot(last_B, present_BM.shape[1]).bool()
    return present_BM * kept_BM.to(present_BM.dtype)


def fold_labels(
    scores: Tensor, names: Sequence[str], target: Sequence[str], mapping: Mapping[str, str]
) -> Tensor:
    """Sum probabilities (..., L) of one label set into another (..., K) by name."""
    matrix_LK = torch.zeros(len(names), len(target), dtype=scores.dtype, device=scores.device)
    for row, name in enumerate(names):
        matrix_LK[row, target.index(mapping[name])] = 1
    return scores @ matrix_LK
