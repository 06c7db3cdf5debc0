"""The text network, developed from TRE (`recurrent.py`) for short written and spoken answers.

Shapes: B texts, T tokens, W values of a word, H values per token after the recurrent layer, D embedding,
V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from multimodal_fer.labels import OPEN7
from multimodal_fer.layers.hierarchical import HierarchicalHead
from multimodal_fer.layers.output import Output, Prediction, predictions_of
from multimodal_fer.layers.sequences import check_lengths, present, run_gru
from multimodal_fer.text.tokens import tokenize
from multimodal_fer.text.vocabulary import (
    LONGEST,
    PAD_NUMBER,
    UNKNOWN_NUMBER,
    Vocabulary,
    collate_tokens,
)
from multimodal_fer.text.word_vectors import start_from

AT_ONCE = 64  # texts in a batch; memory does not grow with their number


@dataclass(frozen=True)
class WordConfig:
    """The settings that training and inference share; stored as `config.json`."""

    labels: tuple[str, ...] = OPEN7  # names of the logits, in order
    finer: dict[str, str] = field(default_factory=dict)  # label of each fine label
    vocabulary_size: int = 20_000  # with _PAD_ and _UNK_
    word_size: int = 50  # of a word vector
    units: int = 128  # of the recurrent layer, in each direction
    word_dropout: float = 0.1  # share of tokens that training replaces by _UNK_
    dropout: float = 0.5
    languages: tuple[str, ...] = ("en",)  # of the training texts
    temperature: float = 1.0  # divides the logits; fitted on validation data


class WordNetwork(nn.Module):
    """Word vectors, a bidirectional recurrent layer, attention and maximum over the words.

    `forward` takes token numbers (B, T) as from `Vocabulary.encode`, and lengths (B,). Padding is ignored.
    Raises `ValueError` for a length of zero; leave the network out if there is no text.
    """

    config: WordConfig

    def __init__(self, config: WordConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary_size, config.word_size, PAD_NUMBER)
        self.recurrent = nn.GRU(
            config.word_size, config.units, batch_first=True, bidirectional=True
        )
        size = 2 * config.units
        self.scorer = nn.Sequential(
            nn.Linear(size, config.units), nn.Tanh(), nn.Linear(config.units, 1)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = HierarchicalHead(2 * size, config.labels, config.finer)

    def set_word_vectors(self, vectors_VW: Tensor) -> None:
        """Start from pre-trained vectors, float (V, W) in the vocabulary's order; see `start_from`."""
        start_from(self.embedding, vectors_VW)

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor) -> Output:
        longest = check_lengths(lengths_B, tokens_BT.shape[1])
        present_BT = present(lengths_B, longest)
        tokens_BT = tokens_BT[:, :longest].masked_fill(~present_BT, PAD_NUMBER)
        if self.training and self.config.word_dropout:
            random_BT = torch.rand(tokens_BT.shape, device=tokens_BT.device)
            dropped_BT = (random_BT < self.config.word_dropout) & present_BT
            tokens_BT = tokens_BT.masked_fill(dropped_BT, UNKNOWN_NUMBER)
        words_BTW = self.dropout(self.embedding(tokens_BT))
        outputs_BTH, _ = run_gru(self.recurrent, words_BTW, lengths_B)
        embedding_BD = self.dropout(self._pool(outputs_BTH, present_BT))
        return Output(self.head(embedding_BD), embedding_BD)

    def _pool(self, outputs_BTH: Tensor, present_BT: Tensor) -> Tensor:
        """Join an attention-weighted mean and the maximum over the words, (B, 2H)."""
        absent_BT1 = ~present_BT.unsqueeze(2)
        weights_BT1 = self.scorer(outputs_BTH).masked_fill(absent_BT1, -torch.inf).softmax(1)
        mean_BH = (weights_BT1 * outputs_BTH).sum(1)
        maximum_BH = outputs_BTH.masked_fill(absent_BT1, -torch.inf).amax(1)
        return torch.cat([mean_BH, maximum_BH], dim=1)


@dataclass(frozen=True, eq=False)
class Reader:
    """A text network with its vocabulary, applied to texts."""

    network: WordNetwork
    vocabulary: Vocabulary

    def __call__(self, texts: Sequence[str]) -> Output:
        """Classify texts of at least one token each; tokens after the first `LONGEST` are ignored."""
        tokens_BT, lengths_B = collate_tokens([self.vocabulary.encode(text) for text in texts])
        device = self.network.embedding.weight.device
        return self.network(tokens_BT.to(device), lengths_B.to(device))

    @torch.inference_mode()
    def predict(self, texts: Sequence[str]) -> list[Prediction | None]:
        """Return the prediction for each text, in batches; None for one without words."""
        readable = [number for number, text in enumerate(texts) if self.vocabulary.encode(text)]
        found: list[Prediction | None] = [None] * len(texts)
        for picks in _batches(readable):
            output = self([texts[pick] for pick in picks])
            for pick, prediction in zip(
                picks, predictions_of(output, self.network.config), strict=True
            ):
                found[pick] = prediction
        return found

    def known_share(self, text: str) -> float:
        """Return the share of a text's tokens that are in the vocabulary; 0 for an empty text."""
        tokens = tokenize(text)
        return sum(token in self.vocabulary.numbers for token in tokens) / max(1, len(tokens))

    def is_truncated(self, text: str) -> bool:
        """Return True if the text has more than `LONGEST` tokens."""
        return len(tokenize(text)) > LONGEST


def _batches(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), AT_ONCE):
        yield numbers[start : start + AT_ONCE]
