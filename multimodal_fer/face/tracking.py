"""Follow people through a recording by where their faces were last seen."""

import numpy
from numpy.typing import NDArray

from multimodal_fer.face.detection import Box, box_areas
from multimodal_fer.types import Faces, FaceTrack

MIN_OVERLAP = 0.25  # intersection over union at which two boxes are one person's
MIN_NEARNESS = -1.5  # a fast move, or a return: see `_nearness`
IN_VIEW = 1.0  # seconds since a face was last seen within which its person counts as being there
MAX_ABSENCE = 30.0  # seconds after which a returning face becomes a new person
MIN_SIGHTINGS = 2  # a face seen once in a recording is taken for a mistake of the detector


class FaceTracker:
    """Give each face of each picture a person's number, by where people were last seen.

    A face that comes back near where it left within `MAX_ABSENCE` seconds keeps its number. Nobody
    is recognised by looks: no identity is computed, for the sake of privacy.
    """

    def __init__(self) -> None:
        self._tracks: list[FaceTrack] = []

    def update(self, time: float, faces: Faces) -> list[FaceTrack]:
        """The track of each face, in the order of `faces`; the caller adds the row to it."""
        found: dict[int, FaceTrack] = {}
        # Whoever is in view comes first: a face must not jump to a place somebody left long ago.
        for limit, compare, enough in (
            (IN_VIEW, _overlaps, MIN_OVERLAP),
            (IN_VIEW, _nearness, MIN_NEARNESS),
            (MAX_ABSENCE, _nearness, MIN_NEARNESS),
        ):
            free = [number for number in range(len(faces.boxes)) if number not in found]
            tracks = [
                track
                for track in self._tracks
                if time - track.times[-1] <= limit and track not in found.values()
            ]
            if free and tracks:
                last = numpy.array([track.boxes[-1] for track in tracks], numpy.float32)
                for row, column in _best_pairs(compare(faces.boxes[free], last), enough):
                    found[free[row]] = tracks[column]
        return [found.get(number) or self._new_track() for number in range(len(faces.boxes))]

    def _new_track(self) -> FaceTrack:
        track = FaceTrack(id=len(self._tracks))
        self._tracks.append(track)
        return track

    def finish(self, pictures: int) -> list[FaceTrack]:
        """The people seen, numbered from 0 in order of appearance; single sightings are dropped.

        In a recording of a few pictures only, every sighting counts.
        """
        enough = MIN_SIGHTINGS if pictures >= 2 * MIN_SIGHTINGS else 1
        kept = [track for track in self._tracks if len(track.times) >= enough]
        for number, track in enumerate(kept):
            track.id = number
        return kept


def _best_pairs(affinity: NDArray[numpy.floating], enough: float) -> list[tuple[int, int]]:
    """Rows and columns paired greedily, the strongest first, while they reach `enough`."""
    affinity = affinity.copy()
    pairs = []
    while affinity.max() >= enough:
        row, column = (int(i) for i in numpy.unravel_index(affinity.argmax(), affinity.shape))
        pairs.append((row, column))
        affinity[row, :] = affinity[:, column] = -numpy.inf
    return pairs


def _overlaps(first: Box, second: Box) -> NDArray[numpy.floating]:
    """Intersection over union of every box (N, 4) with every other (M, 4), as (N, M)."""
    corner = numpy.maximum(first[:, None, :2], second[None, :, :2])
    opposite = numpy.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (opposite - corner).clip(0).prod(axis=2)
    return shared / (box_areas(first)[:, None] + box_areas(second)[None, :] - shared).clip(1e-6)


def _nearness(first: Box, second: Box) -> NDArray[numpy.floating]:
    """How near centres and sizes are, as (N, M): 0 is equal, -1 one face's side or e times the size."""
    sides = numpy.sqrt(box_areas(first))[:, None], numpy.sqrt(box_areas(second))[None, :]
    centres = (
        first[:, None, :2] + first[:, None, 2:] - second[None, :, :2] - second[None, :, 2:]
    ) / 2
    distance = numpy.linalg.norm(centres, axis=2) / ((sides[0] + sides[1]) / 2).clip(1e-6)
    return -distance - numpy.abs(numpy.log(sides[0].clip(1e-6) / sides[1].clip(1e-6)))
