"""How much of a stretch each modality could be judged in: it stands beside every score."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence

from multimodal_fer.errors import MediaError
from multimodal_fer.face.classification import FaceTracks
from multimodal_fer.labels import MODALITIES
from multimodal_fer.speech.transcription import SpeechResult
from multimodal_fer.types import FaceTrack, Media, Scores, Span

HEADER_TOLERANCE = 0.5  # seconds between what a header says and what is there that mean nothing


def measure_coverage(
    start: float,
    end: float,
    spoken: Mapping[str, list[Span]],
    seen: FaceTracks,
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


def true_duration(
    media: Media, heard: SpeechResult, seen: FaceTracks, warn: Callable[[str], None]
) -> float:
    """Seconds that really hold something, where the header says nothing or too much."""
    reached = max(heard.duration, seen.end)
    if reached == 0:
        raise MediaError(
            f"{media.path}: its header is readable, but nothing in it can be decoded; "
            "copy or export the recording again"
        )
    if abs(reached - media.duration) <= HEADER_TOLERANCE:
        return media.duration
    if reached < media.duration:
        warn(
            f"the recording ends at {reached:.1f} s, its header says {media.duration:.1f} s; "
            "its end may be missing"
        )
    return reached
