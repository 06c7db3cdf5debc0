"""The networks of Arriaga et al. 2017: the sequential CNN and mini-Xception.

Shapes: B crops, C channels, H W pixels, D embedding, K classes.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from multimodal_fer.face.network import FaceConfig, FaceNetwork
from multimodal_fer.face.normalisation import signed_range
from multimodal_fer.face.zoo.classifier import KERAS_EPSILON, KERAS_MOMENTUM
from multimodal_fer.labels import FER2013
from multimodal_fer.layers.output import Output
from multimodal_fer.layers.pointwise import Pointwise


def keras_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=KERAS_EPSILON, momentum=KERAS_MOMENTUM)


@dataclass(frozen=True)
class ArriagaConfig(FaceConfig):
    """Settings: FER2013 labels, grey 48x48 images in -1..1."""

    labels: tuple[str, ...] = FER2013


class ArriagaSequential(FaceNetwork):
    """The sequential fully-convolutional network of Arriaga et al. 2017 (section III): 642,935 parameters.

    As in the released code, ten convolutions have one ReLU for each pair and none after the 256 channels.
    The logits are the means of their maps.
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
    """Settings: 64x64 images, as the released weights expect."""

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
    """Pool the maximum of 3x3 with stride 2 and Keras's padding: an even side gets its extra row last."""
    padding = [side for size in reversed(map_BCHW.shape[2:]) for side in (size % 2, 1)]
    return functional.max_pool2d(functional.pad(map_BCHW, padding, value=-math.inf), 3, 2)


class MiniXception(FaceNetwork):
    """mini-Xception of Arriaga et al. 2017 (figure 3): 58,423 values, statistics included."""

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
