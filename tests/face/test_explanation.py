"""Explanations: maps that depend on weights and evidence, and the image that shows them."""

import json
import subprocess
import sys

import cv2
import numpy
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import CliRunner

from multimodal_fer.cli.commands import app
from multimodal_fer.errors import MediaError, MultimodalFerError, OutputError
from multimodal_fer.face.detection import crop_face, find_faces
from multimodal_fer.face.explanation import explain_face
from multimodal_fer.hub.loading import load_bundle
from multimodal_fer.models import FACE_MODELS, build
from multimodal_fer.report import face_maps
from multimodal_fer.report.face_maps import explain_picture, read_picture

pytest.importorskip("captum", reason="needs the extra 'explain'")


@pytest.fixture
def model():
    return load_bundle().face


@pytest.fixture(scope="module")
def crop(portrait):
    """Return the crop of the portrait's smiling face, (1, 48, 48)."""
    return crop_face(portrait, find_faces(portrait).boxes[0], 48)[None]


@pytest.fixture
def picture(tmp_path, portrait):
    return save(tmp_path / "face.png", portrait)


def save(path, rgb):
    """Write an image as bytes, because OpenCV's writer needs ASCII paths on Windows."""
    pixels = rgb if rgb.ndim == 2 else rgb[:, :, [2, 1, 0, *range(3, rgb.shape[2])]]
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def correlation(first, second):
    """Return Pearson's correlation, or 0 if a map is constant."""
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(numpy.corrcoef(first.ravel(), second.ravel())[0, 1])


# ------------------------------------------------------------------------------ every network


class CountReLU(TorchDispatchMode):
    """A counter of the ReLU and ReLU6 operations that run, from modules and functions."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        in_place = name in ("relu_", "hardtanh_")
        assert not in_place, "an activation in place alters maps that captum still needs"
        self.count += name in ("relu", "hardtanh")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", FACE_MODELS)
def test_every_network_can_be_explained(name, portrait):
    torch.manual_seed(0)
    network = build(name, {}).eval()
    side = network.config.input_size
    crop = crop_face(portrait, find_faces(portrait).boxes[0], side)[None]
    answers = [explain_face(network, crop, emotion) for emotion in network.config.labels[:3]]
    for answer in answers:
        for maps in (answer.grad_cam, answer.guided):
            assert maps.shape == (1, side, side) and maps.dtype == numpy.float32
            assert maps.min() >= 0 and maps.max() <= 1
        assert answer.grad_cam.max() in (0.0, 1.0)
        assert answer.guided.std() > 0.01
    # With random weights an emotion may have no evidence, but one of three has some.
    assert any(answer.grad_cam.std() > 0.05 for answer in answers)


@pytest.mark.parametrize("name", FACE_MODELS)
def test_every_activation_is_a_module(name):
    """Check that all activations are `nn.ReLU` modules, the only ones that captum hooks."""
    network = build(name, {}).eval()
    ran = []
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda *_: ran.append(1))
    side = network.config.input_size
    with CountReLU() as counted:  # with gradients, as captum runs it
        network(torch.rand(1, side, side) * 255)
    assert counted.count == len(ran) > 0


def test_maps_cover_the_input_of_the_network(crop):
    """Check that the maps of VGG19, which uses the inner 44 of 48 pixels, end there."""
    torch.manual_seed(1)
    answer = explain_face(build("vgg19", {}).eval(), crop)
    inside = numpy.zeros((48, 48), bool)
    inside[2:46, 2:46] = True
    assert (answer.grad_cam[0][~inside] == 0).all()
    assert (answer.guided[0][~inside] == 0.5).all()
    assert (answer.guided[0][inside] != 0.5).mean() > 0.9


# ------------------------------------------------------------------------------ what the maps mean


def test_the_strongest_emotion_is_explained(model, crop):
    answer = explain_face(model, crop)
    assert answer.emotions == ("happiness",)
    assert max(answer.scores[0], key=answer.scores[0].__getitem__) == "happiness"
    assert sum(answer.scores[0].values()) == pytest.approx(1, abs=1e-5)
    expected = (model(torch.from_numpy(crop)).logits / model.config.temperature).softmax(1)
    assert [*answer.scores[0].values()] == pytest.approx(expected[0].tolist(), abs=1e-5)


def test_the_evidence_for_happiness_lies_within_the_face(model, crop):
    """Check the centre, not the peak: a map of 6x6 pixels hardly separates mouth and nose."""
    evidence = explain_face(model, crop).grad_cam[0]
    places = numpy.arange(48)
    row = (evidence.sum(1) * places).sum() / evidence.sum()
    column = (evidence.sum(0) * places).sum() / evidence.sum()
    assert 18 < row < 38 and 16 < column < 32


@pytest.mark.parametrize("scale", [1.0, 1.2])
@pytest.mark.parametrize("shift", [-8, 0, 8])
def test_covering_the_evidence_costs_the_emotion(model, portrait, scale, shift):
    """Check that grey over the quarter with the most evidence lowers happiness most.

    Crops tighter than the package's own are left out, because all of such a crop is face.
    """
    left, top, right, bottom = find_faces(portrait).boxes[0]
    middle, half = (left + right) / 2 + shift, scale * (right - left) / 2
    crop = crop_face(portrait, numpy.array([middle - half, top, middle + half, bottom]), 48)
    order = explain_face(model, crop[None]).grad_cam[0].ravel().argsort(kind="stable")
    quarter = len(order) // 4
    views = [crop]
    for picks in (order[-quarter:], order[:quarter]):
        covered = crop.copy()
        covered.ravel()[picks] = round(crop.mean())
        views.append(covered)
    # The probability of a broad smile is near 1 whatever is covered; its logit varies more.
    logits = model(torch.from_numpy(numpy.stack(views))).logits
    happiness = model.config.labels.index("happiness")
    whole, without_most, without_least = logits[:, happiness].tolist()
    assert whole - without_most > 1 + (whole - without_least)


def test_grad_cam_follows_the_weights(model, crop):
    """Check that random weights change the maps (Adebayo et al. 2018)."""
    trained = explain_face(model, crop, "happiness").grad_cam
    for seed in range(4):
        torch.manual_seed(seed)
        random = explain_face(build("se-resnet", {}).eval(), crop, "happiness")
        assert correlation(trained, random.grad_cam) < 0.5


def test_guided_backpropagation_hardly_follows_the_late_weights(model, crop):
    """Check its known weakness, which its caption states: random late layers change it little."""
    trained = explain_face(model, crop, "happiness").guided
    torch.manual_seed(0)
    for module in [model.head, *model.stages[5:].modules()]:
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    assert correlation(trained, explain_face(model, crop, "happiness").guided) > 0.8
    torch.manual_seed(0)
    random = explain_face(build("se-resnet", {}).eval(), crop, "happiness")
    assert correlation(trained, random.guided) < 0.5


def test_each_emotion_has_its_own_evidence(model, crop):
    maps = [explain_face(model, crop, name).grad_cam for name in ("happiness", "anger")]
    assert correlation(*maps) < 0.5


def test_crops_are_explained_one_by_one(model, crop):
    pair = numpy.concatenate([crop, crop[:, :, ::-1] // 2])
    together = explain_face(model, pair)
    for number in range(2):
        alone = explain_face(model, pair[number : number + 1])
        for name in ("grad_cam", "guided"):
            one, both = getattr(alone, name)[0], getattr(together, name)[number]
            assert numpy.abs(one - both).max() < 1e-3


def test_a_flat_crop_gives_finite_maps(model):
    answer = explain_face(model, numpy.full((1, 48, 48), 90, numpy.uint8))
    assert numpy.isfinite(answer.grad_cam).all() and numpy.isfinite(answer.guided).all()


def test_nothing_is_left_behind_in_the_model(model, crop):
    """Check that no hooks and gradients remain, also if the caller switched gradients off."""
    expected = explain_face(model, crop)
    with torch.inference_mode():
        crops = torch.from_numpy(crop).float()
        answer = explain_face(model, crops)
    assert (answer.guided == expected.guided).all()
    assert all(parameter.grad is None for parameter in model.parameters())
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_invalid_arguments_are_refused(model, crop):
    with pytest.raises(MultimodalFerError, match=r"unknown emotion 'joy'; known: neutral, happ"):
        explain_face(model, crop, "joy")
    with pytest.raises(ValueError, match="square"):
        explain_face(model, crop[0])
    with pytest.raises(ValueError, match="square"):
        explain_face(model, crop[:, :40])
    with pytest.raises(ValueError, match="eval mode"):
        explain_face(model.train(), crop)


# ------------------------------------------------------------------------------ pictures


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Insert an EXIF block with an orientation behind a JPEG's first marker."""
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01" + orientation.to_bytes(2, "big") + b"\x00\x00"
    block = b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01" + entry + b"\x00\x00\x00\x00"
    return jpeg[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + jpeg[2:]


def test_pictures_of_any_kind_are_read_alike(tmp_path, portrait):
    grey = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)
    opaque = numpy.full(grey.shape, 255, numpy.uint8)
    kinds = {
        "zdjęcie 笑顔.png": portrait,
        "alpha.png": numpy.dstack([portrait, opaque]),
        "deep.png": portrait.astype(numpy.uint16) * 257,
        "photo.webp": portrait,
        "photo.jpg": portrait,
    }
    for name, pixels in kinds.items():
        image = read_picture(save(tmp_path / name, pixels))
        assert image.dtype == numpy.uint8 and image.shape == portrait.shape
        assert numpy.abs(image.astype(float) - portrait).mean() < 4, name
    image = read_picture(save(tmp_path / "grey.png", grey))
    assert (image == grey[:, :, None]).all()
    lying = save(tmp_path / "lying.jpg", numpy.ascontiguousarray(numpy.rot90(portrait)))
    lying.write_bytes(with_orientation(lying.read_bytes(), 6))  # 6: turn clockwise to see it
    assert numpy.abs(read_picture(lying).astype(float) - portrait).mean() < 4


def test_faces_too_small_for_the_first_search_are_found(tmp_path, portrait):
    wide = numpy.full((1800, 3000, 3), 90, numpy.uint8)
    small = cv2.resize(portrait, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA)
    wide[40 : 40 + small.shape[0], 60 : 60 + small.shape[1]] = small
    assert not len(find_faces(wide).boxes)
    answer = explain_picture(save(tmp_path / "wide.png", wide))
    assert [face["emotion"] for face in answer["faces"]] == ["happiness"]


def test_many_faces_are_a_few_rows(tmp_path, portrait):
    small = cv2.resize(portrait[:, 160:480], None, fx=0.5, fy=0.5)
    crowd = save(tmp_path / "crowd.png", numpy.tile(small, (2, 4, 1)))
    answer = explain_picture(crowd, emotion="surprise")
    assert len(answer["faces"]) == face_maps.MAX_FACES
    assert answer["warnings"] == ["8 faces found, the largest 6 are explained"]
    shown = read_picture(answer["picture"])
    row = face_maps.TILE + face_maps.STRIP + face_maps.GAP
    assert shown.shape == (
        6 * row + face_maps.GAP,
        3 * (face_maps.TILE + face_maps.GAP) + face_maps.GAP,
        3,
    )


def test_a_cropped_face_needs_no_search(tmp_path, crop):
    tiny = save(tmp_path / "fer0000001.png", crop[0])
    answer = explain_picture(tiny, cropped=True)
    assert answer["faces"][0]["box"] == [0, 0, 48, 48]
    assert answer["faces"][0]["emotion"] == "happiness"


def test_the_picture_itself_is_never_replaced(tmp_path, picture):
    before = picture.read_bytes()
    (tmp_path / "link.png").symlink_to(picture)
    for output in (picture, tmp_path / "." / "face.png", tmp_path / "link.png"):
        with pytest.raises(OutputError, match="is the picture itself"):
            explain_picture(picture, output)
    with pytest.raises(OutputError, match=r"ends in \.png"):
        explain_picture(picture, tmp_path / "out.jpg")
    assert picture.read_bytes() == before


def test_the_png_is_written_beside_the_picture_or_to_the_output(tmp_path, picture):
    assert explain_picture(picture)["picture"] == str(tmp_path / "face.explained.png")
    (tmp_path / "out").mkdir()
    inside = tmp_path / "out" / "face.explained.png"
    assert explain_picture(picture, tmp_path / "out")["picture"] == str(inside)
    new = tmp_path / "new" / "one.png"
    explain_picture(picture, new)
    assert new.is_file() and not [*new.parent.glob("*.part")]


def test_a_network_on_its_own_can_be_named(picture):
    answer = explain_picture(picture, bundle="face-ferplus-seresnet")
    assert answer["bundle"] == "face-ferplus-seresnet"
    assert answer["faces"][0]["emotion"] == "happiness"


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_no_picture(tmp_path, content):
    path = tmp_path / "notes.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        MediaError, match="no such file" if content is None else "expected a picture"
    ):
        read_picture(path)


# ------------------------------------------------------------------------------ the command


def test_the_command_prints_json_and_writes_the_picture(picture, tmp_path):
    output = tmp_path / "shown.png"
    result = subprocess.run(
        [sys.executable, "-m", "multimodal_fer.cli", "explain", str(picture), "-o", str(output)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["picture"] == str(output) and output.is_file()
    assert answer["faces"][0]["explained"] == answer["faces"][0]["emotion"] == "happiness"
    assert list(answer["faces"][0]["scores"]) == list(load_bundle().face.config.labels)  # type: ignore
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["grey.png"], "no face found"),
        (["gone.png"], "no such file"),
        (["notes.txt"], "expected a picture"),
        (["."], "cannot be read"),
        (["face.png", "--emotion", "joy"], "known: neutral, happiness"),
        (["face.png", "--bundle", "open9"], "not found"),
        (["face.png", "-o", "face.png"], "is the picture itself"),
        (["face.png", "-o", "notes.txt/out.png"], "cannot be written"),
    ],
)
def test_errors_are_printed_as_sentences(picture, monkeypatch, arguments, message):
    monkeypatch.chdir(picture.parent)
    save(picture.parent / "grey.png", numpy.full((200, 200), 90, numpy.uint8))
    (picture.parent / "notes.txt").write_text("no picture")
    result = CliRunner().invoke(app, ["explain", *arguments])
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr.startswith("error: ") and message in result.stderr


def test_without_captum_the_extra_is_named(picture, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    result = CliRunner().invoke(app, ["explain", str(picture)])
    assert result.exit_code == 1
    assert "pip install 'multimodal_fer[explain]'" in result.stderr


def test_the_command_line_stays_light():
    code = (
        "import sys, multimodal_fer.cli\n"
        "print([name for name in ('torch', 'cv2', 'captum', 'matplotlib') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert result.stdout.strip() == "[]", result.stderr
