"""Late attention: what the face, the voice and the words say each by itself, weighed and joined.

Shapes: B samples, M modalities in the order of `MODALITIES`, D embedding of a part, W hidden width,
K labels of the answer, L labels of a part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from multimodal_fer.labels import MODALITIES, OPEN7

SMALLEST = 1e-6  # a probability whose logarithm is taken counts as at least this


@dataclass(frozen=True)
class FusionConfig:
    """What the parts give, and the shape of what joins them; stored as `config.json`."""

    labels: tuple[str, ...] = OPEN7
    embeddings: dict[str, int] = field(default_factory=dict)  # D of each modality's part
    part_labels: dict[str, int] = field(default_factory=dict)  # L of each modality's part
    scores_only: tuple[str, ...] = ()  # modalities whose embeddings are not read
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
    attention: Tensor  # (B, M), sums to 1 over the modalities that are present and say anything
    own_logits: Tensor  # (B, M, K), of each modality by its own head


class LateAttention(nn.Module):
    """Turn each modality into evidence for the labels, weigh it, and add it up.

    A modality's evidence is a vector over the labels: its log-probabilities, corrected by what its
    embedding says, times a gate that says how far to trust it. The sum over the present modalities is
    the product rule of independent experts (Kittler et al. 1998, section 2) where all gates are one;
    divided by a learnt power of their number it leans towards their geometric mean.

    The attention to a modality is its evidence's share of all evidence, by length. A softmax of scores
    (Bahdanau et al. 2015, section 3.1) was tried first: evidence can grow and shrink by itself, so its
    weights stayed at a third each and said nothing.

    Each modality has its own loss in training, so none can be left to the others.
    """

    config: FusionConfig

    def __init__(self, config: FusionConfig):
        super().__init__()
        self.config = config
        self.modalities = tuple(name for name in MODALITIES if name in config.embeddings)
        count = len(config.labels)
        self.projections = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Dropout(config.dropout),
                    nn.Linear(config.embeddings[name] + config.part_labels[name], config.width),
                    nn.LayerNorm(config.width),
                    nn.GELU(),
                    nn.Dropout(config.dropout),
                )
                for name in self.modalities
            }
        )
        self.shortcuts = nn.ModuleDict(
            {name: nn.Linear(config.part_labels[name], count) for name in self.modalities}
        )
        self.corrections = nn.ModuleDict(
            {name: nn.Linear(config.width, count) for name in self.modalities}
        )
        self.gates = nn.ModuleDict({name: nn.Linear(config.width, 1) for name in self.modalities})
        self.power = nn.Parameter(torch.tensor(0.0))
        self.prior = nn.Parameter(torch.zeros(count))
        self._start_as_product_rule()

    @torch.no_grad()
    def _start_as_product_rule(self) -> None:
        for name in self.modalities:
            nn.init.eye_(self.shortcuts[name].weight)  # type: ignore[arg-type]
            for layer in (self.corrections[name], self.gates[name]):
                nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            nn.init.zeros_(self.shortcuts[name].bias)  # type: ignore[arg-type]

    def forward(self, evidence: Mapping[str, Evidence], present_BM: Tensor) -> Fused:
        """Join what is present; a row of `present_BM` without any gets the prior alone."""
        both = [self._judge(name, evidence[name]) for name in self.modalities]
        own_BMK = torch.stack([own_BK for own_BK, _ in both], dim=1)
        gates_BM = torch.cat([gate_B1 for _, gate_B1 in both], dim=1)
        present_BM = present_BM.to(own_BMK.dtype)
        centred_BMK = own_BMK - own_BMK.mean(2, keepdim=True)
        evidence_BMK = centred_BMK * (gates_BM * present_BM).unsqueeze(2)
        size_BM = evidence_BMK.detach().norm(dim=2)
        attention_BM = size_BM / size_BM.sum(1, keepdim=True).clamp(min=SMALLEST)
        count_B1 = present_BM.sum(1, keepdim=True).clamp(min=1)
        logits_BK = self.prior + evidence_BMK.sum(1) / count_B1**self.power
        return Fused(logits_BK, attention_BM, own_BMK)

    def _judge(self, name: str, part: Evidence) -> tuple[Tensor, Tensor]:
        """One modality's own logits (B, K), and how far to trust them (B, 1)."""
        embedding_BD = part.embedding
        if name in self.config.scores_only:
            embedding_BD = torch.zeros_like(embedding_BD)
        joint_BW = self.projections[name](torch.cat([embedding_BD, part.log_scores], dim=1))
        own_BK = self.shortcuts[name](part.log_scores) + self.corrections[name](joint_BW)
        return own_BK, self.gates[name](joint_BW).exp()


def fusion_loss(fused: Fused, present_BM: Tensor, targets_B: Tensor, own_weight: float) -> Tensor:
    """Cross-entropy of the joint answer, and `own_weight` times that of each present modality's own."""
    joint = nn.functional.cross_entropy(fused.logits, targets_B)
    own_BKM = fused.own_logits.transpose(1, 2)
    targets_BM = targets_B[:, None].expand(-1, own_BKM.shape[2])
    own_BM = nn.functional.cross_entropy(own_BKM, targets_BM, reduction="none")
    return joint + own_weight * (own_BM * present_BM).sum() / present_BM.sum()


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
