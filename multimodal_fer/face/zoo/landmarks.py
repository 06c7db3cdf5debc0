"""68 facial landmarks by dlib (extra `landmarks`), for the network that was published with them."""

from functools import cache
from typing import Any

import numpy
import torch
from torch import Tensor

from multimodal_fer.errors import MultimodalFerError
from multimodal_fer.utils.files import package_folders

POINTS = 68
PREDICTOR = "models/shape_predictor_68_face_landmarks.dat"
RIM = 1  # pixels between the picture's edge and the box in which the face is assumed


def find_landmarks(images_BSS: Tensor) -> Tensor:
    """Points of each grey picture, (B, 136) in pixels: x0, y0, x1, ... (Kazemi and Sullivan 2014).

    The face is assumed to fill the picture, as in FER2013; nothing is detected.
    """
    dlib, predictor = _load()
    pictures = images_BSS.round().clamp(0, 255).byte().cpu().numpy()
    last = pictures.shape[1] - RIM
    box = dlib.rectangle(RIM, RIM, last, last)
    rows = []
    for picture in pictures:
        shape = predictor(numpy.ascontiguousarray(picture), box)
        rows.append([side for point in shape.parts() for side in (point.x, point.y)])
    return torch.tensor(rows, dtype=torch.float32, device=images_BSS.device)


@cache
def _load() -> tuple[Any, Any]:
    folders = package_folders("face_recognition_models")
    try:
        import dlib  # type: ignore[import-not-found]
    except ImportError:
        folders = []
    if not folders:
        raise MultimodalFerError(
            "landmarks need dlib and its predictor; pip install 'multimodal_fer[landmarks]'"
        )
    predictor = dlib.shape_predictor(str(folders[0] / PREDICTOR))  # type: ignore[attr-defined]
    return dlib, predictor
