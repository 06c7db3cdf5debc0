"""Find faces in a picture, crop them as the training corpus frames them, follow people through time."""

from collections.abc import Sequence

import cv2
import numpy
from numpy.typing import NDArray

from multimodal_fer.detector import detect
from multimodal_fer.types import Faces, FaceTrack, Image, Scores

DETECTION_SIZE = 320  # pixels of the longer side of the picture in which faces are searched
MIN_CONFIDENCE = 0.6  # the detector's own scale; real faces come out at 0.9 and above
MIN_FACE = 20.0  # pixels of the source picture; smaller faces hold nothing to read
# FER+ frames a face 1.28 widths of the detector's box wide, around the same centre: measured on enlarged
# training images by benchmarks/crop_margin.py, and the best of five widths on validation images.
CROP_WIDTHS = 1.28
MIN_OVERLAP = 0.25  # intersection over union at which two boxes are one person's
MIN_NEARNESS = -1.5  # a fast move, or a return: see `_nearness`
IN_VIEW = 1.0  # seconds since a face was last seen within which its person counts as being there
MAX_ABSENCE = 30.0  # seconds after which a returning face becomes a new person
MIN_SIGHTINGS = 2  # a face seen once in a recording is taken for a mistake of the detector

Box = NDArray[numpy.float32]


def find_faces(image: Image, *, size: int = DETECTION_SIZE) -> Faces:
    """Detect faces with libfacedetection (YuNet; Wu et al. 2023) on a scaled-down copy.

    Parameters
    ----------
    image
        RGB uint8 [shape=(H, W, 3)]
    size
        int, pixels of the longer side of the searched copy; larger finds smaller faces

    Returns
    -------
    Faces, largest first, boxes in pixels of `image`
    """
    height, width = image.shape[:2]
    scale = min(1.0, size / max(height, width))
    small_width, small_height = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, (small_width, small_height), interpolation=cv2.INTER_AREA)
    found = detect(small.astype(numpy.uint8, copy=False)).astype(numpy.float32)
    stretch = numpy.array([width / small_width, height / small_height] * 2, numpy.float32)
    boxes = numpy.concatenate([found[:, 1:3], found[:, 1:3] + found[:, 3:5]], axis=1) * stretch
    confidences = found[:, 0] / 100
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=numpy.inf)
    usable = numpy.flatnonzero((confidences >= MIN_CONFIDENCE) & (sides >= MIN_FACE))
    order = usable[numpy.argsort(-_areas(boxes[usable]), kind="stable")]
    return Faces(boxes[order].astype(numpy.float32), confidences[order].astype(numpy.float32))


def _areas(boxes: Box) -> NDArray[numpy.floating]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def crop_face(image: Image, box: Box, size: int) -> Image:
    """Cut a square around one face as the training corpus frames it.

    Parameters
    ----------
    image
        RGB uint8 [shape=(H, W, 3)]
    box
        left, top, right, bottom in pixels of `image`
    size
        int, pixels of the result's side

    Returns
    -------
    grey uint8 [shape=(size, size)]; what lies outside the picture repeats its edge
    """
    left, top, right, bottom = (float(value) for value in box)
    side = max(2, round(CROP_WIDTHS * (right - left)))
    column = round((left + right) / 2 - side / 2)
    row = round((top + bottom) / 2 - side / 2)
    height, width = image.shape[:2]
    inside = image[max(row, 0) : max(row + side, 1), max(column, 0) : max(column + side, 1)]
    grey = cv2.cvtColor(numpy.ascontiguousarray(inside), cv2.COLOR_RGB2GRAY)
    over = (-row, row + side - height, -column, column + side - width)
    if max(over) > 0:
        top_, bottom_, left_, right_ = (max(0, value) for value in over)
        grey = cv2.copyMakeBorder(grey, top_, bottom_, left_, right_, cv2.BORDER_REPLICATE)
    shrinks = side > size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(grey, (size, size), interpolation=method).astype(numpy.uint8, copy=False)


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
    return shared / (_areas(first)[:, None] + _areas(second)[None, :] - shared).clip(1e-6)


def _nearness(first: Box, second: Box) -> NDArray[numpy.floating]:
    """How near centres and sizes are, as (N, M): 0 is equal, -1 one face's side or e times the size."""
    sides = numpy.sqrt(_areas(first))[:, None], numpy.sqrt(_areas(second))[None, :]
    centres = (
        first[:, None, :2] + first[:, None, 2:] - second[None, :, :2] - second[None, :, 2:]
    ) / 2
    distance = numpy.linalg.norm(centres, axis=2) / ((sides[0] + sides[1]) / 2).clip(1e-6)
    return -distance - numpy.abs(numpy.log(sides[0].clip(1e-6) / sides[1].clip(1e-6)))


def mean_scores(rows: Sequence[Scores]) -> Scores:
    """The mean of score dictionaries over the same labels."""
    return {label: sum(row[label] for row in rows) / len(rows) for label in rows[0]}
