"""The speaker's face during each turn, from the split-screen video of a dialog.

The video shows both actors side by side between black bars, each in half its width and height. The actor
with markers (the first letter in a dialog's name) is on the left, the partner on the right.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy
from numpy.typing import NDArray

from multimodal_fer.errors import MediaError
from multimodal_fer.face.detection import crop_face, find_faces
from multimodal_fer.media.container import Warn
from multimodal_fer.media.frames import FRAME_RATE, iter_frames
from multimodal_fer.types import Image
from recipes.iemocap.corpus.turns import Turn

CROP_SIZE = 48  # pixels, the input of the facial networks
# Width to height of 720x480: 3/2, or 4/3 if the file declares the narrow pixels of NTSC.
SHAPES = (1.25, 1.6)


@dataclass
class TurnFaces:
    """The face crops of a turn's speaker."""

    frames: int = 0  # in which a face was searched
    times: list[float] = field(default_factory=list)  # of frames with a face, in the dialog
    crops: list[NDArray[numpy.uint8]] = field(default_factory=list)  # grey (48, 48)


@dataclass
class VideoFaces:
    """The faces of a dialog's turns by their ids."""

    turns: dict[str, TurnFaces]
    end: float = -1.0  # time of the last frame read; -1 if there is none


def find_speaker_faces(path: Path, turns: Sequence[Turn], warn: Warn) -> VideoFaces:
    """Search the speaker's face in about five frames per second of each turn.

    Frames are placed by their own timestamps. Raises `MediaError` for an unreadable video.
    """
    video = VideoFaces({turn.id: TurnFaces() for turn in turns})
    last = max(turn.end for turn in turns)
    for frame in iter_frames(path, FRAME_RATE, warn=warn):
        check_shape(path, frame.image)
        video.end = frame.time
        if frame.time >= last:
            break
        current = [turn for turn in turns if turn.start <= frame.time < turn.end]
        crops = {side: speaker_face(frame.image, side) for side in {turn.side for turn in current}}
        for turn in current:
            found, crop = video.turns[turn.id], crops[turn.side]
            found.frames += 1
            if crop is not None:
                found.times.append(frame.time)
                found.crops.append(crop)
    if video.end < 0:
        raise MediaError(f"{path}: holds no frame; copy it again")
    return video


def check_shape(path: Path, image: Image) -> None:
    """Raise `MediaError` for a shape that cannot hold two pictures side by side."""
    height, width = image.shape[:2]
    if not SHAPES[0] <= width / height <= SHAPES[1]:
        raise MediaError(
            f"{path}: expected 720x480 with both actors side by side, found {width}x{height}; "
            "take the video as published"
        )


def speaker_half(image: Image, side: str) -> Image:
    """Cut out one actor's picture, without the black bars above and below."""
    height, width = image.shape[:2]
    middle = width // 2
    columns = slice(0, middle) if side == "left" else slice(middle, width)
    return image[height // 4 : height - height // 4, columns]


def speaker_face(image: Image, side: str) -> NDArray[numpy.uint8] | None:
    """Crop the largest face in one actor's picture; return None if no face is found."""
    half = speaker_half(image, side)
    faces = find_faces(half)
    if not len(faces.boxes):
        return None
    return crop_face(half, faces.boxes[0], CROP_SIZE, faces.landmarks[0])
