"""Late attention: weigh what the face, voice and text networks say, and add it up.

Shapes: B samples, M modalities in the order of `MODALITIES`, K labels of the fusion, L labels of a part.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn

from multimodal_fer.labels import MODALITIES, NEUTRAL, OPEN7, map_labels

SMALLEST = 1e-6  # lower bound of probabilities whose logarithm is taken
LEAST_FREQUENCY = 0.005  # of a label that a part hardly ever gives
START_RELIABILITY = 3.0  # logits before training: 95 % reliable,
START_RESTRAINT = -2.0  # 12 % restrained,
START_DOUBT = 2.5  # and hardly less reliable unless the scores are spread almost evenly
START_LOSS = -2.0  # a little more than the least loss of weight
LEAST_LOSS = 0.3  # share of the weight that evidence without quality loses at least


@dataclass(frozen=True)
class FusionConfig:
    """The labels of the parts and of their fusion, and its prior; stored as `config.json`."""

    labels: tuple[str, ...] = OPEN7
    # Names of each part's scores, by modality.
    part_labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # How often each part gives each of the fusion's labels, its mean scores; equal shares if missing.
    frequencies: dict[str, tuple[float, ...]] = field(default_factory=dict)
    prior: tuple[float, ...] = ()  # expected shares of the labels; () means equal shares
    temperature: float = 1.0  # divides the logits; fitted on validation data
    pattern_temperatures: dict[str, float] = field(
        default_factory=dict
    )  # by pattern, such as "face+text"

    def __post_init__(self) -> None:
        for name, labels in self.part_labels.items():
            if not isinstance(labels, list | tuple) or not all(isinstance(x, str) for x in labels):
                raise ValueError(
                    f"part_labels must name the labels of the part {name}, found {labels!r}; "
                    "train and export the fusion again with this version"
                )
        for what, shares in {"prior": self.prior, **self.frequencies}.items():
            if not _are_shares(shares, len(self.labels)):
                raise ValueError(
                    f"{what} must hold a positive share for each of {len(self.labels)} labels, with the "
                    f"sum 1, or nothing; found {shares!r}"
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
        return tuple(name for name in MODALITIES if name in self.part_labels)


class Evidence(NamedTuple):
    """The output of one part for B samples; rows of absent samples may hold any finite value."""

    log_scores: Tensor  # (B, L), logarithms of calibrated probabilities
    quality: (
        Tensor  # (B,), from 0 (nothing can be recognised) to 1, see `multimodal_fer.media.quality`
    )


class Fused(NamedTuple):
    """The outputs of the fusion."""

    logits: Tensor  # (B, K)
    attention: Tensor  # (B, M), sums to 1 over the present modalities


class LateAttention(nn.Module):
    """Fuse calibrated scores by Bayes' rule, each modality weighted by its reliability.

    A part's probabilities, divided by how often it gives each label, are likelihood ratios: how much more
    probable the observation is if the person expresses a label. Three things can happen, and the fusion
    learns how often: the modality shows what the person expresses; it is *restrained*, that is neutral
    whatever the person expresses (words of an angry answer are often factual); or it is *unreliable* and
    tells nothing. So the likelihood of label y is

        r ((1 - s) q(y) + s q(neutral)) + (1 - r)

    with the ratio q, the restraint s, and the reliability r, which falls to zero if the scores are spread
    evenly: then the part does not know, which says nothing about rare labels. This bounds what one modality
    can do: if it is surely wrong, the others still decide, which the product rule of independent experts
    (Kittler et al. 1998, section 2) does not allow. The logarithms, weighted by the quality of the recording
    (noise, blur, confidence of the words), are added to the logarithm of the prior, divided by a learnt power
    of the number of modalities, since modalities of one person depend on each other.

    The attention to a modality is its share in the answer: the norm of the change of the logits if it is
    left out, as a share of all these norms.

    Embeddings are not used: they did not improve the likelihood of held-out samples, and networks that
    were trained apart (folds, other corpora) stay exchangeable.
    """

    config: FusionConfig
    temperatures: Tensor
    log_prior: Tensor

    def __init__(self, config: FusionConfig):
        super().__init__()
        self.config = config
        self.modalities = config.modalities
        count = len(self.modalities)
        self.reliability = nn.Parameter(torch.full((count,), START_RELIABILITY))
        self.loss = nn.Parameter(torch.full((count,), START_LOSS))  # of weight without quality
        self.restraint = nn.Parameter(torch.full((count,), START_RESTRAINT))
        self.doubt = nn.Parameter(torch.full((count,), START_DOUBT))  # logarithm of a power
        self.sharpness = nn.Parameter(torch.zeros(count))  # logarithm of a power of the scores
        self.power = nn.Parameter(torch.tensor(0.0))  # of the number of modalities
        self.correction = nn.Parameter(torch.zeros(count, len(config.labels)))  # of log frequencies
        # Buffers that follow from the config are not stored with the weights.
        self.register_buffer("temperatures", self._temperature_of_patterns(), persistent=False)
        self.register_buffer("log_prior", _log_shares(config, config.prior), persistent=False)
        for name in self.modalities:
            frequency_K = _log_shares(config, config.frequencies.get(name, ()))
            self.register_buffer(f"frequency_{name}", frequency_K, persistent=False)
            folding_LK = _folding_matrix(config.part_labels[name], config.labels)
            self.register_buffer(f"folding_{name}", folding_LK, persistent=False)

    def forward(
        self, evidence: Mapping[str, Evidence], present_BM: Tensor, log_prior: Tensor | None = None
    ) -> Fused:
        """Fuse the present modalities; a sample without any gets the prior.

        `log_prior` (K,) or (B, K) replaces that of the config.
        """
        present_BM = present_BM.to(self.correction.dtype)
        evidence_BMK = torch.stack(
            [self._log_likelihood(name, evidence[name]) for name in self.modalities], dim=1
        )
        evidence_BMK = evidence_BMK * present_BM.unsqueeze(2)
        size_BM = evidence_BMK.detach().norm(dim=2) + SMALLEST * present_BM
        attention_BM = size_BM / size_BM.sum(1, keepdim=True).clamp(min=SMALLEST)
        count_B1 = present_BM.sum(1, keepdim=True).clamp(min=1)
        prior = self.log_prior if log_prior is None else log_prior
        return Fused(prior + evidence_BMK.sum(1) / count_B1**self.power, attention_BM)

    def predict(
        self, evidence: Mapping[str, Evidence], present_BM: Tensor, log_prior: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return calibrated probabilities (B, K) and the attention (B, M).

        If one modality alone is present, its own probabilities are returned, summed by label name: the
        network could only add its prior. If all present modalities have the same strongest label, its
        probability is at least the largest of theirs. For `log_prior` see `forward`.
        """
        fused = self(evidence, present_BM, log_prior)
        present_BM = present_BM.to(fused.logits.dtype)
        powers_M = 2 ** torch.arange(len(self.modalities), device=present_BM.device)
        pattern_B = (present_BM.long() * powers_M).sum(1)
        joint_BK = (fused.logits / self.temperatures[pattern_B].unsqueeze(1)).softmax(1)
        own_BMK = torch.stack(
            [self.own_scores(name, evidence[name]) for name in self.modalities], dim=1
        )
        joint_BK = _keep_agreement(joint_BK, own_BMK, present_BM)
        alone_BK = (own_BMK * present_BM.unsqueeze(2)).sum(1)
        is_alone_B1 = present_BM.sum(1, keepdim=True) == 1
        return torch.where(is_alone_B1, alone_BK, joint_BK), fused.attention

    def own_scores(self, name: str, part: Evidence) -> Tensor:
        """Return a part's probabilities over the fusion's labels (B, K).

        Scores are summed by label name; labels that the fusion lacks are left out.
        """
        folded_BK = part.log_scores.exp() @ getattr(self, f"folding_{name}")
        return folded_BK / folded_BK.sum(1, keepdim=True).clamp(min=SMALLEST)

    def _log_likelihood(self, name: str, part: Evidence) -> Tensor:
        """Return the logarithm of the likelihood of each label (B, K), with the mean zero."""
        number = self.modalities.index(name)
        scores_BK = self.own_scores(name, part)
        sharp_BK = (log_of(scores_BK) * self.sharpness[number].exp()).softmax(1)
        frequency_K = getattr(self, f"frequency_{name}") + self.correction[number]
        ratio_BK = sharp_BK / frequency_K.softmax(0)
        known_K = getattr(self, f"folding_{name}").sum(0) > 0
        ratio_BK = torch.where(
            known_K, ratio_BK, torch.ones_like(ratio_BK)
        )  # the part lacks the label
        if NEUTRAL in self.config.labels:
            neutral_B1 = ratio_BK[:, self.config.labels.index(NEUTRAL)].unsqueeze(1)
            ratio_BK = torch.lerp(ratio_BK, neutral_B1, self.restraint[number].sigmoid())
        spread_B = entropy_of(scores_BK) / math.log(scores_BK.shape[1])
        certainty_B = 1 - spread_B.clamp(SMALLEST, 1.0) ** self.doubt[number].exp()
        reliability_B1 = (self.reliability[number].sigmoid() * certainty_B).unsqueeze(1)
        log_BK = (reliability_B1 * ratio_BK + 1 - reliability_B1).log()
        loss = LEAST_LOSS + (1 - LEAST_LOSS) * self.loss[number].sigmoid()
        weight_B1 = (1 - loss * (1 - part.quality)).unsqueeze(1)
        return weight_B1 * (log_BK - log_BK.mean(1, keepdim=True))

    def _temperature_of_patterns(self) -> Tensor:
        """Return the temperature of each pattern of present modalities, by its bits (2 ** M,)."""
        temperatures = torch.full((2 ** len(self.modalities),), float(self.config.temperature))
        for names in _patterns(self.modalities):
            bits = sum(2**place for place, name in enumerate(self.modalities) if name in names)
            own = self.config.pattern_temperatures.get(pattern_name(names))
            if own is not None:
                temperatures[bits] = own
        return temperatures


def entropy_of(scores_BK: Tensor) -> Tensor:
    """Return the entropy of probabilities in nats, (B,)."""
    return -(scores_BK * log_of(scores_BK)).sum(1)


def _keep_agreement(joint_BK: Tensor, own_BMK: Tensor, present_BM: Tensor) -> Tensor:
    """Raise the label that all present modalities agree on to the largest of their probabilities."""
    hidden_BM1 = (present_BM == 0).unsqueeze(2)
    top_BK = own_BMK.masked_fill(hidden_BM1, 0).amax(1)
    is_best_BMK = (own_BMK >= own_BMK.amax(2, keepdim=True)) | hidden_BM1
    agreed_BK = is_best_BMK.all(1) & (present_BM.sum(1, keepdim=True) > 0)
    short_BK = agreed_BK & (joint_BK < top_BK)
    raised_B1 = (top_BK * short_BK).sum(1, keepdim=True)
    others_BK = joint_BK * ~short_BK
    scale_B1 = (1 - raised_B1) / others_BK.sum(1, keepdim=True).clamp(min=SMALLEST)
    changed_B1 = short_BK.sum(1, keepdim=True) == 1
    return torch.where(changed_B1, top_BK * short_BK + others_BK * scale_B1, joint_BK)


def _are_shares(prior: Sequence[float], count: int) -> bool:
    if not isinstance(prior, list | tuple):
        return False
    numbers = [x for x in prior if isinstance(x, int | float) and not isinstance(x, bool) and x > 0]
    return not prior or (len(prior) == len(numbers) == count and abs(sum(numbers) - 1) < 1e-3)


def _log_shares(config: FusionConfig, shares: Sequence[float]) -> Tensor:
    return torch.tensor(shares or [1 / len(config.labels)] * len(config.labels)).log()


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
    """Return the matrix (L, K) that sums a part's scores by label name; a zero row if a label is unknown."""
    matrix_LK = torch.zeros(len(own), len(labels))
    for row, name in enumerate(own):
        try:
            matrix_LK[row] = fold_labels(torch.ones(1), [name], labels, map_labels([name], labels))
        except KeyError:
            continue
    return matrix_LK


def label_frequencies(
    log_scores_NL: Tensor, own: Sequence[str], labels: Sequence[str]
) -> tuple[float, ...]:
    """Return how often a part gives each of the fusion's labels: its mean scores, by label name."""
    shares_K = (log_scores_NL.double().exp() @ _folding_matrix(own, labels).double()).mean(0)
    shares_K = (shares_K / shares_K.sum()).clamp(min=LEAST_FREQUENCY)
    return tuple(round(share, 6) for share in (shares_K / shares_K.sum()).tolist())


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
