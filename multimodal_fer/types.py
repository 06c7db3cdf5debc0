"""What flows between the stages, and the answer. Each is checked once, when it is made.

Times are seconds from the container's zero, start included, end excluded. Images are RGB uint8 (H, W, 3).
Boxes are left, top, right, bottom in pixels of the upright frame with square pixels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy
from numpy.typing import NDArray

from multimodal_fer.labels import PLEASANT, UNPLEASANT

SAMPLE_RATE = 16_000  # Hz, mono, for speech recognition and voice features alike
Waveform = NDArray[numpy.float32]
Span = tuple[float, float]

SCHEMA = 1  # of Analysis.to_dict; raised when a reader of older answers would misread the new ones

Scores = dict[str, float]
Image = NDArray[numpy.uint8]


@dataclass(frozen=True)
class Media:
    """What a recording holds. Width and height are of the coded picture, in square pixels."""

    path: str
    duration: float
    has_video: bool
    has_audio: bool
    width: int
    height: int
    frame_rate: float


@dataclass(frozen=True, eq=False)
class Faces:
    """The detections in one picture: boxes (N, 4) float32 and confidences (N,) float32 in 0..1."""

    boxes: NDArray[numpy.float32]
    confidences: NDArray[numpy.float32]

    def __post_init__(self) -> None:
        if self.boxes.shape != (len(self.confidences), 4):
            raise ValueError(
                f"boxes must be (N, 4) with N confidences; "
                f"got {self.boxes.shape} and {self.confidences.shape}"
            )


@dataclass(frozen=True)
class Word:
    """One spoken word with the recogniser's own confidence."""

    text: str
    start: float
    end: float
    confidence: float

    def __post_init__(self) -> None:
        _check_span(self.start, self.end, "word")


@dataclass(frozen=True)
class Window:
    """One stretch that gets an answer: an utterance, speech without words, or time without speech.

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
    """One person through time: a row for each picture in which this face was seen."""

    id: int
    times: list[float] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    # What the facial network made of each picture, (D,) float16; no part of the answer.
    embeddings: list[NDArray[numpy.float16]] = field(default_factory=list, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Columns of equal length; scores are rows over the face part's labels."""
        return {
            "id": self.id,
            "times": [_rounded(time) for time in self.times],
            "boxes": [[round(value, 1) for value in box] for box in self.boxes],
            "emotion": [strongest(scores) for scores in self.scores],
            "scores": [[_rounded(value) for value in row.values()] for row in self.scores],
        }


@dataclass(frozen=True)
class Transcript:
    """All words of a recording, the language they are in and the model that heard them."""

    language: str | None
    model: str
    words: tuple[Word, ...]

    def to_dict(self) -> dict[str, Any]:
        words = [
            {key: _rounded(value) for key, value in asdict(word).items()} for word in self.words
        ]
        return {"language": self.language, "model": self.model, "words": words}


@dataclass(frozen=True)
class Segment:
    """The answer for one window.

    `by_modality` holds each modality's own scores, None where it had nothing to judge;
    `attention` holds how much each one counted, and sums to 1 where anything was judged;
    `coverage` holds the share of the window in which each one was there to be judged;
    `spoken` is true if speech was detected in it, with or without recognised words.
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

    @property
    def seconds(self) -> float:
        """How long it lasts, as its weight in a mean: never nothing."""
        return max(self.end - self.start, 1e-3)

    @property
    def conflict(self) -> tuple[str, ...]:
        """Modalities that contradict each other, such as a smile over angry words; none where they do not.

        One is more likely pleasant than everything else, another more likely unpleasant.
        """
        pleased, displeased = (
            tuple(
                name
                for name, scores in self.by_modality.items()
                if scores and sum(scores.get(label, 0.0) for label in labels) > 0.5
            )
            for labels in (PLEASANT, UNPLEASANT)
        )
        return (*pleased, *displeased) if pleased and displeased else ()

    def __post_init__(self) -> None:
        _check_span(self.start, self.end, "segment")
        for name, scores in {"fused": self.scores, **self.by_modality}.items():
            if scores:
                _check_scores(scores, name)

    def to_dict(self) -> dict[str, Any]:
        return {
            "start": _rounded(self.start),
            "end": _rounded(self.end),
            "spoken": self.spoken,
            "text": self.text,
            "face_id": self.face_id,
            "emotion": self.emotion,
            "unsure": self.unsure,
            "conflict": list(self.conflict),
            "scores": _rounded_scores(self.scores),
            "attention": _rounded_scores(self.attention),
            "coverage": _rounded_scores(self.coverage),
            "by_modality": {
                name: None if scores is None else _rounded_scores(scores)
                for name, scores in self.by_modality.items()
            },
        }


@dataclass(frozen=True)
class FrameRow:
    """One picture that was looked at: whose faces it shows, or why it shows none."""

    time: float
    faces: tuple[int, ...]
    reason: str | None


@dataclass(frozen=True)
class Analysis:
    """The whole answer for one recording or one written text."""

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
        """Plain str, float, list and dict, in schema 1; safe for `json.dumps(allow_nan=False)`."""
        return {
            "schema": SCHEMA,
            "path": self.path,
            "duration": _rounded(self.duration),
            "bundle": self.bundle,
            "labels": list(self.labels),
            "face_labels": list(self.face_labels),
            "emotion": self.emotion,
            "scores": _rounded_scores(self.scores),
            "unsure": self.unsure,
            "coverage": _rounded_scores(self.coverage),
            "segments": [segment.to_dict() for segment in self.segments],
            "faces": [track.to_dict() for track in self.faces],
            "frames": {
                "times": [_rounded(row.time) for row in self.frames],
                "faces": [list(row.faces) for row in self.frames],
                "reasons": [row.reason for row in self.frames],
            },
            "transcript": None if self.transcript is None else self.transcript.to_dict(),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Analysis":
        """Read back what `to_dict` made: equal to the answer it came from, but for rounding.

        Raises `ValueError` where the record is of another schema, and `KeyError` where it lacks a field.
        """
        if record.get("schema") != SCHEMA:
            raise ValueError(f"expected an answer of schema {SCHEMA}, found {record.get('schema')}")
        plain = ("path", "duration", "bundle", "emotion", "scores", "unsure", "coverage")
        heard, seen, face_labels = record["transcript"], record["frames"], record["face_labels"]
        segments = [_segment_of(row) for row in record["segments"]]
        tracks = [
            FaceTrack(
                track["id"],
                track["times"],
                track["boxes"],
                [dict(zip(face_labels, row, strict=True)) for row in track["scores"]],
            )
            for track in record["faces"]
        ]
        rows = zip(seen["times"], seen["faces"], seen["reasons"], strict=True)
        return cls(
            **{name: record[name] for name in plain},
            labels=tuple(record["labels"]),
            face_labels=tuple(face_labels),
            segments=tuple(segments),
            faces=tuple(tracks),
            frames=tuple(FrameRow(time, tuple(faces), reason) for time, faces, reason in rows),
            transcript=heard
            and Transcript(
                heard["language"],
                heard["model"],
                tuple(Word(**word) for word in heard["words"]),
            ),
            warnings=tuple(record["warnings"]),
        )


def _segment_of(row: Mapping[str, Any]) -> Segment:
    """Read one segment back; in older answers without `spoken`, timed words or a voice tell of speech."""
    timed = row["end"] > row["start"]
    heard = timed and bool(row["text"] or row["by_modality"].get("voice"))
    row = {"spoken": heard, **row}
    return Segment(**{name: row[name] for name in Segment.__dataclass_fields__})


def overall(segments: Sequence[Segment]) -> Scores:
    """The mean over all windows that could be judged, each counting by its length."""
    judged = [segment for segment in segments if segment.scores]
    total = sum(segment.seconds for segment in judged)
    return {
        label: sum(segment.seconds * segment.scores[label] for segment in judged) / total
        for label in (judged[0].scores if judged else ())
    }


def strongest(scores: Mapping[str, float]) -> str | None:
    """The label with the highest score, the first of equals; None where nothing was scored."""
    return max(scores, key=scores.__getitem__) if scores else None


def _rounded(value: Any) -> Any:
    """Four decimals: finer than any clock or score here is true, and the same on every machine."""
    return round(float(value), 4) if isinstance(value, float) else value


def _rounded_scores(scores: Mapping[str, float]) -> Scores:
    return {label: _rounded(float(value)) for label, value in scores.items()}


def _check_span(start: float, end: float, what: str) -> None:
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start <= end):
        raise ValueError(f"a {what} needs 0 <= start <= end in seconds; got {start} to {end}")


def _check_scores(scores: Mapping[str, float], what: str) -> None:
    total = sum(scores.values())
    if not math.isclose(total, 1.0, abs_tol=1e-3):
        raise ValueError(f"{what} scores must sum to 1; got {total} over {list(scores)}")


def mean_scores(rows: Sequence[Scores]) -> Scores:
    """The mean of score dictionaries over the same labels."""
    return {label: sum(row[label] for row in rows) / len(rows) for label in rows[0]}


def verdict(segment: Segment) -> str:
    """What a segment expresses, in short; empty where nothing was judged."""
    if segment.emotion is None:
        return ""
    doubt = "?" if segment.unsure else ""
    return f"{segment.emotion}{doubt} {segment.scores[segment.emotion]:.0%}"
