"""The common part of the pretrained encoders for voice and text, from the library `transformers`.

Padding does not change the output: in float32 the logits of a sample alone and in a batch differ by less
than 1e-4. A length below 1 raises `ValueError`; leave the encoder out if there is no voice or no text.

Shapes: B recordings or texts, S frames or tokens, L hidden layers including the input of the first,
D embedding.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from multimodal_fer.errors import WeightsError
from multimodal_fer.labels import OPEN7
from multimodal_fer.layers.backbones import MINILM, find_backbone, load_network, opening
from multimodal_fer.layers.hierarchical import HierarchicalHead
from multimodal_fer.layers.output import Output
from multimodal_fer.layers.sequences import AttentiveStatistics, MaskedMean


@dataclass(frozen=True)
class EncoderConfig:
    """The settings that training and inference share; stored as `config.json`."""

    labels: tuple[str, ...] = OPEN7  # names of the logits, in order
    finer: dict[str, str] = field(default_factory=dict)  # label of each fine label
    backbone: str = MINILM  # a folder, "minilm", or a name on the Hugging Face hub
    frozen: bool = True  # train only the layers on top of the backbone
    weigh_layers: bool = True  # weighted sum of all hidden layers instead of the last one
    pooling: str = "mean"  # over frames or tokens without padding; a key of `POOLINGS`
    dropout: float = 0.1  # before the classifier
    temperature: float = 1.0  # divides the logits; fitted on validation data


POOLINGS: dict[str, type[MaskedMean] | type[AttentiveStatistics]] = {
    "mean": MaskedMean,
    "statistics": AttentiveStatistics,
}


class PretrainedEncoder(nn.Module):
    """A pretrained backbone with weighted layers, pooling and a classifier.

    The layer weights follow SUPERB (Yang et al. 2021; S3PRL's `Featurizer`): a softmax over one learnt
    number per layer. SUPERB's linear projection before the mean is left out because the classifier is
    linear too.

    `download=True` allows a download of the backbone. Raises `WeightsError` if the backbone is missing,
    incomplete or unsafe, or if `transformers` is not installed.
    """

    kinds: ClassVar[dict[str, str]]  # see `load_network`
    needs: ClassVar[tuple[str, ...]]  # see `find_backbone`
    changes: ClassVar[dict[str, Any]] = {}
    options: ClassVar[dict[str, Any]] = {}
    config: EncoderConfig

    def __init__(self, config: EncoderConfig, *, download: bool = False):
        super().__init__()
        if config.pooling not in POOLINGS:
            raise WeightsError(f"unknown pooling {config.pooling!r}; known: {', '.join(POOLINGS)}")
        self.config = config
        folder = find_backbone(config.backbone, self.needs, download=download)
        with opening(config.backbone):
            self.backbone = load_network(folder, self.kinds, self.changes, self.options)
            self._prepare(folder)
        sizes = self.backbone.config
        if config.weigh_layers:
            self.layer_weights = nn.Parameter(torch.zeros(sizes.num_hidden_layers + 1))
        self.pooling = POOLINGS[config.pooling](sizes.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.head = HierarchicalHead(self.pooling.outputs, config.labels, config.finer)
        for part in self._fixed_parts():
            part.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set training or eval mode; fixed parts stay in eval mode."""
        super().train(mode)
        for part in self._fixed_parts():
            part.eval()
        return self

    def _fixed_parts(self) -> list[nn.Module]:
        return [self.backbone] if self.config.frozen else []

    def _prepare(self, folder: Path) -> None:
        """Read from the folder how the input must be prepared."""
        raise NotImplementedError

    def _classify(self, mask_BS: Tensor, **inputs: Tensor) -> Output:
        """Run the backbone, pool the frames or tokens that `mask_BS` marks, and classify them."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            result = self.backbone(**inputs, output_hidden_states=self.config.weigh_layers)
        states_BSD = result.last_hidden_state
        if self.config.weigh_layers:
            weights_L = self.layer_weights.softmax(0)
            # The last of `hidden_states` lacks the final layer norm in some models.
            states_BSD = states_BSD * weights_L[-1]
            for weight, layer_BSD in zip(weights_L[:-1], result.hidden_states[:-1], strict=True):
                states_BSD = states_BSD + layer_BSD * weight
        embedding_BD = self.dropout(self.pooling(states_BSD, mask_BS))
        return Output(self.head(embedding_BD), embedding_BD)
