"""Explain a facial network: maps of the parts of a face that support an emotion.

Both methods are captum's. Grad-CAM (Selvaraju et al. 2017, section 3) weights the maps of a late
convolution by their effect on one emotion: it shows coarsely where the evidence lies. Guided
back-propagation (Springenberg et al. 2015; for facial expressions Arriaga et al. 2017, section III)
follows positive gradients to the pixels: it shows the lines that the network extracts. It hardly depends on
the late layers, which separate the emotions (Adebayo et al. 2018, model parameter randomisation test): with
the last stage and the classifier of the default network randomised, its maps keep a correlation of 0.94.
Therefore use Grad-CAM for evidence, and guided back-propagation for detail.

Shapes: B crops, C channels, S side of the network's input, H W pixels of a crop, K emotions.
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

# The deepest map of at least so many pixels a side is explained, a compromise: covering the ninth of the
# crop with the highest Grad-CAM values lowers the probability of the default network by 0.09, 0.13, 0.11 and
# 0.10 for its maps of 24, 12, 6 and 3 pixels; covering a quarter lowers it by 0.17, 0.23, 0.26 and 0.28 (the
# first 400 images of PublicTest with a majority label). Maps of 3 pixels localise poorly.
MIN_MAP = 5
STRONG = 0.99  # quantile of the guided gradients that is scaled to black or white

Maps = NDArray[numpy.float32]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Scores of each crop, and two maps in 0..1 that explain one emotion."""

    emotions: tuple[str, ...]  # the explained emotion of each crop
    scores: tuple[Scores, ...]  # calibrated probabilities of each crop
    grad_cam: Maps  # (B, H, W): 1 is the strongest evidence; all 0 if there is none
    guided: Maps  # (B, H, W): 0.5 is no influence; above it, a brighter pixel raises the score


def explain_face(
    model: FaceNetwork, crops_BHW: Tensor | NDArray[Any], emotion: str | None = None
) -> Explanation:
    """Map the parts of face crops that support an emotion.

    Parameters
    ----------
    model
        a network in eval mode, as `hub.load_model` returns it
    crops_BHW
        grey square crops, uint8 or float in 0..255 [shape=(B, H, H)]
    emotion
        one of the network's labels; None explains the strongest of each crop

    Raises
    ------
    MultimodalFerError
        the network does not know the emotion, or captum is not installed
    ValueError
        the network is in training mode, or the crops are not square
    """
    if model.training:
        raise ValueError("the model must be in eval mode: dropout would change every result")
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
        input_BCSS = core.input_BCSS.requires_grad_()
        evidence_B1hw = layer_grad_cam(core, core.part).attribute(
            input_BCSS, targets_B, relu_attributions=True
        )
        gradient_BCSS = guided_backprop(core).attribute(input_BCSS, targets_B)
        grad_cam_BHW = core.place(evidence_B1hw.detach())
        guided_BHW = core.place(gradient_BCSS.detach().sum(1, keepdim=True))
    scores_BK = (core.logits_BK / model.config.temperature).softmax(1).tolist()
    return Explanation(
        emotions=tuple(labels[target] for target in targets_B.tolist()),
        scores=tuple(dict(zip(labels, row, strict=True)) for row in scores_BK),
        grad_cam=_share_of_largest(grad_cam_BHW).cpu().numpy(),
        guided=_around_grey(guided_BHW).cpu().numpy(),
    )


def import_captum() -> tuple[Any, Any]:
    """Return guided back-propagation and Grad-CAM; raise `MultimodalFerError` without captum."""
    try:
        from captum.attr import GuidedBackprop, LayerGradCam
    except ImportError as error:
        raise MultimodalFerError(
            f"explanations need captum ({error}); pip install 'multimodal_fer[explain]'"
        ) from None
    return GuidedBackprop, LayerGradCam


class _Core(nn.Module):
    """A network from the input of its first convolution to its logits, as captum needs it.

    The normalisation before is left out, because histogram equalisation has no gradient. Hand-made
    features beside the convolutions are held constant, so the maps explain the convolutions alone.
    """

    def __init__(self, model: FaceNetwork, crops_BHW: Tensor) -> None:
        super().__init__()
        self.model = model
        self.crops_BHW = crops_BHW
        inputs: dict[nn.Module, Tensor] = {}  # in the order in which the network runs
        sides: dict[nn.Module, int] = {}

        def note_input(module: nn.Module, given: tuple[Tensor]) -> None:
            inputs.setdefault(module, given[0])

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
        self.first, self.input_BCSS = next(iter(inputs.items()))
        large = [part for part, side in sides.items() if side >= MIN_MAP]
        self.part = large[-1] if large else next(iter(sides))

    def forward(self, input_BCSS: Tensor) -> Tensor:
        with self.first.register_forward_pre_hook(lambda module, given: (input_BCSS,)):
            return self.model(self.crops_BHW).logits

    def place(self, map_B1hw: Tensor) -> Tensor:
        """Resize a map of the network's input to the crop, (B, H, H); a rim that is cut off gets zeros."""
        side, used = self.crops_BHW.shape[-1], self.input_BCSS.shape[-1]
        rim = 0
        if used != side and used < self.model.config.input_size:
            rim = round(side * (1 - used / self.model.config.input_size) / 2)
        inside = (side - 2 * rim, side - 2 * rim)
        map_B1hw = functional.interpolate(map_B1hw, inside, mode="bilinear", align_corners=False)
        return functional.pad(map_B1hw, [rim] * 4).squeeze(1)


def _share_of_largest(map_BHW: Tensor) -> Tensor:
    """Divide each map by its largest value; a map of zeros is kept."""
    largest_B11 = map_BHW.amax((1, 2), keepdim=True)
    return map_BHW / torch.where(largest_B11 > 0, largest_B11, 1)


def _around_grey(gradient_BHW: Tensor) -> Tensor:
    """Map zero to 0.5; a few extreme pixels are clipped, or all others would look grey."""
    strong_B = gradient_BHW.abs().flatten(1).quantile(STRONG, dim=1)
    strong_B11 = torch.where(strong_B > 0, strong_B, 1)[:, None, None]
    return (0.5 + gradient_BHW / strong_B11 / 2).clamp(0, 1)
