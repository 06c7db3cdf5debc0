"""Named ways of dividing IEMOCAP into training, validation and test turns. Figures of two never mix.

Each gives the same ids on every machine, in one order, and takes only the turns that have a label of the
target. Of `yoon-random5` and `s3prl5`, test or validation turns are of people who are heard in training: they
are here to compare with what was published. `loso5` is the honest default.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.labels import IEMOCAP4
from recipes.iemocap.corpus.emotions import select_turns
from recipes.iemocap.corpus.turns import Turn

PARTS = ("train", "validation", "test")

# What Yoon et al. 2018 trained, validated and tested on, and how many of each emotion are in the fifth test
# part: the row sums of their confusion matrices.
YOON_SIZES = (
    (4445, 313, 773),
    (4374, 386, 771),
    (4399, 353, 779),
    (4432, 343, 756),
    (4474, 307, 750),
)
YOON_FIFTH = {"anger": 156, "happiness": 239, "sadness": 142, "neutral": 213}
YOON_SEEDS = (337, 3372)
S3PRL_SEED = 0


@dataclass(frozen=True)
class Fold:
    """Ids of the turns of each part, sorted."""

    name: str  # of the session or speaker that is tested on, or the fold's number
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def part(self, name: str) -> tuple[str, ...]:
        """The ids of one of `PARTS`."""
        if name not in PARTS:
            raise ConfigError(f"unknown part {name!r}; known: {', '.join(PARTS)}")
        return getattr(self, name)

    def to_dict(self) -> dict[str, list[str]]:
        """For result files: ids only, since labels are the corpus's."""
        return {part: list(self.part(part)) for part in PARTS}


@dataclass(frozen=True)
class Protocol:
    """A way of dividing the turns, and what reports say of it."""

    deal: Callable[[Sequence[Turn]], list[Fold]]
    says: str
    unheard_in_test: bool  # nobody in the test part is heard in the others
    unheard_in_validation: bool  # nobody in the validation part is heard in training


def deal_folds(turns: Sequence[Turn], protocol: str = "loso5", target: str = "four") -> list[Fold]:
    """All folds of a protocol over the turns that have a label of the target.

    Raises `ConfigError` for an unknown name, `DataError` where there are too few turns to divide.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    chosen = sorted(select_turns(turns, target), key=lambda turn: turn.id)
    if len({turn.id for turn in chosen}) != len(chosen):
        raise ValueError("every turn must be there once")
    folds = PROTOCOLS[protocol].deal(chosen)
    lacking = [f"{fold.name} ({part})" for fold in folds for part in PARTS if not fold.part(part)]
    if lacking or not folds:
        raise DataError(
            f"{protocol}: expected turns of {target} in every part of every fold, found none in "
            f"{', '.join(lacking) or 'any'}; take more sessions"
        )
    return folds


def whole_fold(turns: Sequence[Turn], target: str) -> Fold:
    """No fold: all turns that take part train, for weights that are published."""
    return Fold("all", tuple(sorted(turn.id for turn in select_turns(turns, target))), (), ())


def fold_ids(turns: Sequence[Turn], protocol: str, target: str) -> dict[str, dict[str, list[str]]]:
    """Turn ids by fold and part, as result files keep them."""
    return {fold.name: fold.to_dict() for fold in deal_folds(turns, protocol, target)}


# --- by session and by speaker ---


def _by_session(turns: Sequence[Turn]) -> list[Fold]:
    """One fold a session: it is tested on, the next one validates, session 1 coming after session 5.

    Of a part of the release, the sessions that are there count.
    """
    sessions = sorted({turn.session for turn in turns})
    folds = []
    for index, session in enumerate(sessions):
        following = sessions[(index + 1) % len(sessions)]
        parts = {session: "test", following: "validation"}
        folds.append(_fold(f"session{session}", turns, lambda t, p=parts: p.get(t.session)))
    return folds


def _by_speaker(turns: Sequence[Turn]) -> list[Fold]:
    """One fold a speaker: the other speaker of the session validates, the other sessions train."""
    folds = []
    for speaker in sorted({turn.speaker for turn in turns}):
        partner = speaker[:-1] + ("M" if speaker.endswith("F") else "F")
        parts = {speaker: "test", partner: "validation"}
        folds.append(_fold(speaker, turns, lambda t, p=parts: p.get(t.speaker)))
    return folds


def _fold(name: str, turns: Sequence[Turn], part_of: Callable[[Turn], str | None]) -> Fold:
    """A fold of the turns' parts; None is training."""
    ids: dict[str, list[str]] = {part: [] for part in PARTS}
    for turn in turns:
        ids[part_of(turn) or "train"].append(turn.id)
    return Fold(name, **{part: tuple(sorted(found)) for part, found in ids.items()})


# --- published ---


def _yoon(turns: Sequence[Turn]) -> list[Fold]:
    """The folds of Yoon et al. 2018 (github.com/david-yoon/multimodal-speech-emotion, IEMOCAP_03).

    One draw a turn deals it to a fold: over 0.8 to the first, over 0.6 to the second, and so on. A second
    stream, begun anew for each fold and drawn for every turn, makes 30 % of the held-out turns validation.
    They took the turns by dialog, then by id: sorted ids are in that order.
    """
    dealing, dividing = (random.Random(seed) for seed in YOON_SEEDS)
    held_out = [_fifth(dealing.random()) for _ in turns]
    divided = ["validation" if dividing.random() > 0.7 else "test" for _ in turns]
    folds = []
    for number in range(1, 6):
        parts = {
            turn.id: part
            for turn, fold, part in zip(turns, held_out, divided, strict=True)
            if fold == number
        }
        folds.append(_fold(f"fold{number}", turns, lambda t, p=parts: p.get(t.id)))
    return folds


def _fifth(draw: float) -> int:
    """From 1 for the highest draws to 5 for the lowest."""
    return 1 + sum(draw <= limit for limit in (0.8, 0.6, 0.4, 0.2))


def compare_with_yoon(turns: Sequence[Turn]) -> str:
    """A sentence on whether the fifth test part counts to the published confusion matrices.

    Only a whole release can tell; if it does not count to them, ours are not their folds.
    """
    fifth = deal_folds(turns, "yoon-random5", "four")[-1]
    labels = {turn.id: IEMOCAP4[turn.label] for turn in turns if turn.label in IEMOCAP4}
    found = dict.fromkeys(YOON_FIFTH, 0)
    for name in fifth.test:
        found[labels[name]] += 1
    said = ", ".join(f"{label} {count}" for label, count in found.items())
    if found == YOON_FIFTH:
        return f"yoon-random5: the fifth test part holds {said}, as published"
    published = ", ".join(f"{label} {count}" for label, count in YOON_FIFTH.items())
    return (
        f"yoon-random5: the fifth test part holds {said}, and {published} were published: these are "
        "folds of the same kind, not the same folds"
    )


def _s3prl(turns: Sequence[Turn]) -> list[Fold]:
    """One fold a session, as s3prl and SUPERB test; a random fifth of the other turns validates.

    The rule is theirs (torch's random_split, seed 0). The order of the turns, which they took as the file
    system gave it, is ours: the test parts are the same, the turns that validate are not.
    """
    folds = []
    for session in sorted({turn.session for turn in turns}):
        others = [turn.id for turn in turns if turn.session != session]
        generator = torch.Generator().manual_seed(S3PRL_SEED)
        order = torch.randperm(len(others), generator=generator).tolist()
        parts = {others[index]: "validation" for index in order[int((1 - 0.2) * len(others)) :]}
        parts |= {turn.id: "test" for turn in turns if turn.session == session}
        folds.append(_fold(f"session{session}", turns, lambda t, p=parts: p.get(t.id)))
    return folds


PROTOCOLS = {
    "loso5": Protocol(
        _by_session,
        "five folds: one session tests, the next one validates, three train",
        unheard_in_test=True,
        unheard_in_validation=True,
    ),
    "loso10": Protocol(
        _by_speaker,
        "ten folds: one speaker tests, the other one of the session validates, four sessions train",
        unheard_in_test=True,
        unheard_in_validation=True,
    ),
    "yoon-random5": Protocol(
        _yoon,
        "five random folds of turns (Yoon et al. 2018): people and script lines of the test turns are "
        "in training too",
        unheard_in_test=False,
        unheard_in_validation=False,
    ),
    "s3prl5": Protocol(
        _s3prl,
        "five folds (s3prl, SUPERB): one session tests, a random fifth of the other turns validates",
        unheard_in_test=True,
        unheard_in_validation=False,
    ),
}
