"""Facial networks: a batch of grey face crops in, logits and an embedding per crop out.

Shapes: B crops, C channels, H W pixels, D embedding, K classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from multimodal_fer.labels import FER_PLUS
from multimodal_fer.models.output import Output

EPSILON = 1e-5  # keeps the standardisation of a flat (single-colour) crop finite


@dataclass(frozen=True)
class FaceConfig:
    """Everything that inference has to agree on with training; stored as `config.json`."""

    labels: tuple[str, ...] = FER_PLUS  # names of the logits, in order
    input_size: int = 48  # crops are input_size x input_size pixels
    widths: tuple[int, ...] = (40, 80, 160, 224)  # channels per stage; each stage halves the map
    blocks: tuple[int, ...] = (1, 2, 2, 2)  # residual blocks per stage
    dropout: float = 0.3  # before the classifier
    temperature: float = 1.0  # divides the logits; fitted on validation data


def standardise(images_BHW: Tensor) -> Tensor:
    """Zero mean and unit variance for each image, as (B, 1, H, W) floats.

    Lighting and camera gain differ far more between recordings than within the training corpus;
    taking them out here, inside the network, means that recipe and analyzer cannot drift apart.
    """
    images_BHW = images_BHW.float()
    variance_B11, mean_B11 = torch.var_mean(images_BHW, dim=(1, 2), correction=0, keepdim=True)
    return ((images_BHW - mean_B11) / (variance_B11 + EPSILON).sqrt()).unsqueeze(1)


class SqueezeExcite(nn.Module):
    """Channel gates from the globally pooled map (Hu et al. 2018, squeeze-and-excitation)."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        hidden = max(channels // reduction, 8)
        self.gate = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1), nn.Sigmoid()
        )

    def forward(self, map_BCHW: Tensor) -> Tensor:
        return map_BCHW * self.gate(map_BCHW.mean((2, 3), keepdim=True))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with squeeze-and-excitation (He et al. 2016, basic block)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
            SqueezeExcite(outputs),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, map_BCHW: Tensor) -> Tensor:
        return functional.relu(self.body(map_BCHW) + self.shortcut(map_BCHW))


class SEResNet(nn.Module):
    """The compact facial CNN: a narrow SE-ResNet for 48x48 grey crops, 2.7 M parameters."""

    def __init__(self, config: FaceConfig):
        super().__init__()
        self.config = config
        channels = config.widths[0] // 2
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        stages: list[nn.Module] = []
        for width, depth in zip(config.widths, config.blocks, strict=True):
            for index in range(depth):
                stages.append(ResidualBlock(channels, width, stride=2 if index == 0 else 1))
                channels = width
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(channels, len(config.labels))

    def forward(self, images_BHW: Tensor) -> Output:
        """Classify grey crops, uint8 or float in 0..255; each crop is judged by itself."""
        map_BCHW = self.stages(self.stem(standardise(images_BHW)))
        embedding_BD = map_BCHW.mean((2, 3))
        return Output(self.head(self.dropout(embedding_BD)), embedding_BD)
