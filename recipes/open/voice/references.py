"""Draw training samples together with what would be known about their speakers.

In use, a person is heard for some utterances, most of them neutral, perhaps never in some emotion. Each
drawn sample therefore comes with a reference from a random number of utterances of its speaker, itself
among them, in a random mixture of emotions; or with none. Labels serve to make the mixtures, never to judge.

Shapes: V versions of a clip, N clips, F moments, P clips of a pool, B samples.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from multimodal_fer.voice.reference import MOST_UTTERANCES, Reference

MIXTURES = ("balanced", "neutral", "lacking")  # neutral: 70 %; lacking: one emotion never heard
NEUTRAL_SHARE = 0.7
POOL = 48  # clips of a speaker from which the references of a batch are drawn
WITHOUT = 0.4  # share of the samples without a reference


class Drawn(NamedTuple):
    """Moments (B, F), references and label numbers (B,) of a batch."""

    moments: Tensor
    reference: Reference
    labels: Tensor


class SpeakerClips(NamedTuple):
    """The clips of one speaker: moments (V, N, F), label numbers (N,)."""

    moments: Tensor
    labels: Tensor


def by_speaker(moments_VNF: Tensor, labels_N: Tensor, speakers: list[str]) -> list[SpeakerClips]:
    """Return the clips of each speaker, in the order of their names."""
    found = []
    for name in sorted(set(speakers)):
        own = [number for number, speaker in enumerate(speakers) if speaker == name]
        found.append(SpeakerClips(moments_VNF[:, own], labels_N[own]))
    return found


def mixture_weights(
    labels_P: Tensor, mixture: str, neutral: int, generator: torch.Generator
) -> Tensor:
    """Return the chance of each clip of a pool (P,) to be heard, under a mixture of emotions."""
    kinds = labels_P.unique()
    shares = dict.fromkeys(kinds.tolist(), 1.0 / len(kinds))
    if mixture == "neutral" and neutral in shares and len(kinds) > 1:
        rest = (1 - NEUTRAL_SHARE) / (len(kinds) - 1)
        shares = {kind: NEUTRAL_SHARE if kind == neutral else rest for kind in shares}
    elif mixture == "lacking" and len(kinds) > 1:
        place = int(torch.randint(len(kinds), (1,), generator=generator))
        shares[kinds.tolist()[place]] = 0.0
    weights = torch.zeros(len(labels_P))
    for kind, share in shares.items():
        weights[labels_P == kind] = share / int((labels_P == kind).sum())
    return weights


def make_reference(
    pool_PF: Tensor,
    weights_BP: Tensor,
    own_BF: Tensor,
    counts_B1: Tensor,
    generator: torch.Generator,
) -> Reference:
    """Return the reference of each sample from itself and `counts` - 1 utterances of a pool."""
    others = int(counts_B1.max()) - 1
    chosen_BP = torch.zeros_like(weights_BP)
    if others > 0:
        picks_BU = torch.multinomial(weights_BP, others, replacement=True, generator=generator)
        used_BU = (torch.arange(others) < counts_B1 - 1).float()
        chosen_BP.scatter_add_(1, picks_BU, used_BU)
    size_B1 = counts_B1.clamp(min=1)
    mean_BF = (chosen_BP @ pool_PF + own_BF) / size_B1
    square_BF = (chosen_BP @ pool_PF.square() + own_BF.square()) / size_B1
    return Reference(counts_B1, mean_BF, (square_BF - mean_BF.square()).clamp(min=0))


def version_weights(versions: int) -> Tensor:
    """Return the chance of each version (V,) to be that of all clips of a draw: half as published."""
    weights = torch.ones(versions)
    weights[0] = max(versions - 1, 1)
    return weights / weights.sum()


def draw_samples(
    clips: SpeakerClips, count: int, neutral: int, generator: torch.Generator
) -> Drawn:
    """Return samples of one speaker, each with its own reference.

    Half of the draws take all clips in one version, most often as published, as those of one recording are
    alike; the other half take each clip in a version of its own.
    """
    versions, total = clips.moments.shape[:2]
    alike = torch.rand(1, generator=generator).item() < 0.5
    common = torch.multinomial(version_weights(versions), 1, generator=generator)

    def draw(picks: Tensor) -> Tensor:
        drawn = torch.randint(versions, (len(picks),), generator=generator)
        return clips.moments[common if alike else drawn, picks].float()

    pool = torch.randperm(total, generator=generator)[:POOL]
    picks = torch.randint(total, (count,), generator=generator)
    kinds = torch.randint(len(MIXTURES), (count,), generator=generator)
    weights_MP = torch.stack(
        [mixture_weights(clips.labels[pool], name, neutral, generator) for name in MIXTURES]
    )
    heard_B1 = torch.randint(1, MOST_UTTERANCES + 1, (count, 1), generator=generator).float()
    heard_B1 *= torch.rand(count, 1, generator=generator) >= WITHOUT
    own_BF = draw(picks)
    reference = make_reference(draw(pool), weights_MP[kinds], own_BF, heard_B1, generator)
    return Drawn(own_BF, reference, clips.labels[picks])


def join(parts: list[Drawn]) -> Drawn:
    """Return one batch of several draws."""
    references = [part.reference for part in parts]
    return Drawn(
        torch.cat([part.moments for part in parts]),
        Reference(*(torch.cat(values) for values in zip(*references, strict=True))),
        torch.cat([part.labels for part in parts]),
    )
