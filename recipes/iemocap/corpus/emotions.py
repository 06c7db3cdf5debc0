"""Targets of a training: named label sets, or valence, arousal and dominance.

Nearly all published figures use four classes, with excitement counted as happiness (5,531 turns). Labels are
those of the summary files. Some tables of dialog models label turns without a majority too (7,433 turns of
six classes instead of 7,380): figures on those are not comparable.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from multimodal_fer.errors import ConfigError
from multimodal_fer.labels import IEMOCAP4, IEMOCAP_CODES
from recipes.iemocap.corpus.turns import Turn

DIMENSIONS = ("valence", "arousal", "dominance")  # means of the outside raters, from 1 to 5
NUMBERS = "dimensions"  # the target of these three numbers, which every turn has


@dataclass(frozen=True)
class LabelSet:
    """The emotions of a classification; turns with other codes are excluded."""

    names: Mapping[str, str]  # label by code of the summary file
    improvised_only: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """Return each label once, in the order of the codes."""
        return tuple(dict.fromkeys(self.names.values()))

    def label_of(self, turn: Turn) -> str | None:
        """Return the turn's label, None if the turn is excluded."""
        if self.improvised_only and not turn.improvised:
            return None
        return self.names.get(turn.label)


def _codes(*codes: str) -> dict[str, str]:
    return {code: IEMOCAP_CODES[code] for code in codes}


UNMERGED = _codes("ang", "hap", "sad", "neu")
LABEL_SETS = {
    "four": LabelSet(IEMOCAP4),  # 5,531 turns
    # All sessions perform the same scripts, so training contains the words of scripted test turns.
    "four-improvised": LabelSet(IEMOCAP4, improvised_only=True),  # 2,943
    # Most papers on improvised turns exclude excitement and use these 2,280.
    "four-unmerged": LabelSet(UNMERGED),  # 4,490
    "four-unmerged-improvised": LabelSet(UNMERGED, improvised_only=True),  # 2,280
    "five": LabelSet(IEMOCAP4 | _codes("fru")),  # 7,380
    "six": LabelSet(_codes("ang", "hap", "exc", "sad", "neu", "fru")),  # 7,380
}
TARGETS = (*LABEL_SETS, NUMBERS)


def select_turns(turns: Iterable[Turn], target: str) -> list[Turn]:
    """Return the turns with a label of the set, or all turns if the target is `NUMBERS`.

    Raises `ConfigError` for an unknown target.
    """
    if target == NUMBERS:
        return list(turns)
    chosen = label_set(target)
    return [turn for turn in turns if chosen.label_of(turn) is not None]


def label_set(target: str) -> LabelSet:
    """Return a label set by name. Raises `ConfigError` for an unknown name."""
    if target not in LABEL_SETS:
        raise ConfigError(f"unknown label set {target!r}; known: {', '.join(LABEL_SETS)}")
    return LABEL_SETS[target]


def label_numbers(turns: Sequence[Turn], target: str) -> NDArray[numpy.int64]:
    """Return each turn's label (N,) as an index into the set's `labels`.

    Raises `ValueError` for an excluded turn; call `select_turns` first.
    """
    chosen = label_set(target)
    labels = chosen.labels
    return numpy.array([labels.index(chosen.label_of(turn)) for turn in turns], numpy.int64)


def dimension_targets(turns: Sequence[Turn]) -> NDArray[numpy.float32]:
    """Return valence, arousal and dominance (N, 3) in the order of `DIMENSIONS`."""
    rows = [[turn.valence, turn.arousal, turn.dominance] for turn in turns]
    return numpy.array(rows, numpy.float32).reshape(-1, len(DIMENSIONS))
