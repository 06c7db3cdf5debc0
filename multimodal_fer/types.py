"""Data types that the stages exchange, and the final analysis.

Times are seconds from the start of the recording; spans include their start and exclude their end. Images
are RGB uint8 (H, W, 3). Boxes are left, top, right, bottom in square pixels of the upright frame.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy
from numpy.typing import NDArray

from multimodal_fer.labels import NEUTRAL, rounded, strongest, valence_of

SAMPLE_RATE = 16_000  # Hz, mono, for speech recognition and voice features alike
Waveform = NDArray[numpy.float32]
Span = tuple[float, float]

SCHEMA = 1  # of Analysis.to_dict; raised when older readers would misread new records

# Of a segment's record, in order.
SEGMENT_FIELDS = (
    *("start", "end", "spoken", "text", "face_id", "emotion", "unsure", "conflict", "scores"),
    *("attention", "coverage", "by_modality", "valence", "valences", "expressiveness"),
    *("fine", "text_valence"),
)

CLEAR_VALENCE = 0.5  # beyond this, a modality is clearly pleasant or unpleasant

Scores = dict[str, float]
Image = NDArray[numpy.uint8]


@dataclass(frozen=True)
class Media:
    """The streams of a recording. Width and height are in square pixels, before rotation."""

    path: str
    duration: float
    has_video: bool
    has_audio: bool
    width: int
    height: int
    frame_rate: float


@dataclass(frozen=True, eq=False)
class Faces:
    """The detections in one frame: boxes (N, 4), confidences (N,) in 0..1, landmarks (N, 5, 2); float32."""

    boxes: NDArray[numpy.float32]
    confidences: NDArray[numpy.float32]
    landmarks: NDArray[numpy.float32]  # person's right and left eye, nose, right and left of mouth

    def __post_init__(self) -> None:
        count, boxes, points = len(self.confidences), self.boxes.shape, self.landmarks.shape
        if (boxes, points) != ((count, 4), (count, 5, 2)):
            raise ValueError(f"boxes must be (N, 4), landmarks (N, 5, 2); got {boxes}, {points}")


@dataclass(frozen=True)
class Word:
    """One spoken word with the recogniser's confidence."""

    text: str
    start: float
    end: float
    confidence: float

    def __post_init__(self) -> None:
        _check_span(self.start, self.end, "word")


@dataclass(frozen=True)
class Window:
    """One time span to predict: an utterance, speech without words, or a stretch without speech.

    `confidence` is the mean confidence of its words; None if it has none.
    """

    start: float
    end: float
    spoken: bool
    text: str | None = None
    confidence: float | None = None

    def __post_init__(self) -> None:
        _check_span(self.start, self.end, "window")


@dataclass
class FaceTrack:
    """The track of one person: a row for each frame in which this face was detected."""

    id: int
    times: list[float] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    quality: list[float] = field(default_factory=list, repr=False)  # 0..1; not stored in records

    def to_dict(self) -> dict[str, Any]:
        """Return columns of equal length; scores are rows over the face network's labels."""
        return {
            "id": self.id,
            "times": rounded(self.times),
            "boxes": [[round(value, 1) for value in box] for box in self.boxes],
            "emotion": [strongest(scores) for scores in self.scores],
            "scores": [rounded(list(row.values())) for row in self.scores],
        }


@dataclass(frozen=True)
class Transcript:
    """All words of a recording, their language, and the speech model that recognised them."""

    language: str | None
    model: str
    words: tuple[Word, ...]

    def to_dict(self) -> dict[str, Any]:
        words = [asdict(word) for word in self.words]
        return {"language": self.language, "model": self.model, "words": rounded(words)}


@dataclass(frozen=True)
class Segment:
    """The prediction for one window.

    `by_modality` holds each modality's own scores, None if it was not available. `attention` holds the
    weight of each modality, and sums to 1 if there are scores. `coverage` holds the share of the window
    in which each modality was available. `spoken` is true if speech was detected, with or without words.
    `fine` holds the fine labels that the words express, such as gratitude or curiosity, with their
    probabilities, the most probable first; it is empty if none is probable enough. `text_valence` is how
    pleasant the words are, from -1 to 1; None without words.
    """

    start: float
    end: float
    text: str | None
    face_id: int | None
    emotion: str | None
    unsure: bool
    scores: Scores
    attention: Scores
    coverage: Scores
    by_modality: dict[str, Scores | None]
    spoken: bool = False
    fine: Scores = field(default_factory=dict)
    text_valence: float | None = None

    @property
    def seconds(self) -> float:
        """Return its duration, at least 1 ms, as its weight in means."""
        return max(self.end - self.start, 1e-3)

    @property
    def valences(self) -> dict[str, float | None]:
        """Return how pleasant each modality is, from -1 to 1; None if it was not available.

        That of face and voice, and of words without `text_valence`, is the probability of the pleasant
        labels less that of the unpleasant ones.
        """
        found = {name: valence_of(scores) for name, scores in self.by_modality.items()}
        return found if self.text_valence is None else found | {"text": self.text_valence}

    @property
    def valence(self) -> float | None:
        """Return how pleasant the fused answer is, from -1 to 1; None without scores.

        Words say more about valence than the bundle's labels hold (disappointment, gratitude), so the
        difference of `text_valence` from the valence of the words' scores is added, times their attention.
        """
        joint, words = valence_of(self.scores), valence_of(self.by_modality.get("text"))
        if joint is None or words is None or self.text_valence is None:
            return joint
        joint += self.attention.get("text", 0.0) * (self.text_valence - words)
        return max(-1.0, min(1.0, joint))

    @property
    def expressiveness(self) -> float | None:
        """Return the probability of any label but neutral; None without scores."""
        return 1 - self.scores.get(NEUTRAL, 0.0) if self.scores else None

    @property
    def conflict(self) -> tuple[str, ...]:
        """Return the modalities that contradict each other, such as a smile and angry words.

        The valence of one is above 0.5 and that of another below -0.5.
        """
        known = {name: value for name, value in self.valences.items() if value is not None}
        pleased = tuple(name for name, value in known.items() if value > CLEAR_VALENCE)
        displeased = tuple(name for name, value in known.items() if value < -CLEAR_VALENCE)
        return (*pleased, *displeased) if pleased and displeased else ()

    def __post_init__(self) -> None:
        _check_span(self.start, self.end, "segment")
        for name, scores in {"fused": self.scores, **self.by_modality}.items():
            if scores:
                total = sum(scores.values())
                if not math.isclose(total, 1.0, abs_tol=1e-3):
                    raise ValueError(f"{name} scores must sum to 1; got {total} over {[*scores]}")

    def to_dict(self) -> dict[str, Any]:
        return rounded({name: getattr(self, name) for name in SEGMENT_FIELDS})


@dataclass(frozen=True)
class FrameRow:
    """One analysed frame: the people whose faces were detected, or the reason why there is none."""

    time: float
    faces: tuple[int, ...]
    reason: str | None


@dataclass(frozen=True)
class Analysis:
    """The result for one recording or one written text."""

    path: str | None
    bundle: str
    labels: tuple[str, ...]
    duration: float = 0.0
    face_labels: tuple[str, ...] = ()
    emotion: str | None = None
    unsure: bool = False
    scores: Scores = field(default_factory=dict)
    coverage: Scores = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()
    faces: tuple[FaceTrack, ...] = ()
    frames: tuple[FrameRow, ...] = ()
    transcript: Transcript | None = None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return a record of schema 1 for JSON, without NaN."""
        return {
            "schema": SCHEMA,
            "path": self.path,
            "duration": rounded(self.duration),
            "bundle": self.bundle,
            "labels": list(self.labels),
            "face_labels": list(self.face_labels),
            "emotion": self.emotion,
            "scores": rounded(self.scores),
            "unsure": self.unsure,
            "valence": rounded(self.valence),
            "expressiveness": rounded(self.expressiveness),
            "coverage": rounded(self.coverage),
            "segments": [segment.to_dict() for segment in self.segments],
            "faces": [track.to_dict() for track in self.faces],
            "frames": {
                "times": rounded([row.time for row in self.frames]),
                "faces": [list(row.faces) for row in self.frames],
                "reasons": [row.reason for row in self.frames],
            },
            "transcript": None if self.transcript is None else self.transcript.to_dict(),
            "warnings": list(self.warnings),
        }

    @property
    def valence(self) -> float | None:
        """Return the mean valence of the segments, weighted by duration; None without scores."""
        return _weighted(self.segments, "valence")

    @property
    def expressiveness(self) -> float | None:
        """Return the mean expressiveness of the segments, weighted by duration; None without scores."""
        return _weighted(self.segments, "expressiveness")

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Analysis":
        """Read a record of `to_dict`, which has rounded its numbers.

        Raises `ValueError` if the record has another schema, and `KeyError` if a field is missing.
        """
        if record.get("schema") != SCHEMA:
            raise ValueError(f"expected an answer of schema {SCHEMA}, found {record.get('schema')}")
        plain = ("path", "duration", "bundle", "emotion", "scores", "unsure", "coverage")
        transcript, frames = record["transcript"], record["frames"]
        face_labels = record["face_labels"]
        tracks = [
            FaceTrack(
                track["id"],
                track["times"],
                track["boxes"],
                [dict(zip(face_labels, row, strict=True)) for row in track["scores"]],
            )
            for track in record["faces"]
        ]
        rows = zip(frames["times"], frames["faces"], frames["reasons"], strict=True)
        return cls(
            **{name: record[name] for name in plain},
            labels=tuple(record["labels"]),
            face_labels=tuple(face_labels),
            segments=tuple(_segment_of(row) for row in record["segments"]),
            faces=tuple(tracks),
            frames=tuple(FrameRow(time, tuple(faces), reason) for time, faces, reason in rows),
            transcript=transcript
            and Transcript(
                transcript["language"],
                transcript["model"],
                tuple(Word(**word) for word in transcript["words"]),
            ),
            warnings=tuple(record["warnings"]),
        )


def _segment_of(row: Mapping[str, Any]) -> Segment:
    """Read one segment; in older records, `spoken` follows from timed words or voice scores."""
    timed = row["end"] > row["start"]
    spoken = timed and bool(row["text"] or row["by_modality"].get("voice"))
    row = {"spoken": spoken, "fine": {}, "text_valence": None, **row}
    return Segment(**{name: row[name] for name in Segment.__dataclass_fields__})


def overall(segments: Sequence[Segment]) -> Scores:
    """Return the mean scores of all segments that have scores, weighted by duration."""
    scored = [segment for segment in segments if segment.scores]
    total = sum(segment.seconds for segment in scored)
    return {
        label: sum(segment.seconds * segment.scores[label] for segment in scored) / total
        for label in (scored[0].scores if scored else ())
    }


def _weighted(segments: Sequence[Segment], name: str) -> float | None:
    """Return the mean of a property over the segments that have it, weighted by duration."""
    scored = [segment for segment in segments if getattr(segment, name) is not None]
    total = sum(segment.seconds for segment in scored)
    return sum(one.seconds * getattr(one, name) for one in scored) / total if scored else None


def _check_span(start: float, end: float, what: str) -> None:
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start <= end):
        raise ValueError(f"a {what} needs 0 <= start <= end in seconds; got {start} to {end}")


def verdict(segment: Segment) -> str:
    """Return emotion and score of a segment as a short text; empty without scores."""
    if segment.emotion is None:
        return ""
    doubt = "?" if segment.unsure else ""
    return f"{segment.emotion}{doubt} {segment.scores[segment.emotion]:.0%}"
