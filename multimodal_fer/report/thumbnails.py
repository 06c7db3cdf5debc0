"""Small pictures of faces at given times, cut from the recording one picture at a time."""

import base64
import os
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy

from multimodal_fer.media.pictures import EVERY_PICTURE, iter_frames
from multimodal_fer.report.moments import Moment
from multimodal_fer.types import FaceTrack, Image

SIDE = 192  # pixels
FACE_WIDTHS = 1.9  # of the picture around a face: hair and shoulders help to know whose it is
QUALITY = 82  # of JPEG, in per cent


class Sighting(NamedTuple):
    """Where a face is at one time: seconds, and its box in pixels of the upright picture."""

    time: float
    box: Sequence[float]


def best_sighting(moment: Moment, tracks: Sequence[FaceTrack]) -> Sighting | None:
    """The picture of a moment in which its person shows its emotion most; None without a face."""
    for track in tracks:
        if track.id == moment.face_id:
            first = bisect_left(track.times, moment.start)
            last = bisect_right(track.times, moment.end)
            shown = range(first, last)
            if shown:
                best = max(shown, key=lambda n: track.scores[n].get(moment.emotion, 0.0))
                return Sighting(track.times[best], track.boxes[best])
    return None


def cut_faces(
    recording: str | os.PathLike[str], sightings: Sequence[Sighting | None]
) -> list[str | None]:
    """A JPEG data address for each sighting, None where it is None or past the recording's end.

    The recording is wound forward to each, so hours before a moment are not decoded; no picture is held.
    """
    return [sighting and _picture_of(recording, sighting) for sighting in sightings]


def _picture_of(recording: str | os.PathLike[str], sighting: Sighting) -> str | None:
    for frame in iter_frames(recording, EVERY_PICTURE, start=sighting.time):
        return _data_address(_crop(frame.image, sighting.box))
    return None


def _crop(image: Image, box: Sequence[float]) -> Image:
    """A square around a face, moved to lie within the picture."""
    left, top, right, bottom = box
    height, width = image.shape[:2]
    side = min(max(2, round(FACE_WIDTHS * (right - left))), height, width)
    column = min(max(round((left + right - side) / 2), 0), width - side)
    row = min(max(round((top + bottom - side) / 2), 0), height - side)
    square = numpy.ascontiguousarray(image[row : row + side, column : column + side])
    method = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
    return cv2.resize(square, (SIDE, SIDE), interpolation=method).astype(numpy.uint8, copy=False)


def _data_address(image: Image) -> str:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
