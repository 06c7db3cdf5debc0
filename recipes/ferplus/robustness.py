"""Measure the accuracy of a facial network on corrupted images.

    python -m recipes.ferplus.robustness weights/face-ferplus-seresnet runs/ferplus.npz test

Each corruption is applied to every image with a majority label: blur, compression, light from one side,
rotation. For `camera` rows the image is put into a larger picture, detected and cropped as `analyze` does; a
missed face lowers `found`, not the accuracy. Writes `results/NAME.SPLIT.robustness.json`.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy
import torch
from numpy.typing import NDArray

from multimodal_fer.face.detection import CROP_WIDTHS, crop_face, find_faces
from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.models.inference import for_inference
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import write_json
from recipes.ferplus.corpus.votes import counted, majority_targets
from recipes.ferplus.evaluate import PARTS, RESULTS
from recipes.ferplus.learning.runs import load_any
from recipes.ferplus.learning.views import predict
from recipes.ferplus.prepare import load_split

Grey = NDArray[numpy.uint8]
Change = Callable[[Grey], Grey]

PICTURE = 320  # side of the larger picture in pixels


def blur(sigma: float) -> Change:
    return lambda image: cv2.GaussianBlur(image, (0, 0), sigma).astype(numpy.uint8)


def jpeg(quality: int) -> Change:
    """Return a change that compresses as JPEG."""

    def change(image: Grey) -> Grey:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return numpy.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), numpy.uint8)

    return change


def side_light(left: float, right: float) -> Change:
    """Return a change whose brightness goes from `left` to `right`."""

    def change(image: Grey) -> Grey:
        return (image * numpy.linspace(left, right, image.shape[1])).astype(numpy.uint8)

    return change


def roll(degrees: float) -> Change:
    """Return a change that rotates the image."""

    def change(image: Grey) -> Grey:
        middle = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
        turn = cv2.getRotationMatrix2D(middle, degrees, 1.0)
        turned = cv2.warpAffine(
            image, turn, image.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        return turned.astype(numpy.uint8)

    return change


def small(width: int) -> Change:
    """Return a change that reduces the face to `width` pixels and enlarges it again."""

    def change(image: Grey) -> Grey:
        side = round(width * CROP_WIDTHS)
        reduced = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        large = cv2.resize(reduced, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
        return large.astype(numpy.uint8)

    return change


def place(image: Grey, size: int) -> tuple[NDArray[numpy.uint8], int]:
    """Return an RGB picture with the image in its middle, `size` pixels large, and the image's offset."""
    shrinks = size < image.shape[0]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    large = cv2.resize(image, (size, size), interpolation=way)
    offset = (PICTURE - size) // 2
    rest = PICTURE - size - offset
    framed = cv2.copyMakeBorder(large, offset, rest, offset, rest, cv2.BORDER_REPLICATE)
    return cv2.cvtColor(framed, cv2.COLOR_GRAY2RGB).astype(numpy.uint8, copy=False), offset


def camera(width: int, turned: float = 0.0, quality: int = 0) -> Callable[[Grey], Grey | None]:
    """Return a change that detects and crops a face of `width` pixels in a larger picture.

    Crops have the side of the corpus images, which is `input_size` of the networks for them.
    """

    def change(image: Grey) -> Grey | None:
        picture, _ = place(roll(turned)(image) if turned else image, round(width * CROP_WIDTHS))
        if quality:
            picture = numpy.stack([jpeg(quality)(picture[:, :, 0])] * 3, axis=-1)
        boxes = find_faces(picture).boxes
        return crop_face(picture, boxes[0], image.shape[0]) if len(boxes) else None

    return change


CONDITIONS: dict[str, Callable[[Grey], Grey | None]] = {
    "as in the corpus": lambda image: image,
    "blurred, sigma 1 pixel": blur(1),
    "blurred, sigma 2 pixels": blur(2),
    "JPEG quality 20 at 48 pixels": jpeg(20),
    "light from the left": side_light(1.0, 0.25),
    "light from the right": side_light(0.25, 1.0),
    "a quarter of the light": side_light(0.25, 0.25),
    "rolled by 10°": roll(10),
    "rolled by -20°": roll(-20),
    "rolled by 20°": roll(20),
    "face of 24 pixels": small(24),
    "camera, face of 24 pixels": camera(24),
    "camera, face of 48 pixels": camera(48),
    "camera, face of 100 pixels": camera(100),
    "camera, face of 200 pixels": camera(200),
    "camera, 100 pixels, rolled by 20°": camera(100, turned=20),
    "camera, 100 pixels, JPEG quality 20": camera(100, quality=20),
}


def measure(
    model: FaceNetwork, images: NDArray[numpy.uint8], truth: NDArray[numpy.integer]
) -> dict[str, Any]:
    """Return for each condition the share of faces found, and their accuracy with and without it."""
    model = for_inference(model)
    clean = predict(model, torch.from_numpy(images)).argmax(1).numpy() == truth
    rows: dict[str, Any] = {}
    for name, change in CONDITIONS.items():
        changed = [change(image) for image in images]
        found = [number for number, image in enumerate(changed) if image is not None]
        stacked = torch.from_numpy(numpy.stack([image for image in changed if image is not None]))
        correct = predict(model, stacked).argmax(1).numpy() == truth[found]
        rows[name] = {
            "found": len(found) / len(images),
            "accuracy": float(correct.mean()),
            "as_in_the_corpus": float(clean[found].mean()),
        }
    return rows


def main(name: str, archive: str, split: str) -> None:
    """Measure by the protocol cntk-majority, write and print the result."""
    title, model, _ = load_any(name)
    part = load_split(archive, split)
    targets = majority_targets(part.votes)
    usable = counted(targets)
    rows = measure(model, part.images[usable], targets[usable].argmax(axis=1))
    result = {
        "name": title,
        "protocol": "cntk-majority",
        "images": len(usable),
        "split": PARTS[split],
        **provenance(f"python -m recipes.ferplus.robustness {name} {archive} {split}"),
        "conditions": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{title}.{split}.robustness.json", result)
    for condition, row in rows.items():
        gap = row["accuracy"] - row["as_in_the_corpus"]
        print(f"{condition}: {row['accuracy']:.2%} ({gap:+.2%}), found {row['found']:.1%}")


if __name__ == "__main__":
    run_command(main, __doc__, 3)
