"""The emotion network of the DeepFace package.

Shapes: B crops, C channels, H W pixels, D embedding, K classes.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from multimodal_fer.face.network import FaceConfig
from multimodal_fer.face.normalisation import unit_range
from multimodal_fer.face.zoo.classifier import Classifier, dense_layers
from multimodal_fer.labels import FER2013
from multimodal_fer.layers.output import Output


@dataclass(frozen=True)
class DeepFaceConfig(FaceConfig):
    """Settings; the labels are in the order of the FER2013 table."""

    labels: tuple[str, ...] = FER2013
    dropout: float = 0.2


class DeepFaceNet(Classifier):
    """The network for grey 48x48 images in 0..1: 1,485,831 parameters."""

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
        self.dense = dense_layers(128, 1024, config.dropout)

    def forward(self, images_BHW: Tensor) -> Output:
        map_BCHW = self.stages(unit_range(images_BHW, self.config.input_size))
        return self.classify(self.dense(map_BCHW.flatten(1)))
