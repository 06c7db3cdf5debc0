"""The "article" CNN.

Shapes: B crops, C channels, H W pixels, D embedding, K classes.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from multimodal_fer.face.network import FaceConfig
from multimodal_fer.face.normalisation import unit_range
from multimodal_fer.face.zoo.classifier import Classifier, start_as_keras
from multimodal_fer.labels import FER2013
from multimodal_fer.layers.output import Output

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
