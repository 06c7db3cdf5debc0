"""Late attention: fuse the embeddings and scores of the face, voice and text networks.

Shapes: B samples, M modalities in the order of `MODALITIES`, D embedding of a part, W hidden width,
K labels of the fusion, L labels of a part.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn

from multimodal_fer.labels import MODALITIES, OPEN7, map_labels

SMALLEST = 1e-6  # lower bound of probabilities whose logarithm is taken


@dataclass(frozen=True)
class FusionConfig:
    """Sizes and labels of the parts, and the shape of their fusion; stored as `config.json`."""

    labels: tuple[str, ...] = OPEN7
    embeddings: dict[str, int] = field(default_factory=dict)  # D of each modality's part
    # Names of each part's scores.
    part_labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    scores_only: tuple[str, ...] = ()  # modalities whose embeddings are not used
    width: int = 64
    dropout: float = 0.1
    temperature: float = 1.0  # divides the logits; fitted on validation data
    pattern_temperatures: dict[str, float] = field(
        default_factory=dict
    )  # by pattern, such as "face+text"

    def __post_init__(self) -> None:
        for name in self.embeddings:
            labels = self.part_labels.get(name)
            if not isinstance(labels, list | tuple) or not all(isinstance(x, str) for x in labels):
                raise ValueError(
                    f"part_labels must name the labels of the part {name}, found {labels!r}; "
                    "train and export the fusion again with this version"
                )
        known = {pattern_name(names) for names in _patterns(self.modalities)}
        for pattern, value in self.pattern_temperatures.items():
            fits = isinstance(value, int | float) and 1e-3 <= value <= 1e3
            if pattern not in known or not fits:
                raise ValueError(
                    f"pattern_temperatures must hold a number from 0.001 to 1000 for modalities such as "
                    f"'face+text', found {pattern!r}: {value!r}"
                )

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return the modalities that are fused, in the order of `MODALITIES`."""
        return tuple(name for name in MODALITIES if name in self.embeddings)


class Evidence(NamedTuple):
    """The outputs of one part for B samples; rows of absent samples may hold any finite value."""

    embedding: Tensor  # (B, D)
    log_scores: Tensor  # (B, L), logarithms of calibrated probabilities


class Fused(NamedTuple):
    """The outputs of the fusion."""

    logits: Tensor  # (B, K)
    attention: Tensor  # (B, M), sums to 1 over the present modalities with evidence
    own_logits: Tensor  # (B, M, K), of each modality by its own head


class LateAttention(nn.Module):
    """Turn each modality into evidence for the labels, weight it, and add it up.

    A modality's evidence is a vector over the labels: its log-probabilities, corrected from its
    embedding, times a gate for its reliability. If all gates are one, the sum over the present modalities
    is the product rule of independent experts (Kittler et al. 1998, section 2). It is divided by a learnt
    power of their number, which moves it towards their geometric mean.

    The attention to a modality is the norm of its evidence, as a share of all norms. A softmax of scores
    (Bahdanau et al. 2015, section 3.1) was uninformative: its weights stayed at a third each, because the
    evidence can scale itself.

    In training each modality has a loss of its own, so that none relies on the others.
    """

    config: FusionConfig
    temperatures: Tensor

    def __init__(self, config: FusionConfig):
        super().__init__()
        self.config = config
        self.modalities = config.modalities
        count = len(config.labels)
        self.projections = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Dropout(config.dropout),
                    nn.Linear(
                        config.embeddings[name] + len(config.part_labels[name]), config.width
                    ),
                    nn.LayerNorm(config.width),
                    nn.GELU(),
                    nn.Dropout(config.dropout),
                )
                for name in self.modalities
            }
        )
        self.shortcuts = nn.ModuleDict(
            {name: nn.Linear(len(config.part_labels[name]), count) for name in self.modalities}
        )
        self.corrections = nn.ModuleDict(
            {name: nn.Linear(config.width, count) for name in self.modalities}
        )
        self.gates = nn.ModuleDict({name: nn.Linear(config.width, 1) for name in self.modalities})
        self.power = nn.Parameter(torch.tensor(0.0))
        self.prior = nn.Parameter(torch.zeros(count))
        # Buffers that follow from the config are not stored with the weights.
        self.register_buffer("temperatures", self._temperature_of_patterns(), persistent=False)
        for name in self.modalities:
            folding_LK = _folding_matrix(config.part_labels[name], config.labels)
            self.register_buffer(f"folding_{name}", folding_LK, persistent=False)
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
        """Fuse the present modalities; a sample without any gets the prior."""
        both = [self._own_evidence(name, evidence[name]) for name in self.modalities]
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

    def predict(
        self, evidence: Mapping[str, Evidence], present_BM: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return calibrated probabilities (B, K) and the attention (B, M).

        If one modality alone is present, its own probabilities are returned, summed by label name: to
        them the network could only add its prior and the corruptions of its training. A part with labels
        that the fusion lacks always passes through the network.
        """
        fused = self(evidence, present_BM)
        present_BM = present_BM.to(fused.logits.dtype)
        powers_M = 2 ** torch.arange(len(self.modalities), device=present_BM.device)
        pattern_B = (present_BM.long() * powers_M).sum(1)
        joint_BK = (fused.logits / self.temperatures[pattern_B].unsqueeze(1)).softmax(1)
        own_BMK = torch.stack(
            [
                evidence[name].log_scores.exp() @ getattr(self, f"folding_{name}")
                for name in self.modalities
            ],
            dim=1,
        )
        alone_BK = (own_BMK * present_BM.unsqueeze(2)).sum(1)
        total_B1 = alone_BK.sum(1, keepdim=True)
        is_alone_B1 = (present_BM.sum(1, keepdim=True) == 1) & (total_B1 > 0)
        scores_BK = torch.where(is_alone_B1, alone_BK / total_B1.clamp(min=SMALLEST), joint_BK)
        attention_BM = torch.where(is_alone_B1, present_BM, fused.attention)
        return scores_BK, attention_BM

    def _temperature_of_patterns(self) -> Tensor:
        """Return the temperature of each pattern of present modalities, by its bits (2 ** M,)."""
        temperatures = torch.full((2 ** len(self.modalities),), float(self.config.temperature))
        for names in _patterns(self.modalities):
            bits = sum(2**place for place, name in enumerate(self.modalities) if name in names)
            own = self.config.pattern_temperatures.get(pattern_name(names))
            if own is not None:
                temperatures[bits] = own
        return temperatures

    def _own_evidence(self, name: str, part: Evidence) -> tuple[Tensor, Tensor]:
        """Return one modality's own logits (B, K) and its gate (B, 1)."""
        embedding_BD = part.embedding
        if name in self.config.scores_only:
            embedding_BD = torch.zeros_like(embedding_BD)
        joint_BW = self.projections[name](torch.cat([embedding_BD, part.log_scores], dim=1))
        own_BK = self.shortcuts[name](part.log_scores) + self.corrections[name](joint_BW)
        return own_BK, self.gates[name](joint_BW).exp()


def pattern_name(modalities: Iterable[str]) -> str:
    """Return the name of a pattern of present modalities, such as "face+text"."""
    return "+".join(name for name in MODALITIES if name in set(modalities))


def _patterns(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every combination of at least one modality."""
    return [
        names
        for count in range(1, len(modalities) + 1)
        for names in combinations(modalities, count)
    ]


def _folding_matrix(own: Sequence[str], labels: Sequence[str]) -> Tensor:
    """Return the matrix (L, K) that sums a part's scores by label name; zeros if a label is unknown."""
    try:
        mapping = map_labels(own, labels)
    except KeyError:
        return torch.zeros(len(own), len(labels))
    return fold_labels(torch.eye(len(own)), own, labels, mapping)


def fusion_loss(fused: Fused, present_BM: Tensor, targets_B: Tensor, own_weight: float) -> Tensor:
    """Return the fused cross-entropy plus `own_weight` times the mean one of the present modalities."""
    joint = nn.functional.cross_entropy(fused.logits, targets_B)
    own_BKM = fused.own_logits.transpose(1, 2)
    targets_BM = targets_B[:, None].expand(-1, own_BKM.shape[2])
    own_BM = nn.functional.cross_entropy(own_BKM, targets_BM, reduction="none")
    return joint + own_weight * (own_BM * present_BM).sum() / present_BM.sum()


def log_of(scores: Tensor) -> Tensor:
    """Return the logarithms of probabilities; they are finite for zeros."""
    return scores.clamp(min=SMALLEST).log()


def mean_of_scores(scores_BMK: Tensor, present_BM: Tensor) -> Tensor:
    """Return the unweighted mean (B, K) of the present modalities' probabilities, a baseline."""
    weights_BM1 = present_BM.to(scores_BMK.dtype).unsqueeze(2)
    return (scores_BMK * weights_BM1).sum(1) / weights_BM1.sum(1).clamp(min=1)


def product_rule(scores_BMK: Tensor, present_BM: Tensor, prior_K: Tensor) -> Tensor:
    """Fuse experts that are independent given the label (Kittler et al. 1998, equation 9), as (B, K).

    Each of n posteriors contains the prior, so it is divided out n - 1 times.
    """
    present_BM1 = present_BM.to(scores_BMK.dtype).unsqueeze(2)
    evidence_BK = (scores_BMK.clamp(min=1e-9).log() * present_BM1).sum(1)
    spare_B1 = (present_BM1.sum(1) - 1).clamp(min=0)
    return (evidence_BK - spare_B1 * prior_K.log()).softmax(1)


def drop_modalities(present_BM: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Hide present modalities at random for training; every sample keeps at least one."""
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
