"""Images with hand-made features: the landmark and HOG hybrids of amineHorseman's FER2013 system.

Implemented from their published description. Shapes: B crops, H W pixels, F features, K classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from multimodal_fer.face.network import FaceConfig
from multimodal_fer.face.normalisation import resize
from multimodal_fer.face.zoo.classifier import Classifier
from multimodal_fer.face.zoo.landmarks import POINTS, find_landmarks
from multimodal_fer.labels import FER2013
from multimodal_fer.layers.output import Output

ORIENTATIONS = 8
WINDOW, STEP, RIM = 24, 6, 3  # pixels; with the rim there are six windows a side, as published
EPSILON = 1e-5
CLIP = 0.2


def histograms_of_gradients(images_BHW: Tensor, cell: int) -> Tensor:
    """Compute HOG with blocks of one cell, (B, cells * 8), as scikit-image (Dalal and Triggs 2005).

    Directions over half a turn are weighted by their strength; each cell is normalised by L2-Hys.
    """
    down_BHW, across_BHW = torch.zeros_like(images_BHW), torch.zeros_like(images_BHW)
    down_BHW[:, 1:-1] = images_BHW[:, 2:] - images_BHW[:, :-2]
    across_BHW[:, :, 1:-1] = images_BHW[:, :, 2:] - images_BHW[:, :, :-2]
    strength_BHW = torch.hypot(down_BHW, across_BHW)
    degrees_BHW = torch.rad2deg(torch.atan2(down_BHW, across_BHW)) % 180
    bins_BHW = (degrees_BHW * (ORIENTATIONS / 180)).long().clamp(max=ORIENTATIONS - 1)
    votes_BOHW = functional.one_hot(bins_BHW, ORIENTATIONS).movedim(-1, 1) * strength_BHW[:, None]
    cells_BOyx = functional.avg_pool2d(votes_BOHW, cell)
    for limit in (CLIP, None):
        cells_BOyx = cells_BOyx / (cells_BOyx.square().sum(1, keepdim=True) + EPSILON**2).sqrt()
        cells_BOyx = cells_BOyx if limit is None else cells_BOyx.clamp(max=limit)
    return cells_BOyx.movedim(1, -1).flatten(1)


def sliding_histograms(images_BHW: Tensor) -> Tensor:
    """Compute HOG of 36 windows of 24 pixels with cells of 8: (B, 2592) for images of 48."""
    padded = functional.pad(images_BHW[:, None], (RIM,) * 4, mode="reflect")
    windows_BFN = functional.unfold(padded, WINDOW, stride=STEP)
    windows_MHW = windows_BFN.movedim(1, -1).reshape(-1, WINDOW, WINDOW)
    return histograms_of_gradients(windows_MHW, cell=8).view(len(images_BHW), -1)


FEATURES = {
    "none": (0, None),
    "hog": (72, lambda images_BHW: histograms_of_gradients(images_BHW, cell=16)),
    "sliding-hog": (2592, sliding_histograms),
}


@dataclass(frozen=True)
class HybridConfig(FaceConfig):
    """The choice of one of the two networks, and its features beside the image."""

    labels: tuple[str, ...] = FER2013
    dropout: float = 0.044
    variant: str = "b"  # a or b
    features: str = "sliding-hog"  # none, hog (72) or sliding-hog (2,592)
    landmarks: bool = False  # 68 points by dlib, extra `landmarks`

    def __post_init__(self) -> None:
        if self.variant not in LAYERS or self.features not in FEATURES:
            raise ValueError(f"variant is one of {[*LAYERS]}, features one of {[*FEATURES]}")


# (channels, kernel, pooled) of the convolutions; dense sizes; width of each branch
LAYERS = {
    "a": (((64, 5, True), (64, 5, True), (128, 4, False)), (1024,), 40),
    "b": (((64, 3, True), (128, 3, True), (256, 3, True)), (4096, 1024), 128),
}


class Hybrid(Classifier):
    """Model A or B on grey levels, with a dense branch for HOG, landmarks or both."""

    config: HybridConfig

    def __init__(self, config: HybridConfig):
        convolutions, dense_sizes, branch = LAYERS[config.variant]
        count = FEATURES[config.features][0] + 2 * POINTS * config.landmarks
        super().__init__(config, 2 * branch if count else dense_sizes[-1])
        layers: list[nn.Module] = []
        channels = 1
        for width, kernel, pooled in convolutions:
            layers += [nn.Conv2d(channels, width, kernel, padding="same"), nn.ReLU()]
            layers += [nn.BatchNorm2d(width), *([nn.MaxPool2d(3, 2, 1)] if pooled else [])]
            channels = width
        self.stages = nn.Sequential(*layers)
        side = config.input_size // 2 ** sum(pooled for *_, pooled in convolutions)
        dense: list[nn.Module] = [nn.Dropout(config.dropout)]
        size = channels * side * side
        for width in (*dense_sizes, *([branch] if count else [])):
            dense += [nn.Linear(size, width), nn.ReLU()]
            size = width
        self.dense = nn.Sequential(*dense)
        self.beside = None
        if count:
            self.beside = nn.Sequential(
                nn.Linear(count, 1024), nn.ReLU(), nn.Linear(1024, branch), nn.ReLU()
            )

    def forward(self, images_BHW: Tensor) -> Output:
        image_B1SS = resize(images_BHW, self.config.input_size)
        parts = [self.dense(self.stages(image_B1SS).flatten(1))]
        if self.beside is not None:
            parts.append(self.beside(self.features(image_B1SS.squeeze(1))))
        return self.classify(torch.cat(parts, dim=1))

    def features(self, images_BSS: Tensor) -> Tensor:
        compute = FEATURES[self.config.features][1]
        parts = [] if compute is None else [compute(images_BSS)]
        if self.config.landmarks:
            parts.append(find_landmarks(images_BSS))
        return torch.cat(parts, dim=1)
