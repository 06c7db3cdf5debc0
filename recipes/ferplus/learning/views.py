"""Predict images from one view or the mean of several.

Shapes: N B images, H W pixels, K classes, V views.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

CROP = 11 / 12  # of the side: 44 of 48 pixels


def single(images_BHW: Tensor) -> list[Tensor]:
    """Return the image itself."""
    return [images_BHW]


def flip_averaged(images_BHW: Tensor) -> list[Tensor]:
    """Return the image and its mirror image."""
    return [images_BHW, images_BHW.flip(-1)]


def ten_crop(images_BHW: Tensor) -> list[Tensor]:
    """Return corners and centre, 44 of 48 pixels, and their mirror images (Krizhevsky et al. 2012)."""
    height, width = images_BHW.shape[1:]
    tall, wide = round(height * CROP), round(width * CROP)
    bottom, right = height - tall, width - wide
    corners = ((0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2))
    crops = [images_BHW[:, top : top + tall, left : left + wide] for top, left in corners]
    return [*crops, *(crop.flip(-1) for crop in crops)]


VIEWS: dict[str, Callable[[Tensor], list[Tensor]]] = {
    "single": single,
    "flip_averaged": flip_averaged,
    "ten_crop": ten_crop,
}


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, view: str = "single", batch: int = 256) -> Tensor:
    """Return logits (N, K) on the images' device, the mean over the views."""
    model.eval()
    parts = []
    for chunk in images.split(batch):
        logits_VBK = torch.stack([model(shown).logits.float() for shown in VIEWS[view](chunk)])
        parts.append(logits_VBK.mean(0))
    return torch.cat(parts)
