"""Resize and normalise grey crops for the first layer of a network.

Shapes: B crops, H W pixels, S side of a network's input, N pixels of a crop.
"""

import torch
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-5  # keeps the standardisation of a single-coloured crop finite


def resize(images_BHW: Tensor, size: int) -> Tensor:
    """Resize grey crops to (B, 1, size, size) floats."""
    images_B1HW = images_BHW.float().unsqueeze(1)
    if images_B1HW.shape[2:] == (size, size):
        return images_B1HW
    return functional.interpolate(images_B1HW, (size, size), mode="bilinear", align_corners=False)


def standardise(images_BHW: Tensor) -> Tensor:
    """Give each image zero mean and unit variance, as (B, 1, H, W) floats.

    Lighting and camera gain differ far more between recordings than within the training corpus.
    """
    images_BHW = images_BHW.float()
    variance_B11, mean_B11 = torch.var_mean(images_BHW, dim=(1, 2), correction=0, keepdim=True)
    return ((images_BHW - mean_B11) / (variance_B11 + EPSILON).sqrt()).unsqueeze(1)


def unit_range(images_BHW: Tensor, size: int) -> Tensor:
    """Resize and scale to 0..1, as (B, 1, S, S)."""
    return resize(images_BHW, size) / 255


def signed_range(images_BHW: Tensor, size: int) -> Tensor:
    """Resize and scale to -1..1, as (B, 1, S, S)."""
    return resize(images_BHW, size) / 127.5 - 1


def equalise(images_BHW: Tensor) -> Tensor:
    """Equalise histograms: each grey level becomes the share of pixels up to it, as -1..1."""
    levels_BN = images_BHW.flatten(1).round().clamp(0, 255).long()
    counts = torch.zeros(len(levels_BN), 256, device=levels_BN.device)
    counts.scatter_add_(1, levels_BN, torch.ones_like(levels_BN, dtype=counts.dtype))
    shares = counts.cumsum(1) / levels_BN.shape[1]
    return (shares.gather(1, levels_BN) * 2 - 1).view(images_BHW.shape)


def without_plane(images_BHW: Tensor) -> Tensor:
    """Subtract the least-squares plane (light from one side), then divide by the root mean square."""
    height, width = images_BHW.shape[1:]
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, height, device=images_BHW.device),
        torch.linspace(-1, 1, width, device=images_BHW.device),
        indexing="ij",
    )
    plane_N3 = torch.stack([torch.ones_like(rows), rows, columns], dim=-1).view(-1, 3)
    # The three columns are orthogonal on a centred grid, so the fit is a projection onto each.
    plane_N3 = plane_N3 / plane_N3.norm(dim=0)
    flat_BN = images_BHW.flatten(1)
    rest_BN = flat_BN - (flat_BN @ plane_N3) @ plane_N3.T
    size_B1 = rest_BN.square().mean(1, keepdim=True).sqrt()
    return torch.where(size_B1 > 1e-6, rest_BN / size_B1, rest_BN).view(images_BHW.shape)
