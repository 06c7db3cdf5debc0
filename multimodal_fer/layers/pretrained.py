"""Pretrained encoders of voice and words, from the library `transformers`, behind the package's own seam.

WavLM, HuBERT and wav2vec 2.0 listen; BERT (MiniLM is one), RoBERTa and XLM-RoBERTa read. They owe what
every encoder here owes, `Output(logits, embedding)`; `backbones.py` finds and opens them.

Padding never changes an answer: in float32 a batch of one equals a batch of many to 1e-4 of a logit. As
in the recurrent networks, a length below 1 raises `ValueError`: who has no voice or no text leaves the
encoder out.

Shapes: B recordings or texts, N samples at 16 kHz, F frames (20 ms each in the published models),
T tokens, S steps (F or T), C channels, L hidden layers with the input of the first, D embedding,
K classes.
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
    """Everything that inference has to agree on with training; stored as `config.json`."""

    labels: tuple[str, ...] = OPEN7  # names of the logits, in order
    finer: dict[str, str] = field(default_factory=dict)  # finer labels, and what each counts as
    backbone: str = MINILM  # a folder, "minilm", or a name on the Hugging Face hub
    frozen: bool = True  # the backbone stays as it was published; only what is on top learns
    weigh_layers: bool = True  # learn a mixture of the hidden layers instead of taking the last
    pooling: str = "mean"  # over real frames or tokens; a key of `POOLINGS`
    dropout: float = 0.1  # before the classifier
    temperature: float = 1.0  # divides the logits; fitted on validation data


POOLINGS: dict[str, type[MaskedMean] | type[AttentiveStatistics]] = {
    "mean": MaskedMean,
    "statistics": AttentiveStatistics,
}


class PretrainedEncoder(nn.Module):
    """What both encoders share: backbone, mixture of layers, pooling, classifier.

    The mixture is that of SUPERB (Yang et al. 2021; S3PRL's `Featurizer`): a softmax over one
    learnt number per layer. SUPERB's linear projection before the mean is left out, since a linear
    classifier follows and two linear maps are one.

    `download=True` allows a backbone to be fetched. Making an encoder raises `WeightsError` where its
    backbone cannot be had, is incomplete or unsafe, or where `transformers` is not installed.
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
        """Switch dropout on or off; what does not learn stays in eval mode."""
        super().train(mode)
        for part in self._fixed_parts():
            part.eval()
        return self

    def _fixed_parts(self) -> list[nn.Module]:
        return [self.backbone] if self.config.frozen else []

    def _prepare(self, folder: Path) -> None:
        """Read how the input has to be prepared."""
        raise NotImplementedError

    def _judge(self, mask_BS: Tensor, **inputs: Tensor) -> Output:
        """Run the backbone, pool the real frames or tokens and classify them."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            found = self.backbone(**inputs, output_hidden_states=self.config.weigh_layers)
        states_BSD = found.last_hidden_state
        if self.config.weigh_layers:
            weights_L = self.layer_weights.softmax(0)
            # The last of `hidden_states` lacks the final layer norm in some models.
            states_BSD = states_BSD * weights_L[-1]
            for weight, layer_BSD in zip(weights_L[:-1], found.hidden_states[:-1], strict=True):
                states_BSD = states_BSD + layer_BSD * weight
        embedding_BD = self.dropout(self.pooling(states_BSD, mask_BS))
        return Output(self.head(embedding_BD), embedding_BD)
