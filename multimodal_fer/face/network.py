"""Base class of facial networks, and the network of the default bundle.

Shapes: B crops, C channels, H W pixels, S side of the network's input, D embedding, K classes.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from multimodal_fer.face.normalisation import standardise
from multimodal_fer.labels import FER_PLUS
from multimodal_fer.layers.output import Output
from multimodal_fer.layers.pointwise import Pointwise


@dataclass(frozen=True)
class FaceConfig:
    """Settings that inference shares with training; stored as `config.json`."""

    labels: tuple[str, ...] = FER_PLUS  # names of the logits, in order
    input_size: int = 48  # crops are input_size x input_size pixels
    dropout: float = 0.5  # before the classifier
    temperature: float = 1.0  # divides the logits; fitted on validation data


class FaceNetwork(nn.Module):
    """A network that returns logits and an embedding for each face crop.

    `forward` takes grey crops (B, H, W), uint8 or float in 0..255, and treats each independently. It
    resizes and normalises its input itself, so that training and inference cannot differ. `stages` is the
    convolutional part, whose maps are used for explanations. `head` is the last layer.
    """

    stages: nn.Module
    head: nn.Linear | nn.Conv2d

    def __init__(self, config: FaceConfig):
        super().__init__()
        self.config = config

    def forward(self, images_BHW: Tensor) -> Output:
        raise NotImplementedError


@dataclass(frozen=True)
class SEResNetConfig(FaceConfig):
    """Settings of the compact network."""

    widths: tuple[int, ...] = (40, 80, 160, 224)  # channels per stage; each stage halves the map
    blocks: tuple[int, ...] = (1, 2, 2, 2)  # residual blocks per stage
    dropout: float = 0.3


class SqueezeExcite(nn.Module):
    """Channel gates from the globally pooled map, squeeze-and-excitation (Hu et al. 2018)."""

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

    def __init__(self, inputs: int, outputs: int, stride: int, excite: bool = True):
        super().__init__()
        body: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.body = nn.Sequential(*body, *([SqueezeExcite(outputs)] if excite else []))
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                Pointwise(inputs, outputs, stride), nn.BatchNorm2d(outputs)
            )
        self.activation = nn.ReLU()  # a module, so that guided back-propagation can hook it

    def forward(self, map_BCHW: Tensor) -> Tensor:
        return self.activation(self.body(map_BCHW) + self.shortcut(map_BCHW))


class SEResNet(FaceNetwork):
    """The compact facial CNN: a narrow SE-ResNet for 48x48 grey crops, 2.8 M parameters.

    It pools its last map and so accepts crops of other sizes, which training uses.
    """

    config: SEResNetConfig

    def __init__(self, config: SEResNetConfig):
        super().__init__(config)
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
        map_BCHW = self.stages(self.stem(standardise(images_BHW)))
        embedding_BD = map_BCHW.mean((2, 3))
        return Output(self.head(self.dropout(embedding_BD)), embedding_BD)
