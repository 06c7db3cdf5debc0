"""VGG13 of Barsoum et al. 2016; VGG19 and ResNet18 of WuJie1010's FER2013 systems.

Shapes: B crops, C channels, H W pixels, S side of the network's input, D embedding, K classes.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from multimodal_fer.face.network import FaceConfig, ResidualBlock
from multimodal_fer.face.normalisation import equalise, resize, without_plane
from multimodal_fer.face.zoo.classifier import Classifier, dense_layers, start_as_keras
from multimodal_fer.labels import FER2013, FER_PLUS
from multimodal_fer.layers.output import Output


@dataclass(frozen=True)
class VGG13Config(FaceConfig):
    """Settings: FER+ labels on 64x64 images."""

    labels: tuple[str, ...] = FER_PLUS
    input_size: int = 64


class VGG13(Classifier):
    """The network of Barsoum et al. 2016 (section 3), without batch normalisation: 8,757,704 parameters.

    Histograms are equalised and the plane of light is removed, as in the released code.
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
        self.dense = dense_layers(channels * side * side, 1024, config.dropout)
        start_as_keras(self)

    def forward(self, images_BHW: Tensor) -> Output:
        images_BSS = resize(images_BHW, self.config.input_size).squeeze(1)
        map_BCHW = self.stages(without_plane(equalise(images_BSS)).unsqueeze(1))
        return self.classify(self.dense(map_BCHW.flatten(1)))


@dataclass(frozen=True)
class CroppedConfig(FaceConfig):
    """Settings: FER2013 images of 48x48, from which 44x44 are cropped."""

    labels: tuple[str, ...] = FER2013
    crop: int = 44


class CroppedClassifier(Classifier):
    """A network for the central 44x44 pixels, grey in three channels and in 0..1.

    Images are resized to 48x48 and lose their rim; images of 44x44 are used as they are.
    """

    config: CroppedConfig

    def prepare(self, images_BHW: Tensor) -> Tensor:
        size, crop = self.config.input_size, self.config.crop
        if images_BHW.shape[-1] == crop:
            images_B1SS = images_BHW.float().unsqueeze(1)
        else:
            start = (size - crop) // 2
            inside = slice(start, start + crop)
            images_B1SS = resize(images_BHW, size)[:, :, inside, inside]
        return (images_B1SS / 255).expand(-1, 3, -1, -1)

    def forward(self, images_BHW: Tensor) -> Output:
        return self.classify(self.pool(self.stages(self.prepare(images_BHW))).flatten(1))

    def pool(self, map_BCHW: Tensor) -> Tensor:
        raise NotImplementedError


class VGG19(CroppedClassifier):
    """VGG19 with batch normalisation: 20,038,983 parameters."""

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
        return map_BCHW  # 44 pixels, halved five times, leave one


class ResNet18(CroppedClassifier):
    """ResNet18 with a stem for small images: 11,172,423 parameters."""

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
        return functional.avg_pool2d(map_BCHW, 4)  # as published: the first 4x4 of the 6x6 map
