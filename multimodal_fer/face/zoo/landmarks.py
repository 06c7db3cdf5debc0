"""68 facial landmarks by dlib (extra `landmarks`), for the hybrid network."""

from functools import cache
from typing import Any

import numpy
import torch
from torch import Tensor

from multimodal_fer.errors import MultimodalFerError
from multimodal_fer.utils.files import package_folders

POINTS = 68
PREDICTOR = "models/shape_predictor_68_face_landmarks.dat"
RIM = 1  # pixels between the edge of the image and the assumed box of the face


def find_landmarks(images_BSS: Tensor) -> Tensor:
    """Return the points of each grey image, (B, 136) in pixels: x0, y0, x1, ... (Kazemi and Sullivan 2014).

    The face is assumed to fill the image, as in FER2013. Raises `MultimodalFerError` without dlib.
    """
    dlib, predictor = _load()
    images = images_BSS.round().clamp(0, 255).byte().cpu().numpy()
    last = images.shape[1] - RIM
    box = dlib.rectangle(RIM, RIM, last, last)
    rows = []
    for image in images:
        shape = predictor(numpy.ascontiguousarray(image), box)
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
