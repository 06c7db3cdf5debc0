"""What can be learnt from a turn of IEMOCAP: named sets of emotions, and three numbers.

Four classes are those of nearly every published figure: excitement counts as happiness (5,531 turns). Labels
are the summary's. Tables passed on with dialog models give some turns without a majority a label (7,433 turns
of six classes instead of 7,380): figures on those are not comparable.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from multimodal_fer.errors import ConfigError
from multimodal_fer.labels import IEMOCAP4, IEMOCAP_CODES
from recipes.iemocap.corpus.turns import Turn

DIMENSIONS = ("valence", "arousal", "dominance")  # means of the outside raters, from 1 to 5
NUMBERS = "dimensions"  # the target that is these numbers; every turn has them


@dataclass(frozen=True)
class LabelSet:
    """Emotions to tell apart; a turn whose code is not in `names` takes no part."""

    names: Mapping[str, str]  # of the label by the summary's code
    improvised_only: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """Each label once, in the order of the codes."""
        return tuple(dict.fromkeys(self.names.values()))

    def label_of(self, turn: Turn) -> str | None:
        """The turn's label, None where it takes no part."""
        if self.improvised_only and not turn.improvised:
            return None
        return self.names.get(turn.label)


UNMERGED = {code: IEMOCAP_CODES[code] for code in ("ang", "hap", "sad", "neu")}
LABEL_SETS = {
    "four": LabelSet(IEMOCAP4),  # 5,531 turns
    # Scripts are the same in all sessions, so words of the test turns were seen in training.
    "four-improvised": LabelSet(IEMOCAP4, improvised_only=True),  # 2,943
    # Excited turns left out: papers on improvised turns mostly have these 2,280, so say which it was.
    "four-unmerged": LabelSet(UNMERGED),  # 4,490
    "four-unmerged-improvised": LabelSet(UNMERGED, improvised_only=True),  # 2,280
    "five": LabelSet({**IEMOCAP4, "fru": IEMOCAP_CODES["fru"]}),  # 7,380
    "six": LabelSet(  # 7,380
        {code: IEMOCAP_CODES[code] for code in ("ang", "hap", "exc", "sad", "neu", "fru")}
    ),
}
TARGETS = (*LABEL_SETS, NUMBERS)


def select_turns(turns: Iterable[Turn], target: str) -> list[Turn]:
    """The turns that take part: those with a label of the set, or all where numbers are the target.

    Raises `ConfigError` for an unknown target.
    """
    if target == NUMBERS:
        return list(turns)
    chosen = label_set(target)
    return [turn for turn in turns if chosen.label_of(turn) is not None]


def label_set(target: str) -> LabelSet:
    """A set of labels by its name."""
    if target not in LABEL_SETS:
        raise ConfigError(f"unknown label set {target!r}; known: {', '.join(LABEL_SETS)}")
    return LABEL_SETS[target]


def label_numbers(turns: Sequence[Turn], target: str) -> NDArray[numpy.int64]:
    """Each turn's label (N,) as an index into the set's `labels`.

    Raises `ValueError` for a turn that takes no part: select turns first.
    """
    chosen = label_set(target)
    labels = chosen.labels
    return numpy.array([labels.index(chosen.label_of(turn)) for turn in turns], numpy.int64)


def dimension_targets(turns: Sequence[Turn]) -> NDArray[numpy.float32]:
    """Valence, arousal and dominance (N, 3) in the order of `DIMENSIONS`."""
    rows = [[turn.valence, turn.arousal, turn.dominance] for turn in turns]
    return numpy.array(rows, numpy.float32).reshape(-1, len(DIMENSIONS))
