"""A small BERT as sentence encoder (Devlin et al. 2019; MiniLM: Wang et al. 2020).

MiniLM has six blocks of 384 values. It was distilled from a large BERT and tuned on a billion pairs of
sentences (Reimers and Gurevych 2019, all-MiniLM-L6-v2), so it knows what sentences mean before it learns
emotions.

Shapes: B texts, T word pieces, W width, H heads, D embedding (W).
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from multimodal_fer.labels import OPEN7
from multimodal_fer.layers.hierarchical import HierarchicalHead
from multimodal_fer.layers.output import Output
from multimodal_fer.layers.sequences import check_lengths, present
from multimodal_fer.text.sentences.word_pieces import LONGEST_PIECES

EPSILON = 1e-12  # of BERT's layer normalisation
HIDDEN = -1e4  # the attention logit of padding


@dataclass(frozen=True)
class SentenceConfig:
    """The settings that training and inference share; stored as `config.json`."""

    labels: tuple[str, ...] = OPEN7  # names of the logits, in order
    finer: dict[str, str] = field(default_factory=dict)  # label of each fine label
    vocabulary_size: int = 30_522  # word pieces
    width: int = 384
    heads: int = 12
    blocks: int = 6
    dropout: float = 0.1
    languages: tuple[str, ...] = ("en",)  # of the training texts
    temperature: float = 1.0  # divides the logits; fitted on validation data
    # How fine labels are answered; see `fine_labels.py`.
    fine_temperature: float = 1.0  # divides the logits of the fine labels
    shown_as: dict[str, str] = field(default_factory=dict)  # name of each fine label in the answer
    thresholds: dict[str, float] = field(default_factory=dict)  # of each name in the answer
    valence: dict[str, float] = field(default_factory=dict)  # of each fine label, from -1 to 1

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads or self.blocks < 1:
            raise ValueError(
                f"expected a width that the heads divide and at least one block, got width {self.width}, "
                f"{self.heads} heads, {self.blocks} blocks"
            )
        for name in ("finer", "shown_as", "thresholds", "valence"):
            if not isinstance(getattr(self, name), dict):
                raise ValueError(f"expected {name} to have a value for each label")
        for name in ("shown_as", "valence"):
            if getattr(self, name) and set(getattr(self, name)) != set(self.finer):
                raise ValueError(f"{name} names other labels than the fine ones")
        if not all(isinstance(name, str) for name in self.shown_as.values()):
            raise ValueError("expected names of fine labels in shown_as")
        if not all(
            -1 <= value <= 1 for value in (*self.thresholds.values(), *self.valence.values())
        ):
            raise ValueError("expected thresholds and the weights of valence from -1 to 1")


class Block(nn.Module):
    """A post-norm transformer block of BERT."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(width, 3 * width)  # query, key and value
        self.mixed = nn.Linear(width, width)
        self.mixed_norm = nn.LayerNorm(width, EPSILON)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.narrow_norm = nn.LayerNorm(width, EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pieces_BTW: Tensor, mask_B11T: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.inputs(pieces_BTW).chunk(3, dim=2)
        )
        # Written out: torch's fused attention is five times as slow for short texts in half precision.
        weights_BHTT = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
        weights_BHTT = weights_BHTT.float().masked_fill(~mask_B11T, HIDDEN).softmax(3)
        mixed = weights_BHTT.to(value.dtype) @ value
        pieces_BTW = self.mixed_norm(pieces_BTW + self.mixed(mixed.transpose(1, 2).flatten(2)))
        wide_BTW = self.dropout(self.narrow(functional.gelu(self.wide(pieces_BTW))))
        return self.narrow_norm(pieces_BTW + wide_BTW)


class SentenceEncoder(nn.Module):
    """Word pieces with positions, BERT's blocks, the mean over the pieces, and a linear head.

    `forward` takes numbers of word pieces (B, T) as from `WordPieces.encode`, and lengths (B,). Padding is
    ignored. Raises `ValueError` for a length of zero; leave the network out if there is no text.
    """

    config: SentenceConfig

    def __init__(self, config: SentenceConfig):
        super().__init__()
        self.config = config
        self.pieces = nn.Embedding(config.vocabulary_size, config.width)
        self.positions = nn.Embedding(LONGEST_PIECES, config.width)
        self.norm = nn.LayerNorm(config.width, EPSILON)
        self.blocks = nn.ModuleList(
            [Block(config.width, config.heads, config.dropout) for _ in range(config.blocks)]
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = HierarchicalHead(config.width, config.labels, config.finer)

    def encode(self, pieces_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the mean of the last block over the pieces, (B, D)."""
        longest = check_lengths(lengths_B, pieces_BT.shape[1])
        there_BT = present(lengths_B, longest)
        pieces_BT = pieces_BT[:, :longest].masked_fill(~there_BT, 0)
        steps_T = torch.arange(longest, device=pieces_BT.device)
        pieces_BTW = self.dropout(self.norm(self.pieces(pieces_BT) + self.positions(steps_T)))
        for block in self.blocks:
            pieces_BTW = block(pieces_BTW, there_BT[:, None, None, :])
        summed_BW = (pieces_BTW * there_BT.unsqueeze(2)).sum(1)
        return summed_BW / lengths_B.unsqueeze(1)

    def forward(self, pieces_BT: Tensor, lengths_B: Tensor) -> Output:
        embedding_BD = self.dropout(self.encode(pieces_BT, lengths_B))
        return Output(self.head(embedding_BD), embedding_BD)
