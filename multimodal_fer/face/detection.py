"""Detect faces in a frame, and crop them as the images of the training corpus are cropped."""

import cv2
import numpy
from numpy.typing import NDArray

from multimodal_fer.face.libfacedetection import detect
from multimodal_fer.types import Faces, Image

DETECTION_SIZE = 320  # pixels of the longer side of the image in which faces are searched
MIN_CONFIDENCE = 0.6  # on the detector's own scale; real faces have 0.9 and above
MIN_FACE = 20.0  # pixels of the source image; smaller faces show too little
# FER+ images are 1.28 widths of the detector's box wide, around the same centre: measured on enlarged
# training images by benchmarks/crop_margin.py, and the best of five widths on validation images.
CROP_WIDTHS = 1.28
Box = NDArray[numpy.float32]


def find_faces(image: Image, *, size: int = DETECTION_SIZE) -> Faces:
    """Detect faces by libfacedetection (YuNet; Wu et al. 2023) on a reduced copy of an image.

    Parameters
    ----------
    image
        RGB uint8 [shape=(H, W, 3)]
    size
        int, pixels of the longer side of the copy; a larger one shows smaller faces

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
    order = usable[numpy.argsort(-box_areas(boxes[usable]), kind="stable")]
    return Faces(boxes[order].astype(numpy.float32), confidences[order].astype(numpy.float32))


def box_areas(boxes: Box) -> NDArray[numpy.floating]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def crop_face(image: Image, box: Box, size: int) -> Image:
    """Crop a square around one face as in the training corpus.

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
    grey uint8 [shape=(size, size)]; the edge of the image is repeated outside it
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
    method = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return cv2.resize(grey, (size, size), interpolation=method).astype(numpy.uint8, copy=False)
