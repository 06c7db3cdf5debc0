"""The facial networks of the literature, as published, each with its own input and normalisation.

Parameter counts equal the published ones (tested). Shapes: B crops, C channels, H W pixels, S side of the
network's input, D embedding, K classes.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from multimodal_fer.labels import FER2013, FER_PLUS
from multimodal_fer.models.face import FaceConfig, FaceNetwork, ResidualBlock
from multimodal_fer.models.normalisation import (
    equalise,
    resize,
    signed_range,
    unit_range,
    without_plane,
)
from multimodal_fer.models.output import Output
from multimodal_fer.models.pointwise import Pointwise

KERAS_EPSILON = 1e-3  # batch normalisation in Keras
KERAS_MOMENTUM = 0.01  # torch's way of saying Keras's 0.99


class Classifier(FaceNetwork):
    """A network whose embedding goes through dropout and one linear layer."""

    def __init__(self, config: FaceConfig, features: int):
        super().__init__(config)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(features, len(config.labels))

    def classify(self, embedding_BD: Tensor) -> Output:
        return Output(self.head(self.dropout(embedding_BD)), embedding_BD)


def start_as_keras(network: nn.Module) -> None:
    """Kernels drawn as Glorot and Bengio 2010 do and biases of zero, as in Keras and CNTK.

    torch's own start is weaker by √3: without normalisation, the signal of six layers is then so small
    that the article's network says the commonest emotion for a whole epoch.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------ the "article" CNN


@dataclass(frozen=True)
class ArticleConfig(FaceConfig):
    """Widths, dropout and dense sizes are ours: the article gives none of them."""

    labels: tuple[str, ...] = FER2013
    widths: tuple[int, ...] = (32, 64, 128, 128)
    hidden: int = 256


class ArticleCNN(Classifier):
    """The tutorial network for FER2013: four convolutions with pooling and dropout, two dense layers."""

    def __init__(self, config: ArticleConfig):
        super().__init__(config, config.hidden)
        layers: list[nn.Module] = []
        channels = 1
        for width in config.widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2), nn.Dropout(0.25)]
            channels = width
        self.stages = nn.Sequential(*layers)
        side = config.input_size // 2 ** len(config.widths)
        self.dense = nn.Sequential(
            nn.Linear(channels * side * side, config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
        )
        start_as_keras(self)

    def forward(self, images_BHW: Tensor) -> Output:
        map_BCHW = self.stages(unit_range(images_BHW, self.config.input_size))
        return self.classify(self.dense(map_BCHW.flatten(1)))


# ------------------------------------------------------------------------------ Arriaga et al. 2017


def keras_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=KERAS_EPSILON, momentum=KERAS_MOMENTUM)


@dataclass(frozen=True)
class ArriagaConfig(FaceConfig):
    """Arriaga et al. train on FER2013; grey 48x48 input in -1..1."""

    labels: tuple[str, ...] = FER2013


class ArriagaSequential(FaceNetwork):
    """The sequential fully-convolutional network of Arriaga et al. 2017 (section III): 642,935 parameters.

    As in the released code: ten convolutions, one ReLU a pair and none after the 256 channels; the
    classes are the mean of their maps.
    """

    def __init__(self, config: ArriagaConfig):
        super().__init__(config)
        layers: list[nn.Module] = []
        channels = 1
        for width, kernel in ((16, 7), (32, 5), (64, 3), (128, 3)):
            for inputs in (channels, width):
                layers += [nn.Conv2d(inputs, width, kernel, padding="same"), keras_norm(width)]
            layers += [nn.ReLU(), nn.AvgPool2d(2), nn.Dropout(config.dropout)]
            channels = width
        layers += [nn.Conv2d(channels, 256, 3, padding=1), keras_norm(256)]
        self.stages = nn.Sequential(*layers)
        self.head = nn.Conv2d(256, len(config.labels), 3, padding=1)

    def forward(self, images_BHW: Tensor) -> Output:
        map_BCHW = self.stages(signed_range(images_BHW, self.config.input_size))
        return Output(self.head(map_BCHW).mean((2, 3)), map_BCHW.mean((2, 3)))


@dataclass(frozen=True)
class MiniXceptionConfig(ArriagaConfig):
    """The released weights expect 64x64."""

    input_size: int = 64
    widths: tuple[int, ...] = (16, 32, 64, 128)


class XceptionModule(nn.Module):
    """Two separable convolutions and a pooling beside a strided 1x1 convolution (Chollet 2017)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.shortcut = nn.Sequential(Pointwise(inputs, outputs, stride=2), keras_norm(outputs))
        self.body = nn.Sequential(
            *separable(inputs, outputs),
            keras_norm(outputs),
            nn.ReLU(),
            *separable(outputs, outputs),
            keras_norm(outputs),
        )

    def forward(self, map_BCHW: Tensor) -> Tensor:
        return pool_same(self.body(map_BCHW)) + self.shortcut(map_BCHW)


def separable(inputs: int, outputs: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    return (
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
    )


def pool_same(map_BCHW: Tensor) -> Tensor:
    """Max pooling 3x3, stride 2, with Keras's padding: an even side gets its extra row at the end."""
    padding = [side for size in reversed(map_BCHW.shape[2:]) for side in (size % 2, 1)]
    return functional.max_pool2d(functional.pad(map_BCHW, padding, value=-math.inf), 3, 2)


class MiniXception(FaceNetwork):
    """mini-Xception of Arriaga et al. 2017 (figure 3): 58,423 numbers, statistics included."""

    def __init__(self, config: MiniXceptionConfig):
        super().__init__(config)
        base: list[nn.Module] = []
        for inputs in (1, 8):
            base += [nn.Conv2d(inputs, 8, 3, bias=False), keras_norm(8), nn.ReLU()]
        pairs = zip((8, *config.widths), config.widths, strict=False)
        self.stages = nn.Sequential(*base, *(XceptionModule(*pair) for pair in pairs))
        self.head = nn.Conv2d(config.widths[-1], len(config.labels), 3, padding=1)

    def forward(self, images_BHW: Tensor) -> Output:
        map_BCHW = self.stages(signed_range(images_BHW, self.config.input_size))
        return Output(self.head(map_BCHW).mean((2, 3)), map_BCHW.mean((2, 3)))


# ------------------------------------------------------------------------------ Barsoum et al. 2016


@dataclass(frozen=True)
class VGG13Config(FaceConfig):
    """FER+ labels on 64x64 pictures."""

    labels: tuple[str, ...] = FER_PLUS
    input_size: int = 64


class VGG13(Classifier):
    """The network of Barsoum et al. 2016 (section 3), without batch normalisation: 8,757,704 parameters.

    Pictures are equalised and freed of their light's plane, as the released code does.
    """

    def __init__(self, config: VGG13Config):
        super().__init__(config, 1024)
        layers: list[nn.Module] = []
        channels = 1
        for width, depth in ((64, 2), (128, 2), (256, 3), (256, 3)):
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers += [nn.MaxPool2d(2), nn.Dropout(0.25)]
        self.stages = nn.Sequential(*layers)
        side = config.input_size // 16
        self.dense = nn.Sequential(
            nn.Linear(channels * side * side, 1024),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(1024, 1024),
            nn.ReLU(),
        )
        start_as_keras(self)

    def forward(self, images_BHW: Tensor) -> Output:
        images_BSS = resize(images_BHW, self.config.input_size).squeeze(1)
        map_BCHW = self.stages(without_plane(equalise(images_BSS)).unsqueeze(1))
        return self.classify(self.dense(map_BCHW.flatten(1)))


# ------------------------------------------------------------------------------ VGG19 and ResNet18


@dataclass(frozen=True)
class CroppedConfig(FaceConfig):
    """FER2013 pictures of 48x48, of which the network sees 44x44."""

    labels: tuple[str, ...] = FER2013
    crop: int = 44


class CroppedClassifier(Classifier):
    """Sees a crop of 44 pixels, grey in three channels and in 0..1 (WuJie1010's FER2013 systems).

    Larger pictures are resized to 48 and lose their rim; pictures of 44 are taken as they are.
    """

    config: CroppedConfig

    def see(self, images_BHW: Tensor) -> Tensor:
        size, crop = self.config.input_size, self.config.crop
        if images_BHW.shape[-1] == crop:
            images_B1SS = images_BHW.float().unsqueeze(1)
        else:
            start = (size - crop) // 2
            inside = slice(start, start + crop)
            images_B1SS = resize(images_BHW, size)[:, :, inside, inside]
        return (images_B1SS / 255).expand(-1, 3, -1, -1)

    def forward(self, images_BHW: Tensor) -> Output:
        return self.classify(self.pool(self.stages(self.see(images_BHW))).flatten(1))

    def pool(self, map_BCHW: Tensor) -> Tensor:
        raise NotImplementedError


class VGG19(CroppedClassifier):
    """VGG19 with batch normalisation on 44x44 pictures: 20,038,983 parameters."""

    def __init__(self, config: CroppedConfig):
        super().__init__(config, 512)
        layers: list[nn.Module] = []
        channels = 3
        for width, depth in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)]
                layers += [nn.ReLU()]
                channels = width
            layers += [nn.MaxPool2d(2)]
        self.stages = nn.Sequential(*layers)

    def pool(self, map_BCHW: Tensor) -> Tensor:
        return map_BCHW  # 44 pixels, halved five times, are one


class ResNet18(CroppedClassifier):
    """ResNet18 with the stem for small pictures: 11,172,423 parameters."""

    def __init__(self, config: CroppedConfig):
        super().__init__(config, 512)
        layers: list[nn.Module] = [
            nn.Conv2d(3, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        ]
        channels = 64
        for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            layers += [
                ResidualBlock(channels, width, stride, excite=False),
                ResidualBlock(width, width, 1, excite=False),
            ]
            channels = width
        self.stages = nn.Sequential(*layers)

    def pool(self, map_BCHW: Tensor) -> Tensor:
        return functional.avg_pool2d(map_BCHW, 4)  # as published: of the 6x6 map, the first 4x4


# ------------------------------------------------------------------------------ DeepFace


@dataclass(frozen=True)
class DeepFaceConfig(FaceConfig):
    """DeepFace's emotion network answers in the order of the FER2013 table."""

    labels: tuple[str, ...] = FER2013
    dropout: float = 0.2


class DeepFaceNet(Classifier):
    """The emotion network of the DeepFace package: 1,485,831 parameters, grey 48x48 in 0..1."""

    def __init__(self, config: DeepFaceConfig):
        super().__init__(config, 1024)
        self.stages = nn.Sequential(
            nn.Conv2d(1, 64, 5),
            nn.ReLU(),
            nn.MaxPool2d(5, 2),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
            nn.AvgPool2d(3, 2),
            nn.Conv2d(64, 128, 3),
            nn.ReLU(),
            nn.Conv2d(128, 128, 3),
            nn.ReLU(),
            nn.AvgPool2d(3, 2),
        )
        self.dense = nn.Sequential(
            nn.Linear(128, 1024),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(1024, 1024),
            nn.ReLU(),
        )

    def forward(self, images_BHW: Tensor) -> Output:
        map_BCHW = self.stages(unit_range(images_BHW, self.config.input_size))
        return self.classify(self.dense(map_BCHW.flatten(1)))
