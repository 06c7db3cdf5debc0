"""How much of a stretch each modality could be judged in: it stands beside every score."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from multimodal_fer.labels import MODALITIES
from multimodal_fer.types import FaceTrack, Scores
from multimodal_fer.watching import Seen
from multimodal_fer.windows import Span


def measure_coverage(
    start: float,
    end: float,
    spoken: Mapping[str, list[Span]],
    seen: Seen,
    track: FaceTrack | None = None,
) -> Scores:
    """The share of a stretch in which each modality was there to be judged; any face, or one."""
    faces = [
        (row.time, until)
        for row, until in seen.between(start, end)
        if (row.faces if track is None else track.id in row.faces)
    ]
    length = max(end - start, 1e-6)
    parts = {"face": faces, **spoken}
    return {name: min(1.0, _shared(start, end, parts[name]) / length) for name in MODALITIES}


def _shared(start: float, end: float, spans: Sequence[Span]) -> float:
    """Seconds of `spans`, which are in time order, that lie within start and end."""
    first = bisect_right(spans, start, key=lambda span: span[1])
    last = bisect_left(spans, end, key=lambda span: span[0])
    return sum(min(end, stop) - max(start, begin) for begin, stop in spans[first:last])
