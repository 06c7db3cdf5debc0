"""Read a MobileNet v1 of timm (`mobilenetv1_100` and its variants) from a file that the user has.

The names are those of timm's `EfficientNet` class with `dsa` blocks: `conv_stem`, `bn1`, then
`blocks.<stage>.<place>.conv_dw`, `bn1`, `conv_pw`, `bn2`. timm itself is not needed. Networks of other
families have other blocks and are refused.
"""

import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from multimodal_fer.errors import WeightsError
from recipes.ferplus.starts.layers import Layer, grey

# Red, green and blue of levels in 0..255, as timm normalises for these networks (ImageNet).
MEANS = (0.485 * 255, 0.456 * 255, 0.406 * 255)
SCALES = (0.229 * 255, 0.224 * 255, 0.225 * 255)
EPSILON = 1e-5  # of timm's batch normalisation
BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.conv_dw\.weight")


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors or torch file, without executing code from it."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a broken file
        if not isinstance(error, OSError | RuntimeError | ValueError | EOFError | SafetensorError):
            error = WeightsError(type(error).__name__)
        raise WeightsError(
            f"{path}: expected a state_dict as .safetensors or torch file, cannot be read ({error})"
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path}: expected a state_dict, names and tensors, found other values")
    return state


def read_timm(path: Path) -> list[Layer]:
    """Return the layers of the MobileNet, the first for grey crops, then depthwise and pointwise in turn.

    Raises `WeightsError` if the file cannot be read or is of another family.
    """
    state = {name.removeprefix("module."): value for name, value in read_state(path).items()}

    def folded(convolution: str, normalisation: str) -> Layer:
        try:
            kernel = state[f"{convolution}.weight"].float()
            gamma, beta, mean, variance = (
                state[f"{normalisation}.{part}"].float()
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            factor = gamma / (variance + EPSILON).sqrt()
            kernel, bias = kernel * factor.view(-1, 1, 1, 1), beta - mean * factor
        except KeyError as error:
            raise WeightsError(f"{path}: no tensor {error}; {EXPECTED}") from None
        except RuntimeError as error:
            raise WeightsError(
                f"{path}: {convolution} and {normalisation} differ ({error})"
            ) from None
        return Layer(convolution, kernel.numpy(), bias.numpy())

    places = sorted(
        (int(match[1]), int(match[2])) for match in map(BLOCK.fullmatch, state) if match
    )
    if not places:
        raise WeightsError(f"{path}: no block found; {EXPECTED}")
    layers = [grey(folded("conv_stem", "bn1"), MEANS, SCALES, path)]
    for stage, place in places:
        block = f"blocks.{stage}.{place}"
        layers.append(folded(f"{block}.conv_dw", f"{block}.bn1"))
        layers.append(folded(f"{block}.conv_pw", f"{block}.bn2"))
    return layers


EXPECTED = "expected a MobileNet v1 of timm (mobilenetv1_100 and its variants)"
