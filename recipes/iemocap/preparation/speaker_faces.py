"""The speaker's face during each turn, from the split picture of a dialog.

The video shows both actors: two pictures of half its width and height, side by side between black bars. The
left one is of who wears the markers (the first letter in a dialog's name), the right one of the partner.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy
from numpy.typing import NDArray

from multimodal_fer.errors import MediaError
from multimodal_fer.face.detection import crop_face, find_faces
from multimodal_fer.media.container import Warn
from multimodal_fer.media.pictures import FRAME_RATE, iter_frames
from multimodal_fer.types import Image
from recipes.iemocap.corpus.turns import Turn

CROP_SIZE = 48  # pixels, the input of the facial networks
# Width to height of 720x480: 3/2, or 4/3 where a file says that its pixels are narrow, as on NTSC screens.
SHAPES = (1.25, 1.6)


@dataclass
class Watched:
    """What was seen of a turn's speaker."""

    pictures: int = 0  # that were looked at
    times: list[float] = field(default_factory=list)  # of those with a face, on the dialog's clock
    crops: list[NDArray[numpy.uint8]] = field(default_factory=list)  # grey (48, 48)


@dataclass
class Film:
    """What a dialog's video showed of its turns, by their ids."""

    turns: dict[str, Watched]
    end: float = -1.0  # time of the last picture that was looked for; -1 where there is none


def watch_speakers(path: Path, turns: Sequence[Turn], warn: Warn) -> Film:
    """Look for the speaker's face in about five pictures of each second in which somebody has a turn.

    Pictures are placed by their own timestamps. Raises `MediaError` for a video that cannot be read.
    """
    film = Film({turn.id: Watched() for turn in turns})
    last = max(turn.end for turn in turns)
    for frame in iter_frames(path, FRAME_RATE, warn=warn):
        check_shape(path, frame.image)
        film.end = frame.time
        if frame.time >= last:
            break
        spoken = [turn for turn in turns if turn.start <= frame.time < turn.end]
        faces = {side: speaker_face(frame.image, side) for side in {turn.side for turn in spoken}}
        for turn in spoken:
            watched, crop = film.turns[turn.id], faces[turn.side]
            watched.pictures += 1
            if crop is not None:
                watched.times.append(frame.time)
                watched.crops.append(crop)
    if film.end < 0:
        raise MediaError(f"{path}: holds no picture; copy it again")
    return film


def check_shape(path: Path, image: Image) -> None:
    """Other shapes do not hold two pictures side by side: halves of them would be of nobody."""
    height, width = image.shape[:2]
    if not SHAPES[0] <= width / height <= SHAPES[1]:
        raise MediaError(
            f"{path}: expected 720x480 with both actors side by side, found {width}x{height}; "
            "take the video as published"
        )


def speaker_half(image: Image, side: str) -> Image:
    """One actor's picture, without the black bars above and below."""
    height, width = image.shape[:2]
    middle = width // 2
    columns = slice(0, middle) if side == "left" else slice(middle, width)
    return image[height // 4 : height - height // 4, columns]


def speaker_face(image: Image, side: str) -> NDArray[numpy.uint8] | None:
    """The face in one actor's picture, None where none is found. Nobody else is in it: the largest counts."""
    half = speaker_half(image, side)
    boxes = find_faces(half).boxes
    return crop_face(half, boxes[0], CROP_SIZE) if len(boxes) else None
