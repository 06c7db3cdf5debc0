"""Explain a facial network: which parts of a face spoke for an emotion, as maps.

Two views, by captum. Grad-CAM (Selvaraju et al. 2017, section 3) weighs the maps of a late convolution by
what they did for one emotion: where the evidence lies, coarsely. Guided back-propagation (Springenberg et
al. 2015; for facial expressions Arriaga et al. 2017, section III) follows positive gradients down to the
pixels: which lines the network can see, finely. It hardly depends on the late layers, where the emotions
part (Adebayo et al. 2018, model parameter randomisation test; with the default network's last stage and
classifier drawn at random it stays the same to a correlation of 0.94). So take Grad-CAM for evidence and
the other for detail.

Shapes: B crops, C channels, S side of what the network sees, H W pixels of a crop, K emotions.
"""

import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from multimodal_fer.errors import MultimodalFerError
from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.types import Scores

# The deepest map of at least so many pixels a side is explained: a compromise. Covering the ninth of the crop
# that Grad-CAM points at most costs the default network 0.09, 0.13, 0.11 and 0.10 of its probability by its
# maps of 24, 12, 6 and 3 pixels; covering the quarter costs 0.17, 0.23, 0.26 and 0.28. A map of 3 pixels says
# little of where, one of 24 little of what (the first 400 images of PublicTest with a majority label).
MIN_MAP = 5
STRONG = 0.99  # the share of pixels whose guided gradient fits into the grey scale

Maps = NDArray[numpy.float32]


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a network says of each crop, and two maps in 0..1 of what spoke for one emotion."""

    emotions: tuple[str, ...]  # the explained one of each crop
    scores: tuple[Scores, ...]  # calibrated probabilities of each crop
    grad_cam: Maps  # (B, H, W): 1 is the strongest evidence; all 0 where nothing spoke for it
    guided: Maps  # (B, H, W): 0.5 is no influence; above it a brighter pixel raises the score


def explain_face(
    model: FaceNetwork, crops_BHW: Tensor | NDArray[Any], emotion: str | None = None
) -> Explanation:
    """Say which parts of face crops spoke for an emotion.

    Parameters
    ----------
    model
        a network in eval mode, as `hub.load_model` returns it
    crops_BHW
        grey square crops, uint8 or float in 0..255 [shape=(B, H, H)]
    emotion
        one of the network's labels; None explains the strongest of each crop

    Raises `MultimodalFerError` for an emotion that the network does not know, and without captum.
    """
    if model.training:
        raise ValueError("the model must be in eval mode: dropout would make every answer another")
    if len(crops_BHW.shape) != 3 or crops_BHW.shape[1] != crops_BHW.shape[2]:
        raise ValueError(f"crops must be square, (B, H, H); got {tuple(crops_BHW.shape)}")
    guided_backprop, layer_grad_cam = import_captum()
    labels = model.config.labels
    if emotion is not None and emotion not in labels:
        raise MultimodalFerError(f"unknown emotion {emotion!r}; known: {', '.join(labels)}")
    device = next(model.parameters()).device
    with torch.inference_mode(False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks", UserWarning)
        crops_BHW = torch.as_tensor(crops_BHW).to(device, torch.float32, copy=True)
        core = _Core(model, crops_BHW)
        targets_B = core.logits_BK.argmax(1)
        if emotion is not None:
            targets_B = torch.full_like(targets_B, labels.index(emotion))
        seen_BCSS = core.seen_BCSS.requires_grad_()
        evidence_B1hw = layer_grad_cam(core, core.part).attribute(
            seen_BCSS, targets_B, relu_attributions=True
        )
        gradient_BCSS = guided_backprop(core).attribute(seen_BCSS, targets_B)
        grad_cam_BHW = core.place(evidence_B1hw.detach())
        guided_BHW = core.place(gradient_BCSS.detach().sum(1, keepdim=True))
    shares_BK = (core.logits_BK / model.config.temperature).softmax(1).tolist()
    return Explanation(
        emotions=tuple(labels[target] for target in targets_B.tolist()),
        scores=tuple(dict(zip(labels, row, strict=True)) for row in shares_BK),
        grad_cam=_share_of_largest(grad_cam_BHW).cpu().numpy(),
        guided=_around_grey(guided_BHW).cpu().numpy(),
    )


def import_captum() -> tuple[Any, Any]:
    """The two methods, or a sentence on how to get them."""
    try:
        from captum.attr import GuidedBackprop, LayerGradCam
    except ImportError as error:
        raise MultimodalFerError(
            f"explanations need captum ({error}); pip install 'multimodal_fer[explain]'"
        ) from None
    return GuidedBackprop, LayerGradCam


class _Core(nn.Module):
    """A network without its normalisation: what its first convolution sees in, logits out.

    captum asks for a module that returns logits. It must not start at the pixels, because not every
    normalisation has a gradient: histogram equalisation counts. What a network reads beside its
    convolutions (hand-made features) is held, so the maps speak for the convolutions alone.
    """

    def __init__(self, model: FaceNetwork, crops_BHW: Tensor) -> None:
        super().__init__()
        self.model = model
        self.crops_BHW = crops_BHW
        seen: dict[nn.Module, Tensor] = {}  # in the order in which the network runs
        sides: dict[nn.Module, int] = {}

        def note_input(module: nn.Module, given: tuple[Tensor]) -> None:
            seen.setdefault(module, given[0])

        def note_side(module: nn.Module, given: tuple[Tensor], map_BCHW: Tensor) -> None:
            sides[module] = min(map_BCHW.shape[2:])

        stages = model.stages
        with ExitStack() as hooks, torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.Conv2d):
                    hooks.enter_context(module.register_forward_pre_hook(note_input))
            for part in stages if isinstance(stages, nn.Sequential) else [stages]:
                hooks.enter_context(part.register_forward_hook(note_side))
            self.logits_BK = model(crops_BHW).logits
        self.first, self.seen_BCSS = next(iter(seen.items()))
        large = [part for part, side in sides.items() if side >= MIN_MAP]
        self.part = large[-1] if large else next(iter(sides))

    def forward(self, seen_BCSS: Tensor) -> Tensor:
        with self.first.register_forward_pre_hook(lambda module, given: (seen_BCSS,)):
            return self.model(self.crops_BHW).logits

    def place(self, map_B1hw: Tensor) -> Tensor:
        """A map of what the network sees, as (B, H, H) over the crop; zero on a rim it cuts off."""
        side, seen = self.crops_BHW.shape[-1], self.seen_BCSS.shape[-1]
        rim = 0
        if seen not in (side, self.model.config.input_size):
            rim = round(side * (1 - seen / self.model.config.input_size) / 2)
        inside = (side - 2 * rim, side - 2 * rim)
        map_B1hw = functional.interpolate(map_B1hw, inside, mode="bilinear", align_corners=False)
        return functional.pad(map_B1hw, [rim] * 4).squeeze(1)


def _share_of_largest(map_BHW: Tensor) -> Tensor:
    """Divided by each map's largest value; a map of zeros stays one."""
    largest_B11 = map_BHW.amax((1, 2), keepdim=True)
    return map_BHW / torch.where(largest_B11 > 0, largest_B11, 1)


def _around_grey(gradient_BHW: Tensor) -> Tensor:
    """Zero becomes 0.5; a few extreme pixels are cut off, or they would leave all others grey."""
    strong_B = gradient_BHW.abs().flatten(1).quantile(STRONG, dim=1)
    strong_B11 = torch.where(strong_B > 0, strong_B, 1)[:, None, None]
    return (0.5 + gradient_BHW / strong_B11 / 2).clamp(0, 1)
