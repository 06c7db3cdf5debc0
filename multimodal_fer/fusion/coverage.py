"""Measure in what share of a time span each modality is available."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from multimodal_fer.face.classification import FaceTracks
from multimodal_fer.labels import MODALITIES
from multimodal_fer.types import FaceTrack, Scores, Span


def measure_coverage(
    start: float,
    end: float,
    spoken: Mapping[str, list[Span]],
    faces: FaceTracks,
    track: FaceTrack | None = None,
) -> Scores:
    """Return the share (0..1) of the seconds from start to end that each modality covers.

    `spoken` holds the spans of "voice" and "text" in time order. The face counts while the person of
    `track` is visible, or anybody if it is None.
    """
    visible = [
        (row.time, until)
        for row, until in faces.between(start, end)
        if (row.faces if track is None else track.id in row.faces)
    ]
    length = max(end - start, 1e-6)
    spans = {"face": visible, **spoken}
    return {name: min(1.0, _overlap(start, end, spans[name]) / length) for name in MODALITIES}


def _overlap(start: float, end: float, spans: Sequence[Span]) -> float:
    """Return the seconds of time-ordered `spans` that lie within start and end."""
    first = bisect_right(spans, start, key=lambda span: span[1])
    last = bisect_left(spans, end, key=lambda span: span[0])
    return sum(min(end, stop) - max(start, begin) for begin, stop in spans[first:last])
