"""Kernels of a published network for colour pictures, and how they become kernels for grey crops.

Shapes: O outputs, I inputs of a convolution; kernels are 3x3 or 1x1.
"""

from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from multimodal_fer.errors import WeightsError
from multimodal_fer.face.zoo.mobilenet import BRIGHTNESS

GREY = 114.8  # the grey level at which a crop of mean BRIGHTNESS is zero; the mean over VGGFace2's channels

Floats = NDArray[numpy.float32]


class Layer(NamedTuple):
    """A convolution with the normalisation behind it folded in."""

    name: str
    kernel: Floats  # (O, I, 3, 3), (O, I, 1, 1) or, depthwise, (O, 1, 3, 3)
    bias: Floats  # (O,)


def grey(layer: Layer, means: tuple[float, ...], scales: tuple[float, ...]) -> Layer:
    """Return a first layer for grey crops from one for three channels that expects (level - mean) / scale.

    A grey picture has the same level in all channels, so the kernels of the channels are summed. The
    differences between the means go into the bias, which is exact except at the padded border.
    """
    if layer.kernel.shape[1] != len(means):
        raise WeightsError(
            f"{layer.name}: expected {len(means)} input channels, found {layer.kernel.shape[1]}"
        )
    parts = layer.kernel / numpy.array(scales, numpy.float32)[:, None, None]
    shifts = GREY - numpy.array(means, numpy.float32)
    bias = layer.bias + (parts.sum((2, 3)) * shifts).sum(1)
    return Layer(layer.name, parts.sum(1, keepdims=True), bias)


__all__ = ["BRIGHTNESS", "GREY", "Layer", "grey"]
