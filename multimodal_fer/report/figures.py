"""What the page's timeline and curves are drawn from: plain numbers, few enough for hours of recording."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from multimodal_fer.fusion.baseline import SOURCES, Change
from multimodal_fer.types import Analysis, FaceTrack, Scores, mean_scores

POINTS = 3000  # of one person's curve; a screen is hardly wider
MOST_PEOPLE = 8  # lanes; those seen longest
BREAK = 1.5  # seconds unseen after which a curve is broken

SOURCE_NAMES = {"fused": "Together", "face": "Face", "voice": "Voice", "text": "Words"}


class Style(NamedTuple):
    """How an emotion is drawn. Colour never stands alone: swatches are hatched and curves are dashed."""

    colour: str
    dash: str


# Okabe and Ito (2008), the light ones darkened until they stand out 3:1 from white and from near-black.
STYLES = {
    "neutral": Style("#858b94", "solid"),
    "happiness": Style("#c08000", "solid"),
    "surprise": Style("#c4649a", "dash"),
    "sadness": Style("#1a7fc0", "solid"),
    "anger": Style("#d55e00", "dash"),
    "disgust": Style("#009e73", "dashdot"),
    "fear": Style("#3f97d6", "dot"),
    "contempt": Style("#8c8200", "longdash"),
}
OTHERS = tuple(STYLES.values())  # for the labels of a bundle that this page does not know


def style_labels(labels: Sequence[str]) -> dict[str, int]:
    """The number of each label's style, which names its CSS class as well."""
    known = list(STYLES)
    free = [number for number, label in enumerate(known) if label not in labels]
    styled = {}
    for label in labels:
        if label in STYLES:
            styled[label] = known.index(label)
        else:
            styled[label] = free.pop(0) if free else len(styled) % len(known)
    return styled


def page_data(analysis: Analysis, changes: Sequence[Change] | None) -> dict[str, Any]:
    """Everything the page's script needs. Scores are in thousandths, in the order of `labels`."""
    labels = all_labels(analysis)
    people = sorted(analysis.faces, key=lambda track: len(track.times), reverse=True)[:MOST_PEOPLE]
    styles = style_labels(labels)
    return {
        "duration": round(analysis.duration, 3),
        "labels": labels,
        "styles": [[styles[label], *OTHERS[styles[label]]] for label in labels],
        "sources": {name: SOURCE_NAMES[name] for name in SOURCES},
        "segments": [
            {
                "start": round(segment.start, 3),
                "end": round(segment.end, 3),
                "emotion": labels.index(segment.emotion) if segment.emotion else -1,
                "unsure": int(segment.unsure),
                "conflict": int(bool(segment.conflict)),
                "scores": [
                    _thousandths(scores, labels)
                    for scores in (
                        segment.scores,
                        *(segment.by_modality.get(name) for name in SOURCES[1:]),
                    )
                ],
                "attention": [round(1000 * segment.attention.get(n, 0.0)) for n in SOURCES[1:]],
            }
            for segment in analysis.segments
        ],
        "changes": [
            [_hundredths(change.log_odds.get(name), labels) for name in SOURCES]
            for change in changes or ()
        ],
        "people": [_curve(track, analysis.duration, labels) for track in people],
    }


def all_labels(analysis: Analysis) -> list[str]:
    """The bundle's labels, then those that only a face has."""
    return list(dict.fromkeys([*analysis.labels, *analysis.face_labels]))


def seconds_seen(track: FaceTrack) -> float:
    """About how long a person was in the picture."""
    steps = [after - before for before, after in pairwise(track.times) if after - before < BREAK]
    return sum(steps)


def _curve(track: FaceTrack, duration: float, labels: Sequence[str]) -> dict[str, Any]:
    """One person's scores through time: means over equal pieces, with a hole where they are not seen."""
    width = max(duration, 1e-6) / POINTS
    times: list[float] = []
    rows: list[list[int] | None] = []
    reached, last = 0, None
    while reached < len(track.times):
        start = track.times[reached]
        until = bisect_left(track.times, start + width, lo=reached + 1)
        if last is not None and start - last > max(BREAK, 2 * width):
            times.append(round(last, 2))
            rows.append(None)
        last = track.times[until - 1]
        times.append(round((start + last) / 2, 2))
        rows.append(_thousandths(mean_scores(track.scores[reached:until]), labels))
        reached = until
    return {"id": track.id, "times": times, "scores": rows}


def _thousandths(scores: Mapping[str, float] | None, labels: Sequence[str]) -> list[int] | None:
    """Scores in the order of `labels`, those it does not have as 0; None where nothing was judged."""
    return [round(1000 * scores.get(label, 0.0)) for label in labels] if scores else None


def _hundredths(change: Scores | None, labels: Sequence[str]) -> list[int | None] | None:
    if not change:
        return None
    return [round(100 * change[label]) if label in change else None for label in labels]
