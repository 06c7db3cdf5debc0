"""TRE, the text encoder of Yoon, Byun and Jung 2018 (arXiv 1810.04635).

Shapes: B utterances, T tokens, H hidden units, D values of a word vector or embedding, V vocabulary.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from multimodal_fer.labels import OPEN7
from multimodal_fer.layers.output import Output
from multimodal_fer.layers.recurrent import GRU, ScalarBiasLinear
from multimodal_fer.layers.sequences import check_lengths, present
from multimodal_fer.text.vocabulary import PAD_NUMBER
from multimodal_fer.text.word_vectors import start_from

WORD_DEVIATION = 0.01  # standard deviation of initial word vectors


@dataclass(frozen=True)
class TextConfig:
    """The settings of TRE that training and inference share."""

    labels: tuple[str, ...] = OPEN7
    units: int = 200
    vocabulary_size: int = 3747  # with _PAD_ and _UNK_; IEMOCAP's transcripts
    word_size: int = 300  # of a word vector
    text_keep: float = 0.3  # share of word vector values that dropout keeps
    temperature: float = 1.0


class TextSettings(Protocol):
    """The settings of `TextEncoder`, which those of TRE and of the dual encoders contain."""

    @property
    def units(self) -> int: ...
    @property
    def vocabulary_size(self) -> int: ...
    @property
    def word_size(self) -> int: ...
    @property
    def text_keep(self) -> float: ...


class TextEncoder(nn.Module):
    """Word vectors and a GRU; returns outputs per token (B, T, H) and the last state (B, H).

    As published, dropout acts on word vectors and outputs, but not on the last state.
    """

    def __init__(self, config: TextSettings):
        super().__init__()
        self.size = config.units
        self.dropout = nn.Dropout(1 - config.text_keep)
        self.embedding = nn.Embedding(config.vocabulary_size, config.word_size, PAD_NUMBER)
        self.gru = GRU(config.word_size, config.units)
        nn.init.normal_(self.embedding.weight, std=WORD_DEVIATION)
        with torch.no_grad():
            self.embedding.weight[PAD_NUMBER] = 0

    def set_word_vectors(self, vectors_VD: Tensor) -> None:
        """Start from pre-trained vectors, float (V, D) in the vocabulary's order; see `start_from`."""
        start_from(self.embedding, vectors_VD)

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        longest = check_lengths(lengths_B, tokens_BT.shape[1])
        tokens_BT = tokens_BT[:, :longest]
        # Numbers in the padding may lie outside the vocabulary.
        tokens_BT = tokens_BT.masked_fill(~present(lengths_B, longest), PAD_NUMBER)
        outputs_BTH, last_BH = self.gru(self.dropout(self.embedding(tokens_BT)), lengths_B)
        return self.dropout(outputs_BTH), last_BH


class TRE(nn.Module):
    """Text recurrent encoder (section 3.2): 1,425,501 parameters for 4 labels, 3,747 words of 300."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.config = config
        self.text = TextEncoder(config)
        self.head = ScalarBiasLinear(self.text.size, len(config.labels))

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor) -> Output:
        """Classify each text; the embedding is the last state, (B, 200)."""
        _, embedding_BD = self.text(tokens_BT, lengths_B)
        return Output(self.head(embedding_BD), embedding_BD)
