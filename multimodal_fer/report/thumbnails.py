"""Cut small images of faces from a recording at given times."""

import base64
import os
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy

from multimodal_fer.media.frames import EVERY_FRAME, iter_frames
from multimodal_fer.report.moments import Moment
from multimodal_fer.types import FaceTrack, Image

SIDE = 192  # pixels
FACE_WIDTHS = (
    1.9  # side of the crop, in widths of the face: hair and shoulders help to recognise people
)
QUALITY = 82  # of JPEG, in per cent


class FaceBox(NamedTuple):
    """A face at one time (seconds): its box in pixels of the upright frame."""

    time: float
    box: Sequence[float]


def clearest_face(moment: Moment, tracks: Sequence[FaceTrack]) -> FaceBox | None:
    """Return the face that shows a moment's emotion most strongly; None without a face."""
    for track in tracks:
        if track.id == moment.face_id:
            first = bisect_left(track.times, moment.start)
            last = bisect_right(track.times, moment.end)
            if first < last:
                best = max(
                    range(first, last), key=lambda n: track.scores[n].get(moment.emotion, 0.0)
                )
                return FaceBox(track.times[best], track.boxes[best])
    return None


def cut_faces(
    recording: str | os.PathLike[str], faces: Sequence[FaceBox | None]
) -> list[str | None]:
    """Return a JPEG data URL for each face; None for None and after the recording's end.

    The recording is searched to each time, so nothing before a moment is decoded.
    """
    return [face and _cut_face(recording, face) for face in faces]


def _cut_face(recording: str | os.PathLike[str], face: FaceBox) -> str | None:
    for frame in iter_frames(recording, EVERY_FRAME, start=face.time, warn=lambda _: None):
        bgr = cv2.cvtColor(_crop(frame.image, face.box), cv2.COLOR_RGB2BGR)
        data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return None


def _crop(image: Image, box: Sequence[float]) -> Image:
    """Cut a square around a face, moved to lie within the frame."""
    left, top, right, bottom = box
    height, width = image.shape[:2]
    side = min(max(2, round(FACE_WIDTHS * (right - left))), height, width)
    column = min(max(round((left + right - side) / 2), 0), width - side)
    row = min(max(round((top + bottom - side) / 2), 0), height - side)
    square = numpy.ascontiguousarray(image[row : row + side, column : column + side])
    method = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
    return cv2.resize(square, (SIDE, SIDE), interpolation=method).astype(numpy.uint8, copy=False)
