"""Measure how FER+ frames a face, in units of the detector's box, for `face.detection.CROP_WIDTHS`.

    python -m benchmarks.crop_margin runs/ferplus.npz

Enlarges training images in a larger picture and detects the faces. If the shipped weights are installed, it
also crops validation images like `analyze`, at several widths, and compares the accuracy with that on the
images as the corpus frames them. No test image is used. Writes `benchmarks/results/crop_margin.json`.
"""

from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from multimodal_fer.face import detection
from multimodal_fer.hub import loading
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import write_json
from recipes.ferplus.corpus.votes import counted, majority_targets
from recipes.ferplus.prepare import load_split
from recipes.ferplus.robustness import place

RESULTS = Path(__file__).parent / "results"
SIZES = (120, 160, 200, 240)  # pixels to which the 48-pixel images are enlarged
TRAINING_IMAGES, SEED = 1500, 0
WIDTHS = (1.0, 1.15, 1.28, 1.4, 1.6)


def measure_frames(images: NDArray[numpy.uint8]) -> dict[str, Any]:
    """Return medians of box width, height and centre as shares of the image's side, for each size."""
    rows: dict[str, Any] = {}
    for size in SIZES:
        boxes = []
        for image in images:
            picture, offset = place(image, size)
            found = detection.find_faces(picture).boxes
            if len(found):
                boxes.append((found[0] - offset) / size)
        left, top, right, bottom = numpy.array(boxes).T
        measures = {
            "width": right - left,
            "height": bottom - top,
            "centre_x": (left + right) / 2,
            "centre_y": (top + bottom) / 2,
        }
        rows[str(size)] = {"found": len(boxes) / len(images)} | {
            name: {
                "median": round(float(numpy.median(values)), 3),
                "quartiles": numpy.percentile(values, [25, 75]).round(3).tolist(),
            }
            for name, values in measures.items()
        }
    return rows


def measure_accuracy(images: NDArray[numpy.uint8], truth: NDArray[numpy.integer]) -> dict[str, Any]:
    """Return the accuracy of the shipped weights on detected crops of several widths and on the images."""
    model = loading.load_bundle().face
    if model is None:
        return {}
    pictures = [place(image, 200)[0] for image in images]
    boxes = [detection.find_faces(picture).boxes for picture in pictures]
    found = [number for number, box in enumerate(boxes) if len(box)]

    def accuracy(crops: list[NDArray[numpy.uint8]]) -> float:
        with torch.inference_mode():
            batches = torch.from_numpy(numpy.stack(crops)).split(256)
            predicted = torch.cat([model(batch).logits.argmax(1) for batch in batches]).numpy()
        return round(float((predicted == truth[found]).mean()), 4)

    result: dict[str, Any] = {
        "images": len(found),
        "as_framed": accuracy([images[i] for i in found]),
    }
    chosen = detection.CROP_WIDTHS
    for width in WIDTHS:
        detection.CROP_WIDTHS = width
        size = model.config.input_size
        crops = [detection.crop_face(pictures[i], boxes[i][0], size) for i in found]
        result[f"{width:.2f} widths"] = accuracy(crops)
    detection.CROP_WIDTHS = chosen
    return result


def main(archive: str) -> None:
    """Measure both, write and print the result."""
    training = load_split(archive, "train").images
    picks = numpy.random.default_rng(SEED).permutation(len(training))[:TRAINING_IMAGES]
    frames = measure_frames(training[picks])
    validation = load_split(archive, "valid")
    targets = majority_targets(validation.votes)
    usable = counted(targets)
    accuracy = measure_accuracy(validation.images[usable], targets[usable].argmax(axis=1))
    result = {
        **provenance("python -m benchmarks.crop_margin runs/ferplus.npz"),
        "training_images": TRAINING_IMAGES,
        "frames": frames,
        "validation_accuracy": accuracy,
    }
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / "crop_margin.json", result)
    for size, row in frames.items():
        print(size, row)
    print(accuracy)


if __name__ == "__main__":
    run_command(main, __doc__, 1)
