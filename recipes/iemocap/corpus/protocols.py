"""Evaluation protocols: named divisions of IEMOCAP into training, validation and test turns.

Figures of two protocols are not comparable. Each protocol returns the same sorted ids on every machine and
uses only the turns with a label of the target. `loso5` is the recommended default. In `yoon-random5` and
`s3prl5`, speakers of test or validation turns are also in the training part: use these two only to compare
with published figures.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.labels import IEMOCAP4
from recipes.iemocap.corpus.emotions import select_turns
from recipes.iemocap.corpus.turns import Turn

PARTS = ("train", "validation", "test")

# Turns of each emotion in the fifth test part of Yoon et al. 2018: row sums of their confusion matrices.
YOON_FIFTH = {"anger": 156, "happiness": 239, "sadness": 142, "neutral": 213}
YOON_SEEDS = (337, 3372)
S3PRL_SEED = 0


@dataclass(frozen=True)
class Fold:
    """Sorted ids of the turns of each part."""

    name: str  # the tested session or speaker, or the fold's number
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def part(self, name: str) -> tuple[str, ...]:
        """Return the ids of one of `PARTS`. Raises `ConfigError` for another name."""
        if name not in PARTS:
            raise ConfigError(f"unknown part {name!r}; known: {', '.join(PARTS)}")
        return getattr(self, name)

    def to_dict(self) -> dict[str, list[str]]:
        """Return the ids by part for result files; labels are not included."""
        return {part: list(self.part(part)) for part in PARTS}


@dataclass(frozen=True)
class Protocol:
    """A division of the turns, with its description for reports."""

    make: Callable[[Sequence[Turn]], list[Fold]]
    description: str
    unseen_test_speakers: bool  # no speaker of the test part is in another part
    unseen_validation_speakers: bool  # no speaker of the validation part is in training


def make_folds(turns: Sequence[Turn], protocol: str = "loso5", target: str = "four") -> list[Fold]:
    """Return all folds of a protocol over the turns with a label of the target.

    Raises `ConfigError` for an unknown name, `DataError` if a part of a fold has no turn.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    chosen = sorted(select_turns(turns, target), key=lambda turn: turn.id)
    if len({turn.id for turn in chosen}) != len(chosen):
        raise ValueError("every turn must occur once")
    folds = PROTOCOLS[protocol].make(chosen)
    empty = [f"{fold.name} ({part})" for fold in folds for part in PARTS if not fold.part(part)]
    if empty or not folds:
        raise DataError(
            f"{protocol}: expected turns of {target} in every part of every fold, found none in "
            f"{', '.join(empty) or 'any'}; take more sessions"
        )
    return folds


def whole_fold(turns: Sequence[Turn], target: str) -> Fold:
    """Return a fold with all turns of the target in training, for weights to be published."""
    return Fold("all", tuple(sorted(turn.id for turn in select_turns(turns, target))), (), ())


def _fold(name: str, turns: Sequence[Turn], part_of: Callable[[Turn], str | None]) -> Fold:
    """Return a fold from each turn's part; None is training."""
    ids: dict[str, list[str]] = {part: [] for part in PARTS}
    for turn in turns:
        ids[part_of(turn) or "train"].append(turn.id)
    return Fold(name, **{part: tuple(sorted(found)) for part, found in ids.items()})


def _fold_by_id(name: str, turns: Sequence[Turn], parts: Mapping[str, str]) -> Fold:
    return _fold(name, turns, lambda turn: parts.get(turn.id))


# --- by session and by speaker ---


def _by_session(turns: Sequence[Turn]) -> list[Fold]:
    """Test on each session and validate on the next one; session 1 follows session 5.

    With an incomplete release, the next session is the next one present.
    """
    sessions = sorted({turn.session for turn in turns})
    folds = []
    for index, session in enumerate(sessions):
        following = sessions[(index + 1) % len(sessions)]
        parts = {session: "test", following: "validation"}
        folds.append(_fold(f"session{session}", turns, lambda t, p=parts: p.get(t.session)))
    return folds


def _by_speaker(turns: Sequence[Turn]) -> list[Fold]:
    folds = []
    for speaker in sorted({turn.speaker for turn in turns}):
        partner = speaker[:-1] + ("M" if speaker.endswith("F") else "F")
        parts = {speaker: "test", partner: "validation"}
        folds.append(_fold(speaker, turns, lambda t, p=parts: p.get(t.speaker)))
    return folds


# --- published ---


def _yoon(turns: Sequence[Turn]) -> list[Fold]:
    """Return the folds of Yoon et al. 2018 (github.com/david-yoon/multimodal-speech-emotion, IEMOCAP_03).

    One random number per turn assigns it to a fold: above 0.8 to the first, above 0.6 to the second, and so
    on. A second stream, restarted for each fold and drawn for every turn, makes 30 % of the held-out turns
    validation turns. Yoon et al. ordered turns by dialog, then by id, which is the order of sorted ids.
    """
    assignment, division = (random.Random(seed) for seed in YOON_SEEDS)
    limits = (0.8, 0.6, 0.4, 0.2)
    fold_of = []
    for _ in turns:
        draw = assignment.random()
        fold_of.append(1 + sum(draw <= limit for limit in limits))
    part_of = ["validation" if division.random() > 0.7 else "test" for _ in turns]
    rows = list(zip(turns, fold_of, part_of, strict=True))
    return [
        _fold_by_id(f"fold{k}", turns, {turn.id: part for turn, fold, part in rows if fold == k})
        for k in range(1, 6)
    ]


def compare_with_yoon(turns: Sequence[Turn]) -> str:
    """Return a sentence that compares the fifth test part with the published confusion matrices.

    The comparison needs a complete release. Different counts mean that the folds are not the published ones.
    """
    fifth = make_folds(turns, "yoon-random5", "four")[-1]
    labels = {turn.id: IEMOCAP4[turn.label] for turn in turns if turn.label in IEMOCAP4}
    found = dict.fromkeys(YOON_FIFTH, 0)
    for name in fifth.test:
        found[labels[name]] += 1
    listed, published = (
        ", ".join(f"{label} {count}" for label, count in counts.items())
        for counts in (found, YOON_FIFTH)
    )
    if found == YOON_FIFTH:
        return f"yoon-random5: the fifth test part holds {listed}, as published"
    return (
        f"yoon-random5: the fifth test part holds {listed}, but {published} were published: these are "
        "folds of the same kind, not the same folds"
    )


def _s3prl(turns: Sequence[Turn]) -> list[Fold]:
    """Test on each session as s3prl and SUPERB do; a random fifth of the other turns validates.

    The rule is theirs (torch's random_split, seed 0). Their order of the turns was that of the file system,
    ours is sorted: the test parts are the same, the validation parts are not.
    """
    folds = []
    for session in sorted({turn.session for turn in turns}):
        others = [turn.id for turn in turns if turn.session != session]
        generator = torch.Generator().manual_seed(S3PRL_SEED)
        order = torch.randperm(len(others), generator=generator).tolist()
        parts = {others[index]: "validation" for index in order[int((1 - 0.2) * len(others)) :]}
        parts |= {turn.id: "test" for turn in turns if turn.session == session}
        folds.append(_fold_by_id(f"session{session}", turns, parts))
    return folds


PROTOCOLS = {
    "loso5": Protocol(
        _by_session,
        "five folds: one session tests, the next one validates, three train",
        unseen_test_speakers=True,
        unseen_validation_speakers=True,
    ),
    "loso10": Protocol(
        _by_speaker,
        "ten folds: one speaker tests, the other one of the session validates, four sessions train",
        unseen_test_speakers=True,
        unseen_validation_speakers=True,
    ),
    "yoon-random5": Protocol(
        _yoon,
        "five random folds of turns (Yoon et al. 2018): speakers and script lines of the test turns are "
        "in training too",
        unseen_test_speakers=False,
        unseen_validation_speakers=False,
    ),
    "s3prl5": Protocol(
        _s3prl,
        "five folds (s3prl, SUPERB): one session tests, a random fifth of the other turns validates",
        unseen_test_speakers=True,
        unseen_validation_speakers=False,
    ),
}
