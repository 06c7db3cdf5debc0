"""A picture in, its faces explained out: one PNG with a row a face, and the numbers beside it."""

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
from multimodal_fer.types import Image, Scores, strongest
from multimodal_fer.utils.files import prepare_folder, replacing

# Faces are searched as in recordings first; in a group's photograph they may be too small for that, while a
# large face is found badly in a large copy.
SEARCH_SIZES = (DETECTION_SIZE, 2 * DETECTION_SIZE, 4 * DETECTION_SIZE)
MAX_FACES = 6  # rows of a picture
TILE, STRIP, GAP = 288, 56, 8  # pixels: a crop's side, the caption under it, the space between
PAPER, INK, FAINT = 255, 20, 95  # grey levels
COLOURS = cv2.COLORMAP_VIRIDIS  # readable for colour-blind people, and in grey
ENDING = ".explained.png"


def explain_picture(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    bundle: str | os.PathLike[str] = DEFAULT_BUNDLE,
    emotion: str | None = None,
    cropped: bool = False,
) -> dict[str, Any]:
    """Find the faces in a picture, explain each, and write one PNG with a row a face.

    Parameters
    ----------
    path
        a picture in any format that OpenCV reads
    output
        the PNG, or an existing folder for it; default: `NAME.explained.png` beside the picture
    bundle
        name or folder of a bundle, or of a facial network
    emotion
        what to explain; None explains each face's strongest
    cropped
        the picture is one face already, framed as FER+ frames it

    Returns
    -------
    dict of plain values: where the PNG is, and box, emotion and scores of each face

    Raises
    ------
    MultimodalFerError
        no picture, no face in it, unknown emotion or weights, captum missing, PNG cannot be written
    """
    import_captum()  # before the seconds that loading takes
    path = Path(path)
    image = read_picture(path)
    target = _choose_output(path, output)
    model, version = _load_face(bundle)
    boxes, notes = _whole(image) if cropped else _find(path, image)
    crops = numpy.stack([_crop(image, box, model.config.input_size, cropped) for box in boxes])
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
    """Read a picture upright, as RGB uint8 (H, W, 3).

    Raises `MediaError` where there is no picture.
    """
    try:
        data = numpy.frombuffer(Path(path).read_bytes(), numpy.uint8)
    except FileNotFoundError:
        raise MediaError(f"{path}: no such file; check the spelling and the folder") from None
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)  # 8 bits, three channels, turned as EXIF says
    except cv2.error:  # an empty file, or more pixels than OpenCV takes
        image = None
    if image is None:
        raise MediaError(
            f"{path}: expected a picture such as JPEG, PNG or WebP, but OpenCV cannot read it; "
            "recordings go to `multimodal-fer analyze`"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(numpy.uint8, copy=False)


def _choose_output(path: Path, output: str | os.PathLike[str] | None) -> Path:
    target = path.with_name(path.stem + ENDING) if output is None else Path(output)
    if target.is_dir():
        target = target / (path.stem + ENDING)
    if target.suffix.lower() != ".png":
        raise OutputError(f"{target}: expected a name that ends in .png")
    if target.exists() and target.samefile(path):
        raise OutputError(f"{target}: is the picture itself; choose another name")
    return target


def _load_face(name: str | os.PathLike[str]) -> tuple[FaceNetwork, str]:
    """The facial network of a bundle, or one that is on its own, and its name for the answer."""
    folder = find_weights(name)
    if "model" in read_config(folder):
        return load_model(folder), folder.name
    bundle = load_bundle(folder)
    if bundle.face is None:
        raise WeightsError(f"{folder}: the bundle has no part for the face")
    return bundle.face, bundle.version


def _find(path: Path, image: Image) -> tuple[NDArray[numpy.float32], list[str]]:
    found = (find_faces(image, size=size).boxes for size in SEARCH_SIZES)
    boxes = next((boxes for boxes in found if len(boxes)), None)
    if boxes is None:
        raise MediaError(
            f"{path}: no face found; take a picture that shows one as a whole, from the front and 20 pixels "
            "wide or more. Where the picture is a cropped face already, add --cropped"
        )
    left_out = len(boxes) - MAX_FACES
    notes = [f"{len(boxes)} faces found, the largest {MAX_FACES} are explained"]
    return boxes[:MAX_FACES], notes if left_out > 0 else []


def _whole(image: Image) -> tuple[NDArray[numpy.float32], list[str]]:
    height, width = image.shape[:2]
    return numpy.array([[0, 0, width, height]], numpy.float32), []


def _crop(image: Image, box: NDArray[numpy.float32], size: int, cropped: bool) -> Image:
    if not cropped:
        return crop_face(image, box, size)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    method = cv2.INTER_AREA if min(grey.shape) > size else cv2.INTER_LINEAR
    return cv2.resize(grey, (size, size), interpolation=method).astype(numpy.uint8, copy=False)


def _write_png(path: Path, image: Image) -> None:
    data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    prepare_folder(path.parent)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None


def draw(crops_BHW: NDArray[numpy.uint8], explanation: Explanation) -> Image:
    """One row a face: the crop, Grad-CAM over it, guided back-propagation; as RGB uint8."""
    rows = []
    for number, crop in enumerate(crops_BHW):
        emotion, evidence = explanation.emotions[number], explanation.grad_cam[number]
        face, lines = _enlarge(crop), _enlarge(explanation.guided[number] * 255)
        first, second = _verdict(explanation.scores[number], emotion)
        nothing = not evidence.any()
        meaning = "nothing spoke for it" if nothing else "evidence: none"
        tiles = [
            _caption(face, f"{number + 1}. {first}" if len(crops_BHW) > 1 else first, second),
            _caption(_overlay(face, evidence), f"Grad-CAM: {emotion}", meaning, bar=not nothing),
            _caption(lines, "guided back-propagation", "detail, not evidence; grey: none"),
        ]
        rows.append(_joined(tiles, axis=1))
    edges = ((GAP, GAP), (GAP, GAP), (0, 0))
    return numpy.pad(_joined(rows, axis=0), edges, constant_values=PAPER)


def _overlay(face: Image, evidence_HW: Maps) -> Image:
    """The evidence in colour over the face, which stays in sight where there is little."""
    strength = _enlarge(evidence_HW * 255)[:, :, :1]
    coloured = cv2.applyColorMap(strength, COLOURS)[:, :, ::-1]
    opacity = 0.15 + 0.5 * strength / 255
    return (face * (1 - opacity) + coloured * opacity).astype(numpy.uint8)


def _verdict(scores: Scores, emotion: str) -> tuple[str, str]:
    """The two lines under a crop: what is explained, and the strongest of all other emotions."""
    others = {label: score for label, score in scores.items() if label != emotion}
    other = strongest(others)
    first = f"{emotion} {scores[emotion]:.0%}"
    if other is None:
        return first, ""
    rank = "next" if others[other] <= scores[emotion] else "strongest"
    return first, f"{rank}: {other} {others[other]:.0%}"


def _enlarge(values_HW: NDArray[Any]) -> Image:
    """Grey values 0..255, smoothly enlarged, as a grey RGB picture."""
    large = cv2.resize(values_HW.astype("f4"), (TILE, TILE), interpolation=cv2.INTER_CUBIC)
    return large.round().clip(0, 255).astype(numpy.uint8)[:, :, None].repeat(3, axis=2)


def _caption(tile: Image, first: str, second: str, bar: bool = False) -> Image:
    """A tile with a strip of two lines under it; with `bar`, the second shows the colours' meaning."""
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
    """Write a line that fits into the image; returns the pixel where it ends."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    width = cv2.getTextSize(text, font, scale, 1)[0][0]
    room = image.shape[1] - left
    if width > room:
        scale, width = scale * room / width, room
    cv2.putText(image, text, (left, base), font, scale, (grey, grey, grey), 1, cv2.LINE_AA)
    return left + width


def _joined(parts: Sequence[Image], axis: int) -> Image:
    """Pictures beside each other (axis 1) or under each other (axis 0), with space between."""
    shape = list(parts[0].shape)
    shape[axis] = GAP
    space = numpy.full(shape, PAPER, numpy.uint8)
    spaced = [piece for part in parts for piece in (space, part)][1:]
    return numpy.concatenate(spaced, axis=axis)
