"""Compute the data behind the report's timeline and curves, small enough for hours of recording."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from multimodal_fer.fusion.baseline import SOURCES, Change
from multimodal_fer.labels import mean_scores
from multimodal_fer.types import Analysis, FaceTrack, Scores

POINTS = 3000  # per curve; more than a screen can show
MAX_PEOPLE = 8  # shown in the timeline
MAX_GAP = 1.5  # seconds without a face before a curve is interrupted

SOURCE_NAMES = {"fused": "Combined", "face": "Face", "voice": "Voice", "text": "Text"}


class Style(NamedTuple):
    """The look of an emotion; swatches are hatched and curves dashed, so colour never stands alone."""

    colour: str
    dash: str


# Okabe and Ito (2008), the light ones darkened to a contrast of 3:1 on white and on near-black.
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


def style_labels(labels: Sequence[str]) -> dict[str, int]:
    """Return each label's style number (its place in `STYLES`); unknown labels get unused styles."""
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
    """Return the data for the page's script; scores are in thousandths, in the order of `labels`."""
    labels = all_labels(analysis)
    styles, looks = style_labels(labels), list(STYLES.values())
    modalities = SOURCES[1:]
    return {
        "duration": round(analysis.duration, 3),
        "labels": labels,
        "styles": [[styles[label], *looks[styles[label]]] for label in labels],
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
                    for scores in (segment.scores, *map(segment.by_modality.get, modalities))
                ],
                "attention": [round(1000 * segment.attention.get(n, 0.0)) for n in modalities],
            }
            for segment in analysis.segments
        ],
        "changes": [
            [_hundredths(change.log_odds.get(name), labels) for name in SOURCES]
            for change in changes or ()
        ],
        "people": [_curve(track, analysis.duration, labels) for track in people_shown(analysis)],
    }


def all_labels(analysis: Analysis) -> list[str]:
    """Return the bundle's labels, then those that only the facial network has."""
    return list(dict.fromkeys([*analysis.labels, *analysis.face_labels]))


def people_shown(analysis: Analysis) -> list[FaceTrack]:
    """Return the tracks that are visible longest, at most `MAX_PEOPLE`."""
    return sorted(analysis.faces, key=seconds_visible, reverse=True)[:MAX_PEOPLE]


def seconds_visible(track: FaceTrack) -> float:
    """Return about how long a face was visible, in seconds."""
    steps = (after - before for before, after in pairwise(track.times))
    return sum(step for step in steps if step < MAX_GAP)


def _curve(track: FaceTrack, duration: float, labels: Sequence[str]) -> dict[str, Any]:
    """Return one face's mean scores over equal steps; a row of None interrupts the curve."""
    width = max(duration, 1e-6) / POINTS
    times: list[float] = []
    rows: list[list[int] | None] = []
    first, last = 0, None
    while first < len(track.times):
        start = track.times[first]
        end = bisect_left(track.times, start + width, lo=first + 1)
        if last is not None and start - last > max(MAX_GAP, 2 * width):
            times.append(round(last, 2))
            rows.append(None)
        last = track.times[end - 1]
        times.append(round((start + last) / 2, 2))
        rows.append(_thousandths(mean_scores(track.scores[first:end]), labels))
        first = end
    return {"id": track.id, "times": times, "scores": rows}


def _thousandths(scores: Mapping[str, float] | None, labels: Sequence[str]) -> list[int] | None:
    return [round(1000 * scores.get(label, 0.0)) for label in labels] if scores else None


def _hundredths(change: Scores | None, labels: Sequence[str]) -> list[int | None] | None:
    if not change:
        return None
    return [round(100 * change[label]) if label in change else None for label in labels]
