"""Watch a recording: people through time, and what each face expresses in each picture."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

import numpy
import torch

from multimodal_fer.face.detection import crop_face, find_faces
from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.face.tracking import FaceTracker
from multimodal_fer.layers.output import predictions_of
from multimodal_fer.media.pictures import Frame
from multimodal_fer.types import FaceTrack, FrameRow, Image

CROPS_AT_ONCE = 16  # faces classified together; more gains nothing on a CPU
MIN_ABSENCE = 1.0  # seconds without a face that are worth a warning
LISTED_ABSENCES = 3  # more stretches than this are summed up in one warning
NO_FACE, SEEN_ONCE = "no face found", "a face seen in this picture only, taken for a mistake"


@dataclass
class FaceTracks:
    """Everything the pictures of one recording gave."""

    tracks: list[FaceTrack] = field(default_factory=list)
    rows: list[FrameRow] = field(default_factory=list)
    end: float = 0.0  # seconds until which the last picture was shown

    def between(self, start: float, end: float) -> list[tuple[FrameRow, float]]:
        """The pictures shown within start and end, each with the second at which it is replaced."""
        first = max(0, bisect_right(self.rows, start, key=lambda row: row.time) - 1)
        last = bisect_left(self.rows, end, key=lambda row: row.time)
        later = [row.time for row in self.rows[first + 1 : last + 1]] + [self.end]
        shown = zip(self.rows[first:last], later, strict=False)
        return [(row, until) for row, until in shown if until > start]


class FrameClassifier:
    """Turns a stream of pictures into tracks with scores; holds a few crops, never a picture."""

    def __init__(self, model: FaceNetwork, device: torch.device) -> None:
        self.model = model
        self.device = device
        self.tracker = FaceTracker()
        self.sightings: list[tuple[float, list[FaceTrack]]] = []
        self.crops: list[Image] = []
        self.waiting: list[FaceTrack] = []  # the track of each crop that is not classified yet

    def look(self, frame: Frame) -> None:
        faces = find_faces(frame.image)
        tracks = self.tracker.update(frame.time, faces)
        self.sightings.append((frame.time, tracks))
        for box, track in zip(faces.boxes, tracks, strict=True):
            track.times.append(frame.time)
            track.boxes.append(box.tolist())
            self.crops.append(crop_face(frame.image, box, self.model.config.input_size))
            self.waiting.append(track)
        if len(self.crops) >= CROPS_AT_ONCE:
            self._classify()

    def _classify(self) -> None:
        if not self.crops:
            return
        crops = torch.from_numpy(numpy.stack(self.crops)).to(self.device)
        with torch.inference_mode():
            output = self.model(crops)
        for track, judged in zip(
            self.waiting, predictions_of(output, self.model.config), strict=True
        ):
            track.scores.append(judged.scores)
            track.embeddings.append(judged.embedding.astype(numpy.float16))
        self.crops, self.waiting = [], []

    def finish(self, interval: float) -> FaceTracks:
        self._classify()
        kept = self.tracker.finish(len(self.sightings))
        numbers = {id(track): track.id for track in kept}
        rows = []
        for time, tracks in self.sightings:
            faces = tuple(numbers[id(track)] for track in tracks if id(track) in numbers)
            reason = None if faces else SEEN_ONCE if tracks else NO_FACE
            rows.append(FrameRow(time, faces, reason))
        return FaceTracks(kept, rows, rows[-1].time + interval if rows else 0.0)


def describe_absences(seen: FaceTracks) -> list[str]:
    """Warnings for the stretches without a face."""
    stretches: list[list[float]] = []
    for row, end in seen.between(0.0, seen.end):
        if row.faces:
            continue
        if stretches and stretches[-1][1] == row.time:
            stretches[-1][1] = end
        else:
            stretches.append([row.time, end])
    long = [(start, end) for start, end in stretches if end - start >= MIN_ABSENCE]
    if seen.rows and not seen.tracks:
        return ["no face was found in any picture"]
    if len(long) > LISTED_ABSENCES:
        total = sum(end - start for start, end in long)
        return [f"no face in {len(long)} stretches, {total:.1f} s in all"]
    return [f"no face between {start:.1f} s and {end:.1f} s" for start, end in long]
