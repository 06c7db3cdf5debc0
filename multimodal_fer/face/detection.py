"""Detect faces in a frame, and crop them as the images of the training corpus are cropped."""

import math

import cv2
import numpy
import torch
from numpy.typing import NDArray

from multimodal_fer.face.yunet import STRIDES, decode, load_detector
from multimodal_fer.types import Faces, Image

DETECTION_SIZE = 640  # pixels of the longer side of the image in which faces are searched
# On the detector's own scale: clear faces have 0.9 and above. On 80 validation images of FER+, 0.5 finds 2 to
# 6 of 100 rolled or small faces more, and also a face in 1 of 48 pictures that have none.
MIN_CONFIDENCE = 0.6
MIN_FACE = 20.0  # pixels of the source image; smaller faces show too little
TURN, TURNED_SIZE = 30.0, 320  # degrees and pixels of the search for rolled faces
MAX_OVERLAP = 0.3  # intersection over union above which two boxes are one face
# FER+ images are 1.28 widths of the detector's box wide, around the same centre: measured on enlarged
# training images by benchmarks/crop_margin.py, and the best of five widths on validation images.
CROP_WIDTHS = 1.28
# Both chosen on 500 validation images of FER+ in larger pictures, upright and rolled by 20° to either side.
MIN_ROLL = 12.0  # degrees; a face that its landmarks show rolled less is cropped as it is
ROLL_WIDENS = 1.25  # widths by which the box of a face is wider for the sine of its roll
Box = NDArray[numpy.float32]


def find_faces(image: Image, *, size: int = DETECTION_SIZE) -> Faces:
    """Detect faces by YuNet (Wu et al. 2023) on a reduced copy of an image.

    If there is none, smaller copies turned to both sides are searched: YuNet misses every seventh face that
    is rolled by 20°, and half of those rolled by 40°.

    Parameters
    ----------
    image
        RGB uint8 [shape=(H, W, 3)]
    size
        int, pixels of the longer side of the copy; a larger one shows smaller faces

    Returns
    -------
    Faces, largest first, boxes and landmarks in pixels of `image`
    """
    found = _largest_first(_search(image, size))
    if len(found.boxes):
        return found
    small = min(size, TURNED_SIZE)
    turned = [_search(image, small, degrees) for degrees in (-TURN, TURN)]
    return _largest_first(_without_duplicates(_joined(turned)))


def _largest_first(faces: Faces) -> Faces:
    """Sort by area, and leave out faces smaller than `MIN_FACE`."""
    sides = (faces.boxes[:, 2:] - faces.boxes[:, :2]).min(axis=1, initial=numpy.inf)
    usable = numpy.flatnonzero(sides >= MIN_FACE)
    return _picked(faces, usable[numpy.argsort(-box_areas(faces.boxes[usable]), kind="stable")])


def _search(image: Image, size: int, degrees: float = 0.0) -> Faces:
    """Find faces in a reduced copy, turned against the clock by `degrees`; in pixels of `image`."""
    height, width = image.shape[:2]
    scale = min(1.0, size / max(height, width))
    small_width, small_height = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, (small_width, small_height), interpolation=cv2.INTER_AREA)
    stretch = numpy.array([width / small_width, height / small_height], numpy.float32)
    if not degrees:
        found = _detect(small.astype(numpy.uint8, copy=False))
        return Faces(
            found.boxes * numpy.tile(stretch, 2), found.confidences, found.landmarks * stretch
        )
    middle = small_width / 2, small_height / 2
    change = cv2.getRotationMatrix2D(middle, degrees, 1.0)
    turned = cv2.warpAffine(
        small, change, (small_width, small_height), borderMode=cv2.BORDER_REPLICATE
    )
    found = _detect(turned.astype(numpy.uint8, copy=False))
    back = cv2.invertAffineTransform(change).astype(numpy.float32)
    points = ((found.landmarks @ back[:, :2].T + back[:, 2]) * stretch).astype(numpy.float32)
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    centres = ((centres @ back[:, :2].T + back[:, 2]) * stretch).astype(numpy.float32)
    # So that `crop_face`, which allows for the roll, cuts out as much as in the turned copy.
    wider = numpy.array([_widening(roll_of(face)) for face in points], numpy.float32)
    halves = (found.boxes[:, 2:] - found.boxes[:, :2]) / 2 * stretch
    halves[:, 0] *= wider
    boxes = numpy.concatenate([centres - halves, centres + halves], axis=1).astype(numpy.float32)
    return Faces(boxes, found.confidences, points)


def _joined(parts: list[Faces]) -> Faces:
    return Faces(
        numpy.concatenate([part.boxes for part in parts]),
        numpy.concatenate([part.confidences for part in parts]),
        numpy.concatenate([part.landmarks for part in parts]),
    )


def _picked(faces: Faces, rows: NDArray[numpy.integer]) -> Faces:
    return Faces(faces.boxes[rows], faces.confidences[rows], faces.landmarks[rows])


@torch.inference_mode()
def _detect(image: Image) -> Faces:
    """Run the detector on an image as it is; boxes and landmarks in its pixels."""
    height, width = image.shape[:2]
    below, right = -height % STRIDES[-1], -width % STRIDES[-1]
    whole = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT)
    grid = load_detector()(torch.from_numpy(whole).unsqueeze(0))
    confidences, boxes, landmarks = (part.numpy() for part in decode(grid, MIN_CONFIDENCE))
    return _without_duplicates(Faces(boxes, confidences, landmarks))


def _without_duplicates(faces: Faces) -> Faces:
    """Keep the most confident of the boxes that overlap (non-maximum suppression)."""
    waiting = numpy.argsort(-faces.confidences, kind="stable")
    kept = []
    while len(waiting):
        kept.append(waiting[0])
        overlaps = box_overlaps(faces.boxes[waiting[:1]], faces.boxes[waiting])[0]
        overlaps[0] = 1.0  # a box without an area overlaps nothing
        waiting = waiting[overlaps <= MAX_OVERLAP]
    return _picked(faces, numpy.array(kept, int))


def box_areas(boxes: Box) -> NDArray[numpy.floating]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def box_overlaps(first: Box, second: Box) -> NDArray[numpy.floating]:
    """Return the intersection over union of all boxes (N, 4) and (M, 4), as (N, M)."""
    corner = numpy.maximum(first[:, None, :2], second[None, :, :2])
    opposite = numpy.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (opposite - corner).clip(0).prod(axis=2)
    return shared / (box_areas(first)[:, None] + box_areas(second)[None, :] - shared).clip(1e-6)


def crop_face(
    image: Image, box: Box, size: int, landmarks: NDArray[numpy.float32] | None = None
) -> Image:
    """Crop a square around one face as in the training corpus.

    Parameters
    ----------
    image
        RGB uint8 [shape=(H, W, 3)]
    box
        left, top, right, bottom in pixels of `image`
    size
        int, pixels of the result's side
    landmarks
        of `Faces` [shape=(5, 2)]; a face that they show rolled by `MIN_ROLL` or more is turned upright

    Returns
    -------
    grey uint8 [shape=(size, size)]; the edge of the image is repeated outside it
    """
    left, top, right, bottom = (float(value) for value in box)
    middle, width = ((left + right) / 2, (top + bottom) / 2), right - left
    degrees = 0.0 if landmarks is None else roll_of(landmarks)
    if abs(degrees) < MIN_ROLL:
        square = _upright_square(image, middle, max(2, round(CROP_WIDTHS * width)))
    else:
        side = CROP_WIDTHS * width / _widening(degrees)
        square = _turned_square(image, middle, max(2, round(side)), degrees)
    method = cv2.INTER_AREA if len(square) > size else cv2.INTER_LINEAR
    return cv2.resize(square, (size, size), interpolation=method).astype(numpy.uint8, copy=False)


def roll_of(landmarks: NDArray[numpy.floating]) -> float:
    """Return the degrees by which landmarks (5, 2) are rolled, clockwise as seen; 0 is upright.

    The line of the eyes and the line from the mouth to the eyes count by their lengths, which is the
    rotation of least squares.
    """
    right_eye, left_eye, _, right_mouth, left_mouth = landmarks
    across, down = left_eye - right_eye, (right_mouth + left_mouth - right_eye - left_eye)
    return math.degrees(math.atan2(across[1] - down[0], across[0] + down[1]))


def _widening(degrees: float) -> float:
    """Return the width of the box of a rolled face, by that of the face upright."""
    radians = math.radians(degrees)
    return math.cos(radians) + ROLL_WIDENS * abs(math.sin(radians))


def _upright_square(image: Image, middle: tuple[float, float], side: int) -> Image:
    """Cut a grey square of `side` pixels out of an image."""
    column, row = (round(value - side / 2) for value in middle)
    height, width = image.shape[:2]
    inside = image[max(row, 0) : max(row + side, 1), max(column, 0) : max(column + side, 1)]
    grey = cv2.cvtColor(numpy.ascontiguousarray(inside), cv2.COLOR_RGB2GRAY)
    over = (-row, row + side - height, -column, column + side - width)
    if max(over) > 0:
        above, below, before, after = (max(0, value) for value in over)
        grey = cv2.copyMakeBorder(grey, above, below, before, after, cv2.BORDER_REPLICATE)
    return grey.astype(numpy.uint8, copy=False)


def _turned_square(image: Image, middle: tuple[float, float], side: int, degrees: float) -> Image:
    """Turn an image about `middle` by `degrees` against the clock, and cut out a grey square."""
    change = cv2.getRotationMatrix2D(middle, degrees, 1.0)
    change[:, 2] += (side - 1) / 2 - numpy.array(middle)
    turned = cv2.warpAffine(image, change, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return cv2.cvtColor(turned, cv2.COLOR_RGB2GRAY).astype(numpy.uint8, copy=False)
