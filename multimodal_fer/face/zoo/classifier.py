"""What the published facial networks share: a classifier's head, and Keras's ways."""

from torch import Tensor, nn

from multimodal_fer.face.network import FaceConfig, FaceNetwork
from multimodal_fer.layers.output import Output

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
