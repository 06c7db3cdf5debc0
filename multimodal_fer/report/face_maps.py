"""Explain the faces in a picture: one PNG with a row for each face, and the scores."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy
from numpy.typing import NDArray

from multimodal_fer.errors import MediaError, OutputError, WeightsError
from multimodal_fer.face.detection import DETECTION_SIZE, crop_face, find_faces
from multimodal_fer.face.explanation import Explanation, Maps, explain_face, import_captum
from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.hub.loading import DEFAULT_BUNDLE, load_bundle, load_model
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.hub.weights_folder import read_config
from multimodal_fer.types import Faces, Image, Scores, strongest
from multimodal_fer.utils.files import prepare_folder, replacing

# The detector misses small faces at its usual size and large faces at larger sizes: try one after the other.
SEARCH_SIZES = (DETECTION_SIZE, 2 * DETECTION_SIZE, 4 * DETECTION_SIZE)
MAX_FACES = 6  # rows of the PNG
TILE, STRIP, GAP = 288, 56, 8  # pixels: side of a tile, height of its caption, space between tiles
PAPER, INK, FAINT = 255, 20, 95  # grey levels
COLOURS = cv2.COLORMAP_VIRIDIS  # readable with colour blindness and in grey
ENDING = ".explained.png"


def explain_picture(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    bundle: str | os.PathLike[str] = DEFAULT_BUNDLE,
    emotion: str | None = None,
    cropped: bool = False,
) -> dict[str, Any]:
    """Explain each face in a picture and write one PNG with a row for each face.

    Parameters
    ----------
    path : a picture in a format that OpenCV reads
    output : the PNG, or an existing folder for it; default: `NAME.explained.png` beside the picture
    bundle : name or folder of a bundle or of a facial network
    emotion : the label to explain; None explains the strongest label of each face
    cropped : the picture is already one cropped face, as in FER+

    Returns
    -------
    dict of plain values: the path of the PNG, and the box, emotion and scores of each face

    Raises
    ------
    MultimodalFerError
        the picture cannot be read or has no face, the emotion or the weights are unknown, captum is not
        installed, or the PNG cannot be written
    """
    import_captum()  # fail before the models are loaded
    path = Path(path)
    image = read_picture(path)
    target = _choose_output(path, output)
    model, version = _load_face(bundle)
    size, notes = model.config.input_size, []
    if cropped:
        boxes, crops = _whole_image(image, size)
    else:
        faces, notes = _find_faces(path, image)
        boxes = faces.boxes[:MAX_FACES]
        pairs = zip(boxes, faces.landmarks, strict=False)
        crops = numpy.stack([crop_face(image, box, size, points) for box, points in pairs])
    explanation = explain_face(model, crops, emotion)
    _write_png(target, draw(crops, explanation))
    return {
        "path": str(path),
        "picture": str(target),
        "bundle": version,
        "faces": [
            {
                "box": [round(float(value), 1) for value in box],
                "emotion": strongest(scores),
                "explained": explained,
                "scores": {label: round(score, 4) for label, score in scores.items()},
            }
            for box, scores, explained in zip(
                boxes, explanation.scores, explanation.emotions, strict=True
            )
        ],
        "warnings": notes,
    }


def read_picture(path: str | os.PathLike[str]) -> Image:
    """Read a picture upright, as RGB uint8 (H, W, 3); raise `MediaError` if it cannot be read."""
    try:
        data = numpy.frombuffer(Path(path).read_bytes(), numpy.uint8)
    except FileNotFoundError:
        raise MediaError(f"{path}: no such file; check the spelling and the folder") from None
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)  # 8 bits, three channels, turned by EXIF
    except cv2.error:  # an empty file, or more pixels than OpenCV accepts
        image = None
    if image is None:
        raise MediaError(
            f"{path}: expected a picture such as JPEG, PNG or WebP, but OpenCV cannot read it; "
            "for a recording use `multimodal-fer analyze`"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(numpy.uint8, copy=False)


def _choose_output(path: Path, output: str | os.PathLike[str] | None) -> Path:
    target = path.with_name(path.stem + ENDING) if output is None else Path(output)
    if target.is_dir():
        target = target / (path.stem + ENDING)
    if target.suffix.lower() != ".png":
        raise OutputError(f"{target}: expected an output name that ends in .png")
    if target.exists() and target.samefile(path):
        raise OutputError(f"{target}: is the picture itself; choose another output name")
    return target


def _load_face(name: str | os.PathLike[str]) -> tuple[FaceNetwork, str]:
    """Return the facial network of a bundle, or a single facial network, and its version."""
    folder = find_weights(name)
    if "model" in read_config(folder):
        return load_model(folder), folder.name
    bundle = load_bundle(folder)
    if bundle.face is None:
        raise WeightsError(f"{folder}: the bundle has no facial network")
    return bundle.face, bundle.version


def _find_faces(path: Path, image: Image) -> tuple[Faces, list[str]]:
    found = (find_faces(image, size=size) for size in SEARCH_SIZES)
    faces = next((faces for faces in found if len(faces.boxes)), None)
    if faces is None:
        raise MediaError(
            f"{path}: no face found; use a picture with a whole face, frontal, at least 20 pixels wide. "
            "If the picture is already a cropped face, add --cropped"
        )
    notes = [f"{len(faces.boxes)} faces found, the largest {MAX_FACES} are explained"]
    return faces, notes if len(faces.boxes) > MAX_FACES else []


def _whole_image(image: Image, size: int) -> tuple[NDArray[numpy.float32], NDArray[numpy.uint8]]:
    """Return the box and the crop of a picture that is one face."""
    height, width = image.shape[:2]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    method = cv2.INTER_AREA if min(grey.shape) > size else cv2.INTER_LINEAR
    crop = cv2.resize(grey, (size, size), interpolation=method).astype(numpy.uint8, copy=False)
    return numpy.array([[0, 0, width, height]], numpy.float32), crop[None]


def _write_png(path: Path, image: Image) -> None:
    data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    prepare_folder(path.parent)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None


def draw(crops_BHW: NDArray[numpy.uint8], explanation: Explanation) -> Image:
    """Draw one row for each face: crop, Grad-CAM over the crop, guided back-propagation; RGB uint8."""
    rows = []
    for number, crop in enumerate(crops_BHW):
        emotion, evidence = explanation.emotions[number], explanation.grad_cam[number]
        face, lines = _enlarge(crop), _enlarge(explanation.guided[number] * 255)
        first, second = _score_lines(explanation.scores[number], emotion)
        found = bool(evidence.any())
        legend = "evidence: none" if found else "no evidence for this emotion"
        tiles = [
            _caption(face, f"{number + 1}. {first}" if len(crops_BHW) > 1 else first, second),
            _caption(_overlay(face, evidence), f"Grad-CAM: {emotion}", legend, bar=found),
            _caption(lines, "guided back-propagation", "detail, not evidence; grey: none"),
        ]
        rows.append(_join(tiles, axis=1))
    edges = ((GAP, GAP), (GAP, GAP), (0, 0))
    return numpy.pad(_join(rows, axis=0), edges, constant_values=PAPER)


def _overlay(face: Image, evidence_HW: Maps) -> Image:
    """Draw the evidence in colour over the face; the less evidence, the more transparent."""
    strength = _enlarge(evidence_HW * 255)[:, :, :1]
    coloured = cv2.applyColorMap(strength, COLOURS)[:, :, ::-1]
    opacity = 0.15 + 0.5 * strength / 255
    return (face * (1 - opacity) + coloured * opacity).astype(numpy.uint8)


def _score_lines(scores: Scores, emotion: str) -> tuple[str, str]:
    """Return the lines under a crop: the explained emotion, and the strongest of the others."""
    first = f"{emotion} {scores[emotion]:.0%}"
    other = strongest({label: score for label, score in scores.items() if label != emotion})
    if other is None:
        return first, ""
    rank = "next" if scores[other] <= scores[emotion] else "strongest"
    return first, f"{rank}: {other} {scores[other]:.0%}"


def _enlarge(values_HW: NDArray[Any]) -> Image:
    """Enlarge grey values in 0..255 to a tile, as a grey RGB image."""
    large = cv2.resize(values_HW.astype("f4"), (TILE, TILE), interpolation=cv2.INTER_CUBIC)
    return large.round().clip(0, 255).astype(numpy.uint8)[:, :, None].repeat(3, axis=2)


def _caption(tile: Image, first: str, second: str, bar: bool = False) -> Image:
    """Add a strip with two lines under a tile; `bar` adds the colour scale to the second line."""
    strip = numpy.full((STRIP, TILE, 3), PAPER, numpy.uint8)
    _text(strip, first, 0, 22, 0.62, INK)
    end = _text(strip, second, 0, 46, 0.5, FAINT)
    if bar:
        start, stop = end + 8, end + 88
        ramp = numpy.linspace(0, 255, stop - start).astype(numpy.uint8)[None].repeat(12, axis=0)
        strip[35:47, start:stop] = cv2.applyColorMap(ramp, COLOURS)[:, :, ::-1]
        _text(strip, "most", stop + 8, 46, 0.5, FAINT)
    return numpy.concatenate([tile, strip])


def _text(image: Image, text: str, left: int, base: int, scale: float, grey: int) -> int:
    """Write a line, scaled down to fit into the image, and return the column where it ends."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    width = cv2.getTextSize(text, font, scale, 1)[0][0]
    room = image.shape[1] - left
    if width > room:
        scale, width = scale * room / width, room
    cv2.putText(image, text, (left, base), font, scale, (grey, grey, grey), 1, cv2.LINE_AA)
    return left + width


def _join(parts: Sequence[Image], axis: int) -> Image:
    """Join images side by side (axis 1) or one below the other (axis 0), with space between."""
    shape = list(parts[0].shape)
    shape[axis] = GAP
    space = numpy.full(shape, PAPER, numpy.uint8)
    spaced = [piece for part in parts for piece in (space, part)][1:]
    return numpy.concatenate(spaced, axis=axis)
