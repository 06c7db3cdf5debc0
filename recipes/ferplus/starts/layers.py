"""Kernels of a published network for colour pictures, and how they become kernels for grey crops.

Shapes: O outputs, I inputs of a convolution; kernels are 3x3 or 1x1.
"""

from pathlib import Path
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from multimodal_fer.errors import WeightsError

GREY = 114.8  # the grey level that a MobileNet of ours gets as 0: the mean over the channels of VGGFace2

Floats = NDArray[numpy.float32]


class Layer(NamedTuple):
    """A convolution with the normalisation behind it folded in."""

    name: str
    kernel: Floats  # (O, I, 3, 3), (O, I, 1, 1) or, depthwise, (O, 1, 3, 3)
    bias: Floats  # (O,)


def grey(layer: Layer, means: tuple[float, ...], scales: tuple[float, ...], path: Path) -> Layer:
    """Return a first layer for grey crops from one for three channels that expects (level - mean) / scale.

    A grey picture has the same level in all channels, so the kernels of the channels are summed. The
    differences between the means go into the bias, which is exact except at the padded border. Raises
    `WeightsError` if the layer has another number of channels; `path` is named.
    """
    if layer.kernel.shape[1] != len(means):
        raise WeightsError(
            f"{path}: {layer.name}: expected {len(means)} input channels, found {layer.kernel.shape[1]}"
        )
    parts = layer.kernel / numpy.array(scales, numpy.float32)[:, None, None]
    shifts = GREY - numpy.array(means, numpy.float32)
    bias = layer.bias + (parts.sum((2, 3)) * shifts).sum(1)
    return Layer(layer.name, parts.sum(1, keepdims=True), bias)
