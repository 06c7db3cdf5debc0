"""Augmentation of batches of grey faces, on the device of the batch.

Shapes: B images, H W pixels of the corpus, S pixels of a side after augmentation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

ERASE_SIDE = (0.15, 0.45)  # of the image's side
LIGHT = 0.7  # largest share of brightness that side light removes from the far side
NOISE = 12.0  # largest standard deviation, in grey levels
QUALITY = (10.0, 60.0)  # of JPEG

# fmt: off
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # of a quality of 50
# fmt: on

Uniform = Callable[[float, float], Tensor]


@dataclass(frozen=True)
class Augmentation:
    """Shares and strengths of a policy; zero leaves a change out."""

    flip: float = 0.0  # share of the images that are mirrored
    rotation: float = 0.0  # degrees, either way
    crop: float = 1.0  # side of a randomly placed window, of the side
    scale: float = 0.0  # relative, either way
    shift: float = 0.0  # of half the width
    shear: float = 0.0
    gamma: float = 0.0  # exponent e**±gamma; the networks normalise brightness and contrast
    side_light: float = 0.0  # share of the images lit from one side
    blur: float = 0.0  # share of the images that are reduced in size and enlarged again
    coarsest: int = 2  # largest factor of this reduction, from 2
    jpeg: float = 0.0  # share of the images that are compressed
    noise: float = 0.0  # share of the images with camera noise
    erase: float = 0.0  # share of the images with a covered box (Zhong et al. 2020)


# Detected faces are framed less evenly than those of the corpus, and camera images are noisier.
COMPACT = Augmentation(
    flip=0.5,
    rotation=15,
    scale=0.12,
    shift=0.12,
    shear=0.06,
    gamma=0.3,
    side_light=0.15,
    blur=0.1,
    noise=0.1,
    erase=0.25,
)

AUGMENTATIONS = {
    "none": Augmentation(),
    "flip-rotate-noise": Augmentation(flip=0.5, rotation=10, noise=1.0),  # the article's remedies
    "arriaga": Augmentation(flip=0.5, rotation=10, shift=0.2, scale=0.1),  # Keras: 10 % each
    "barsoum": Augmentation(flip=0.5, rotation=20, shift=0.16, shear=0.05, scale=0.05),
    "wujie": Augmentation(flip=0.5, crop=44 / 48),
    "compact": COMPACT,
    # Faces in recordings are often small and always compressed.
    "compact-recorded": replace(COMPACT, blur=0.2, coarsest=4, jpeg=0.2),
}


def augment(
    images_BHW: Tensor, policy: Augmentation, generator: torch.Generator, size: int | None = None
) -> Tensor:
    """Augment each image by its own random draw; return (B, S, S) floats in 0..255.

    `size` is S, by default the side of the images. The generator is on the CPU, so that a seed gives the
    same batch on every device.
    """
    count = len(images_BHW)

    def uniform(low: float, high: float) -> Tensor:
        draw = torch.rand(count, generator=generator) * (high - low) + low
        return draw.to(images_BHW.device)

    side = size or images_BHW.shape[-1]
    if side <= images_BHW.shape[-1]:
        moved_BSS = _move(images_BHW.float(), policy, uniform, side)
        changed_BSS = _degrade(_light(moved_BSS, policy, uniform), policy, uniform, generator)
    else:  # a camera degrades what is enlarged afterwards
        lit_BHW = _light(images_BHW.float(), policy, uniform)
        degraded_BHW = _degrade(lit_BHW, policy, uniform, generator)
        changed_BSS = _move(degraded_BHW, policy, uniform, side)
    return _erase(changed_BSS, policy, uniform)


def _move(images_BHW: Tensor, policy: Augmentation, uniform: Uniform, size: int) -> Tensor:
    angle = uniform(-policy.rotation, policy.rotation) * (math.pi / 180)
    scale = torch.exp(uniform(-policy.scale, policy.scale)) * policy.crop
    flip = torch.where(uniform(0, 1) < policy.flip, -1.0, 1.0)
    shear = uniform(-policy.shear, policy.shear)
    reach = policy.shift + 1 - policy.crop  # the window may lie anywhere in the image
    shift_x, shift_y = (uniform(-reach, reach) for _ in range(2))
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    affine_B23 = torch.stack(
        [
            torch.stack([flip * cosine, flip * (shear - sine), shift_x], dim=1),
            torch.stack([sine, cosine, shift_y], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(affine_B23, [len(images_BHW), 1, size, size], align_corners=False)
    return functional.grid_sample(
        images_BHW.unsqueeze(1),
        grid,
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    ).squeeze(1)


def _light(images_BSS: Tensor, policy: Augmentation, uniform: Uniform) -> Tensor:
    """Apply a gamma curve, and to some images a light that falls off to one side."""
    gamma_B11 = torch.exp(uniform(-policy.gamma, policy.gamma)).view(-1, 1, 1)
    shade = uniform(0, LIGHT) * (uniform(0, 1) < policy.side_light)
    direction = uniform(-math.pi, math.pi)
    axis = torch.linspace(-0.5, 0.5, images_BSS.shape[-1], device=images_BSS.device)
    across_B1S = (torch.cos(direction)[:, None] * axis)[:, None, :]
    down_BS1 = (torch.sin(direction)[:, None] * axis)[:, :, None]
    falloff_BSS = 1 - shade.view(-1, 1, 1) * (0.5 + across_B1S + down_BS1).clamp(0, 1)
    return (images_BSS / 255).clamp(0, 1).pow(gamma_B11) * falloff_BSS * 255


def _degrade(
    images_BSS: Tensor, policy: Augmentation, uniform: Uniform, generator: torch.Generator
) -> Tensor:
    """Blur, add noise and compress some images."""
    blurred = uniform(0, 1) < policy.blur
    factor = uniform(2, policy.coarsest + 1).long().clamp(max=policy.coarsest)
    for number in range(2, policy.coarsest + 1):
        chosen = (blurred & (factor == number)).view(-1, 1, 1)
        images_BSS = torch.where(chosen, _coarse(images_BSS, number), images_BSS)
    deviation = uniform(0, NOISE) * (uniform(0, 1) < policy.noise)
    noise_BSS = torch.randn(images_BSS.shape, generator=generator).to(images_BSS.device)
    noisy_BSS = (images_BSS + deviation.view(-1, 1, 1) * noise_BSS).clamp(0, 255)
    if not policy.jpeg:
        return noisy_BSS
    compressed = (uniform(0, 1) < policy.jpeg).view(-1, 1, 1)
    return torch.where(compressed, compress(noisy_BSS, uniform(*QUALITY)), noisy_BSS)


def _coarse(images_BSS: Tensor, factor: int) -> Tensor:
    """Reduce by a whole factor and enlarge again, a blur of about half the factor in pixels."""
    side = images_BSS.shape[-1]
    small = functional.avg_pool2d(images_BSS.unsqueeze(1), factor)
    large = functional.interpolate(small, (side, side), mode="bilinear", align_corners=False)
    return large.squeeze(1)


def compress(images_BSS: Tensor, quality_B: Tensor) -> Tensor:
    """Compress grey images as JPEG with a quality of 1 to 100 and decode them.

    ITU-T T.81, annexes A.3.3 (the cosine transform) and K.1 (the usual table for brightness), scaled
    by quality as libjpeg does. Other sides than multiples of 8 are padded with the last pixels.
    """
    side = images_BSS.shape[-1]
    rest = -side % 8
    padded = functional.pad(images_BSS.unsqueeze(1), (0, rest, 0, rest), mode="replicate")
    blocks = (side + rest) // 8
    pixels = padded.reshape(-1, blocks, 8, blocks, 8).transpose(2, 3)  # B, rows, columns, 8, 8
    scale_B = torch.where(quality_B < 50, 5000 / quality_B, 200 - 2 * quality_B)
    table = torch.tensor(LUMINANCE, device=pixels.device).view(8, 8)
    steps = ((table * scale_B.view(-1, 1, 1) + 50) / 100).floor().clamp(1, 255)[:, None, None]
    cosines = _cosines().to(pixels.device)
    kept = ((cosines @ (pixels - 128) @ cosines.T) / steps).round() * steps
    restored = (cosines.T @ kept @ cosines + 128).round().clamp(0, 255)
    return restored.transpose(2, 3).reshape(-1, side + rest, side + rest)[:, :side, :side]


def _cosines() -> Tensor:
    """Return the orthonormal cosine transform of eight values, (8, 8)."""
    row, column = torch.arange(8.0).view(-1, 1), torch.arange(8.0)
    cosines = torch.cos((2 * column + 1) * row * math.pi / 16) / 2
    cosines[0] /= math.sqrt(2)
    return cosines


def _erase(images_BHW: Tensor, policy: Augmentation, uniform: Uniform) -> Tensor:
    """Cover a random box of some images with a random grey."""
    height, width = images_BHW.shape[1:]
    rows = torch.arange(height, device=images_BHW.device).view(1, -1, 1) / height
    columns = torch.arange(width, device=images_BHW.device).view(1, 1, -1) / width

    def side_and_start() -> tuple[Tensor, Tensor]:
        side = uniform(*ERASE_SIDE).view(-1, 1, 1)
        return side, uniform(0, 1).view(-1, 1, 1) * (1 - side)

    tall, top = side_and_start()
    wide, left = side_and_start()
    inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    chosen = (uniform(0, 1) < policy.erase).view(-1, 1, 1)
    grey = uniform(0, 255).view(-1, 1, 1)
    return torch.where(inside & chosen, grey, images_BHW)
