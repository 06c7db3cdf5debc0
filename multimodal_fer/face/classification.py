"""Classify the faces of a recording: people through time, and scores for each face in each frame."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy
import torch

from multimodal_fer.face.detection import crop_face, find_faces
from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.face.tracking import FaceTracker
from multimodal_fer.layers.output import predictions_of
from multimodal_fer.media.frames import Frame
from multimodal_fer.media.quality import face_quality
from multimodal_fer.types import FaceTrack, FrameRow, Image

CROPS_AT_ONCE = 16  # faces classified together; more gains nothing on a CPU
MIN_ABSENCE = 1.0  # seconds; shorter stretches without a face cause no warning
LISTED_ABSENCES = 3  # more stretches than this are summed up in one warning
NO_FACE = "no face found"
SINGLE_DETECTION = "a face was detected in this frame only; treated as a false detection"


class TrackPart(NamedTuple):
    """The rows `first` to `last` of a track, `last` excluded."""

    track: FaceTrack
    first: int
    last: int

    @property
    def area(self) -> float:
        """Return the summed areas of its boxes in square pixels."""
        boxes = self.track.boxes[self.first : self.last]
        return sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)


@dataclass
class FaceTracks:
    """All tracks and analysed frames of one recording."""

    tracks: list[FaceTrack] = field(default_factory=list)
    rows: list[FrameRow] = field(default_factory=list)
    end: float = 0.0  # seconds until which the last frame was shown

    def between(self, start: float, end: float) -> list[tuple[FrameRow, float]]:
        """Return the frames shown within start and end, each with the second at which it is replaced."""
        first = max(0, bisect_right(self.rows, start, key=lambda row: row.time) - 1)
        last = bisect_left(self.rows, end, key=lambda row: row.time)
        later = [row.time for row in self.rows[first + 1 : last + 1]] + [self.end]
        shown = zip(self.rows[first:last], later, strict=False)
        return [(row, until) for row, until in shown if until > start]

    def choose(self, start: float, end: float, face: str | int = "largest") -> TrackPart | None:
        """Return the rows within start and end of the largest face or of the person numbered `face`.

        The largest face has the largest summed area. Return None if the face is not visible.
        """
        shown = self.between(start, end)
        if not shown:
            return None
        begin, final = shown[0][0].time, shown[-1][0].time
        parts = [
            TrackPart(track, bisect_left(track.times, begin), bisect_right(track.times, final))
            for track in self.tracks
            if face in ("largest", track.id)
        ]
        best = max(parts, key=lambda part: part.area, default=None)
        return best if best and best.area > 0 else None


class FrameClassifier:
    """Turn a stream of frames into tracks with scores; a few crops are kept, but no frame."""

    def __init__(self, model: FaceNetwork, device: torch.device) -> None:
        self.model = model
        self.device = device
        self.tracker = FaceTracker()
        self.sightings: list[tuple[float, list[FaceTrack]]] = []
        self.crops: list[Image] = []
        self.waiting: list[FaceTrack] = []  # the track of each crop that is not classified yet

    def add(self, frame: Frame) -> None:
        """Detect and track the faces of the next frame."""
        faces = find_faces(frame.image)
        tracks = self.tracker.update(frame.time, faces)
        self.sightings.append((frame.time, tracks))
        for box, points, track in zip(faces.boxes, faces.landmarks, tracks, strict=True):
            track.times.append(frame.time)
            track.boxes.append(box.tolist())
            crop = crop_face(frame.image, box, self.model.config.input_size, points)
            track.quality.append(face_quality(crop))
            self.crops.append(crop)
            self.waiting.append(track)
        if len(self.crops) >= CROPS_AT_ONCE:
            self._classify()

    def _classify(self) -> None:
        if not self.crops:
            return
        crops = torch.from_numpy(numpy.stack(self.crops)).to(self.device)
        with torch.inference_mode():
            predictions = predictions_of(self.model(crops), self.model.config)
        for track, prediction in zip(self.waiting, predictions, strict=True):
            track.scores.append(prediction.scores)
        self.crops, self.waiting = [], []

    def finish(self, interval: float) -> FaceTracks:
        """Return all tracks and frames; the last frame was shown for `interval` seconds."""
        self._classify()
        kept = self.tracker.finish(len(self.sightings))
        numbers = {id(track): track.id for track in kept}
        rows = []
        for time, tracks in self.sightings:
            faces = tuple(numbers[id(track)] for track in tracks if id(track) in numbers)
            reason = None if faces else SINGLE_DETECTION if tracks else NO_FACE
            rows.append(FrameRow(time, faces, reason))
        return FaceTracks(kept, rows, rows[-1].time + interval if rows else 0.0)


def describe_absences(faces: FaceTracks) -> list[str]:
    """Return warnings about the stretches without a face."""
    if faces.rows and not faces.tracks:
        return ["no face was found in any frame"]
    stretches: list[list[float]] = []
    for row, end in faces.between(0.0, faces.end):
        if row.faces:
            continue
        if stretches and stretches[-1][1] == row.time:
            stretches[-1][1] = end
        else:
            stretches.append([row.time, end])
    long = [(start, end) for start, end in stretches if end - start >= MIN_ABSENCE]
    if len(long) > LISTED_ABSENCES:
        total = sum(end - start for start, end in long)
        return [f"no face in {len(long)} stretches, {total:.1f} s in all"]
    return [f"no face between {start:.1f} s and {end:.1f} s" for start, end in long]
