"""The "article" CNN of a tutorial on FER2013.

Shapes: B crops, C channels, H W pixels, D embedding, K classes.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from multimodal_fer.face.network import FaceConfig
from multimodal_fer.face.normalisation import unit_range
from multimodal_fer.face.zoo.classifier import Classifier, dense_layers, start_as_keras
from multimodal_fer.labels import FER2013
from multimodal_fer.layers.output import Output


@dataclass(frozen=True)
class ArticleConfig(FaceConfig):
    """Settings; widths, dropout and dense sizes are ours, since the article gives none."""

    labels: tuple[str, ...] = FER2013
    widths: tuple[int, ...] = (32, 64, 128, 128)
    hidden: int = 256


class ArticleCNN(Classifier):
    """Four convolutions with pooling and dropout, and two dense layers."""

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
        self.dense = dense_layers(channels * side * side, config.hidden, config.dropout)
        start_as_keras(self)

    def forward(self, images_BHW: Tensor) -> Output:
        map_BCHW = self.stages(unit_range(images_BHW, self.config.input_size))
        return self.classify(self.dense(map_BCHW.flatten(1)))
