"""Store weights in half precision, or matrices as whole numbers with one scale for each row.

Whole numbers from -127 to 127 take a quarter of float32; the error of a value is at most half a step of its
row, 0.4 % of the row's largest value. Figures in the cards are those of the rounded weights.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

ROUNDED = "int8-rows"  # the value of `stored` in a config.json
SCALE = ".scale"  # ending of the name of a matrix's scales
STEPS = 127

Shapes = Mapping[str, tuple[int, ...]]


def in_half_precision(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with float16 for every floating type."""
    return {
        name: value.half() if value.is_floating_point() else value
        for name, value in tensors.items()
    }


def round_rows(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return each float matrix as int8 (R, C) and its scales, float32 (R,); the rest in half precision."""
    rounded: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if not value.is_floating_point():
            rounded[name] = value
        elif value.ndim != 2:
            rounded[name] = value.half()
        else:
            scale_R = value.float().abs().amax(1).clamp(min=1e-12) / STEPS
            rounded[name] = (value.float() / scale_R[:, None]).round().to(torch.int8)
            rounded[name + SCALE] = scale_R
    return rounded


def restore_rows(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the float32 tensors of `round_rows`."""
    restored = {}
    for name, value in stored.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in stored:
            continue
        scale_R = stored.get(name + SCALE)
        restored[name] = (
            value.float() if scale_R is None else value.float() * scale_R.float()[:, None]
        )
    return restored


def rounded_shapes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors that `round_rows` stores for a network."""
    scales = {name + SCALE: shape[:1] for name, shape in shapes.items() if len(shape) == 2}
    return {**shapes, **scales}
