"""Measure how often face, voice and text agree, over the segments in which both have scores.

Agreement is not accuracy: two modalities may agree and both be wrong.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from multimodal_fer.labels import FER_PLUS_TO_OPEN7, MODALITIES
from multimodal_fer.study.tables import Table
from multimodal_fer.types import Analysis, Scores, strongest

PAIRS = tuple(combinations(MODALITIES, 2))
MIN_SEGMENTS = 30  # for kappa; with fewer it depends mostly on chance


class Agreement(NamedTuple):
    """The share of segments in which two modalities have the same strongest emotion.

    `kappa` is Cohen's (1960): 1 is full agreement, 0 is agreement by chance. It is None with fewer than
    `MIN_SEGMENTS` segments, and if both modalities always have one and the same emotion.
    """

    first: str
    second: str
    segments: int
    sessions: int
    share: float | None
    kappa: float | None
    note: str


Pairs = dict[tuple[str, str], list[tuple[str, str]]]  # two modalities → their emotions by segment


def emotions_of(analysis: Analysis) -> Pairs:
    """Return both emotions of each pair of modalities, for the segments in which both have scores."""
    pairs: Pairs = {pair: [] for pair in PAIRS}
    for segment in analysis.segments:
        emotions = {
            name: _shared_label(scores, analysis.labels)
            for name, scores in segment.by_modality.items()
            if scores
        }
        for first, second in PAIRS:
            if first in emotions and second in emotions:
                pairs[first, second].append((emotions[first], emotions[second]))
    return pairs


def _shared_label(scores: Scores, labels: Sequence[str]) -> str:
    """Return the strongest emotion among the labels that all modalities share."""
    folded: Scores = {}
    for label, score in scores.items():
        shared = label if label in labels else FER_PLUS_TO_OPEN7.get(label, label)
        folded[shared] = folded.get(shared, 0.0) + score
    return strongest(folded) or ""


def measure(sessions: Iterable[Pairs]) -> list[Agreement]:
    """Return the agreement of each pair of modalities over several sessions."""
    found = list(sessions)
    return [_measure_pair(pair, [one[pair] for one in found if one[pair]]) for pair in PAIRS]


def _measure_pair(
    pair: tuple[str, str], sessions: Sequence[Sequence[tuple[str, str]]]
) -> Agreement:
    emotions = [both for session in sessions for both in session]
    n = len(emotions)
    if n == 0:
        return Agreement(*pair, 0, 0, None, None, "no segment in which both have scores")
    share = sum(one == other for one, other in emotions) / n
    kappa, note = None, f"too few segments for kappa (at least {MIN_SEGMENTS})"
    if n >= MIN_SEGMENTS:
        kappa = cohen_kappa(emotions)
        note = "" if kappa is not None else "kappa is undefined: both always have the same emotion"
        if len(sessions) == 1:
            note = "from one session only"
    return Agreement(*pair, n, len(sessions), share, kappa, note)


def cohen_kappa(emotions: Sequence[tuple[str, str]]) -> float | None:
    """Return the agreement beyond chance (Cohen 1960); None if only one label occurs."""
    n = len(emotions)
    firsts, seconds = (Counter(labels) for labels in zip(*emotions, strict=True))
    observed = sum(one == other for one, other in emotions) / n
    expected = sum(firsts[label] * seconds[label] for label in firsts) / n**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def agreement_table(by_participant: Mapping[str, Sequence[Pairs]]) -> Table:
    """Return a row for each pair of modalities, over all participants (no name) and for each one."""
    everyone = [one for sessions in by_participant.values() for one in sessions]
    rows = []
    for name, sessions in {"": everyone, **by_participant}.items():
        for row in measure(sessions):
            rounded = (None if value is None else round(value, 4) for value in row[4:6])
            rows.append([name, *row[:4], *rounded, row.note])
    return Table(["participant", *Agreement._fields], rows)
