"""Whether face, voice and words say the same: for each pair, over the segments in which both were judged.

It measures agreement, not truth: two modalities may agree and both be wrong, or differ because people do
smile over a complaint.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from multimodal_fer.labels import FER_PLUS_TO_OPEN7, MODALITIES
from multimodal_fer.study.tables import Table
from multimodal_fer.types import Analysis, Scores, strongest

PAIRS = tuple(combinations(MODALITIES, 2))
FEW = 30  # segments; from fewer, kappa says more of chance than of the modalities


class Agreement(NamedTuple):
    """How often two modalities name the same emotion, of `segments` in `sessions`.

    `kappa` is Cohen's (1960): 1 is full agreement, 0 what their own habits would give by chance; None
    from fewer than `FEW` segments, and where both name one and the same emotion throughout.
    """

    first: str
    second: str
    segments: int
    sessions: int
    share: float | None
    kappa: float | None
    note: str


Pairs = dict[tuple[str, str], list[tuple[str, str]]]  # of modalities → the emotions that each named


def emotions_of(analysis: Analysis) -> Pairs:
    """For each pair of modalities, the emotions they name in the segments in which both were judged."""
    pairs: Pairs = {pair: [] for pair in PAIRS}
    for segment in analysis.segments:
        named = {
            name: _named(scores, analysis.labels)
            for name, scores in segment.by_modality.items()
            if scores
        }
        for first, second in PAIRS:
            if first in named and second in named:
                pairs[first, second].append((named[first], named[second]))
    return pairs


def _named(scores: Scores, labels: Sequence[str]) -> str:
    """The strongest emotion under the labels that the modalities share."""
    folded: Scores = {}
    for label, score in scores.items():
        shared = label if label in labels else FER_PLUS_TO_OPEN7.get(label, label)
        folded[shared] = folded.get(shared, 0.0) + score
    return strongest(folded) or ""


def measure(sessions: Iterable[Pairs]) -> list[Agreement]:
    """Agreement of each pair of modalities over several sessions."""
    found = list(sessions)
    return [_measured(pair, [one[pair] for one in found if one[pair]]) for pair in PAIRS]


def _measured(pair: tuple[str, str], sessions: Sequence[Sequence[tuple[str, str]]]) -> Agreement:
    named = [both for session in sessions for both in session]
    n = len(named)
    if n == 0:
        return Agreement(*pair, 0, 0, None, None, "never judged together")
    share = sum(one == other for one, other in named) / n
    kappa, note = None, f"too few for kappa, which needs {FEW}" if n < FEW else ""
    if n >= FEW:
        kappa = cohen_kappa(named)
        note = "" if kappa is not None else "both name one emotion throughout: kappa is undefined"
        if len(sessions) == 1:
            note = "of one session only"
    return Agreement(*pair, n, len(sessions), share, kappa, note)


def cohen_kappa(named: Sequence[tuple[str, str]]) -> float | None:
    """Agreement beyond chance (Cohen 1960); None where chance alone explains full agreement."""
    n = len(named)
    firsts, seconds = Counter(one for one, _ in named), Counter(other for _, other in named)
    observed = sum(one == other for one, other in named) / n
    expected = sum(firsts[label] * seconds[label] for label in firsts) / n**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def agreement_table(by_participant: Mapping[str, Sequence[Pairs]]) -> Table:
    """A row for each pair of modalities, over all participants (an empty name) and for each one."""
    everyone = [one for sessions in by_participant.values() for one in sessions]
    groups = {"": everyone, **by_participant}
    columns = ["participant", "first", "second", "segments", "sessions", "share", "kappa", "note"]
    return Table(
        columns,
        [
            [
                name,
                *row[:4],
                *(None if value is None else round(value, 4) for value in row[4:6]),
                row.note,
            ]
            for name, sessions in groups.items()
            for row in measure(sessions)
        ],
    )
