"""Parts that the published facial networks share: a classifier's head, and Keras's conventions."""

from torch import Tensor, nn

from multimodal_fer.face.network import FaceConfig, FaceNetwork
from multimodal_fer.layers.output import Output

KERAS_EPSILON = 1e-3  # of batch normalisation
KERAS_MOMENTUM = 0.01  # 0.99 in Keras, which counts the other way


class Classifier(FaceNetwork):
    """A network that classifies its embedding by dropout and one linear layer."""

    def __init__(self, config: FaceConfig, features: int):
        super().__init__(config)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(features, len(config.labels))

    def classify(self, embedding_BD: Tensor) -> Output:
        return Output(self.head(self.dropout(embedding_BD)), embedding_BD)


def dense_layers(inputs: int, units: int, dropout: float) -> nn.Sequential:
    """Return two dense layers with ReLU and dropout between them."""
    return nn.Sequential(
        nn.Linear(inputs, units),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(units, units),
        nn.ReLU(),
    )


def start_as_keras(network: nn.Module) -> None:
    """Initialise kernels as Glorot and Bengio 2010 and biases to zero, as in Keras and CNTK.

    torch's own initialisation is smaller by √3. Without normalisation, the signal after six layers is then
    so small that the "article" CNN predicts the commonest emotion for a whole epoch.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
