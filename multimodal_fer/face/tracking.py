"""Track people through a recording by the positions of their faces."""

import numpy
from numpy.typing import NDArray

from multimodal_fer.face.detection import Box, box_areas, box_overlaps
from multimodal_fer.types import Faces, FaceTrack

MIN_OVERLAP = 0.25  # intersection over union at which two boxes belong to one person
MIN_NEARNESS = -1.5  # of a face that moved fast or returns; see `_nearness`
IN_VIEW = 1.0  # seconds after its last detection in which a person counts as present
MAX_ABSENCE = 30.0  # seconds after which a returning face becomes a new person
MIN_SIGHTINGS = 2  # a face in one frame only is treated as a false detection


class FaceTracker:
    """Assign each face of each frame to a track, by position.

    A face that returns near its last position within `MAX_ABSENCE` seconds continues its track. To
    protect privacy, no identity is computed from the appearance of a face.
    """

    def __init__(self) -> None:
        self._tracks: list[FaceTrack] = []
        self._recent: list[FaceTrack] = []  # those that may continue

    def update(self, time: float, faces: Faces) -> list[FaceTrack]:
        """Return the track of each face, in the order of `faces`; the caller adds the rows."""
        found: dict[int, FaceTrack] = {}
        self._recent = [track for track in self._recent if time - track.times[-1] <= MAX_ABSENCE]
        # People who are present come first: a face must not continue a track that ended long ago.
        for limit, compare, enough in (
            (IN_VIEW, box_overlaps, MIN_OVERLAP),
            (IN_VIEW, _nearness, MIN_NEARNESS),
            (MAX_ABSENCE, _nearness, MIN_NEARNESS),
        ):
            taken = {id(track) for track in found.values()}
            free = [number for number in range(len(faces.boxes)) if number not in found]
            tracks = [
                track
                for track in self._recent
                if time - track.times[-1] <= limit and id(track) not in taken
            ]
            if free and tracks:
                last = numpy.array([track.boxes[-1] for track in tracks], numpy.float32)
                for row, column in _best_pairs(compare(faces.boxes[free], last), enough):
                    found[free[row]] = tracks[column]
        return [found.get(number) or self._new_track() for number in range(len(faces.boxes))]

    def _new_track(self) -> FaceTrack:
        track = FaceTrack(id=len(self._tracks))
        self._tracks.append(track)
        self._recent.append(track)
        return track

    def finish(self, frames: int) -> list[FaceTrack]:
        """Return the tracks, numbered from 0 in order of appearance, without single detections.

        If the recording has fewer than four frames (`frames`), single detections are kept.
        """
        enough = MIN_SIGHTINGS if frames >= 2 * MIN_SIGHTINGS else 1
        kept = [track for track in self._tracks if len(track.times) >= enough]
        for number, track in enumerate(kept):
            track.id = number
        return kept


def _best_pairs(affinity: NDArray[numpy.floating], enough: float) -> list[tuple[int, int]]:
    """Pair rows and columns greedily, the strongest first, while they reach `enough`."""
    affinity = affinity.copy()
    pairs = []
    while affinity.max() >= enough:
        row, column = (int(i) for i in numpy.unravel_index(affinity.argmax(), affinity.shape))
        pairs.append((row, column))
        affinity[row, :] = affinity[:, column] = -numpy.inf
    return pairs


def _nearness(first: Box, second: Box) -> NDArray[numpy.floating]:
    """Compare centres and sizes, as (N, M): 0 is equal, -1 is a distance of one side or e times the side."""
    sides = numpy.sqrt(box_areas(first))[:, None], numpy.sqrt(box_areas(second))[None, :]
    centres = (
        first[:, None, :2] + first[:, None, 2:] - second[None, :, :2] - second[None, :, 2:]
    ) / 2
    distance = numpy.linalg.norm(centres, axis=2) / ((sides[0] + sides[1]) / 2).clip(1e-6)
    return -distance - numpy.abs(numpy.log(sides[0].clip(1e-6) / sides[1].clip(1e-6)))
