"""Random changes of a whole batch of grey faces at once, on whichever device the batch lies.

Shapes: B images, H W pixels.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

ROTATION_DEGREES = 15.0
SCALE = 0.15  # relative, either way: detectors frame faces less evenly than the corpus
SHIFT = 0.16  # of half the width
SHEAR = 0.08
GAMMA = 0.4  # exponent e**±0.4; plain brightness and contrast are taken out by the network
ERASE_PROBABILITY = 0.5
ERASE_SIDE = (0.15, 0.45)  # of the image's side


def augment(images_BHW: Tensor, generator: torch.Generator) -> Tensor:
    """Flip, rotate, scale, shift, shear, re-light and partly cover each image by its own draw.

    Takes uint8 or float in 0..255, returns float in 0..255. The generator lives on the CPU, so a
    seed gives the same batch on every device.
    """
    count = len(images_BHW)

    def uniform(low: float, high: float) -> Tensor:
        draw = torch.rand(count, generator=generator) * (high - low) + low
        return draw.to(images_BHW.device)

    angle = uniform(-ROTATION_DEGREES, ROTATION_DEGREES) * (math.pi / 180)
    scale = torch.exp(uniform(-SCALE, SCALE))
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    shear = uniform(-SHEAR, SHEAR)
    shift_x, shift_y = uniform(-SHIFT, SHIFT), uniform(-SHIFT, SHIFT)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    affine_B23 = torch.stack(
        [
            torch.stack([flip * cosine, flip * (shear - sine), shift_x], dim=1),
            torch.stack([sine, cosine, shift_y], dim=1),
        ],
        dim=1,
    )
    images_B1HW = images_BHW.float().unsqueeze(1)
    grid = functional.affine_grid(affine_B23, list(images_B1HW.shape), align_corners=False)
    moved_BHW = functional.grid_sample(
        images_B1HW, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    ).squeeze(1)
    gamma_B11 = torch.exp(uniform(-GAMMA, GAMMA)).view(-1, 1, 1)
    lit_BHW = (moved_BHW / 255).clamp(0, 1).pow(gamma_B11) * 255
    return _erase(lit_BHW, uniform)


def _erase(images_BHW: Tensor, uniform) -> Tensor:
    """Cover a random box with a random grey in about half of the images (Zhong et al. 2020)."""
    height, width = images_BHW.shape[1:]
    rows = torch.arange(height, device=images_BHW.device).view(1, -1, 1) / height
    columns = torch.arange(width, device=images_BHW.device).view(1, 1, -1) / width

    def side_and_start() -> tuple[Tensor, Tensor]:
        side = uniform(*ERASE_SIDE).view(-1, 1, 1)
        return side, uniform(0, 1).view(-1, 1, 1) * (1 - side)

    tall, top = side_and_start()
    wide, left = side_and_start()
    inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    chosen = (uniform(0, 1) < ERASE_PROBABILITY).view(-1, 1, 1)
    grey = uniform(0, 255).view(-1, 1, 1)
    return torch.where(inside & chosen, grey, images_BHW)
