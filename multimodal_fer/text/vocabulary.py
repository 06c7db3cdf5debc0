"""Vocabularies: the tokens of a text network and their numbers.

Shapes: B texts, T tokens of the longest text.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from multimodal_fer.errors import DataError
from multimodal_fer.text.tokens import tokenize
from multimodal_fer.utils.files import write_text

PAD, UNKNOWN = "_PAD_", "_UNK_"
PAD_NUMBER, UNKNOWN_NUMBER = 0, 1
LONGEST = 128  # tokens; no utterance of IEMOCAP has more


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a network; the number of a token is its index.

    Raises `ValueError` if the first two are not _PAD_ and _UNK_, if a token occurs twice, is empty or
    contains a space.
    """

    tokens: tuple[str, ...]

    def __post_init__(self):
        if self.tokens[:2] != (PAD, UNKNOWN):
            raise ValueError(f"a vocabulary starts with {PAD}, {UNKNOWN}; found {self.tokens[:2]}")
        if len(self.numbers) != len(self.tokens):
            twice = [token for token, count in Counter(self.tokens).items() if count > 1]
            raise ValueError(f"tokens that occur twice: {twice[:5]}")
        if wrong := [token for token in self.tokens if token.split() != [token]]:
            raise ValueError(f"tokens that are empty or contain spaces: {wrong[:5]}")

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Return the number of each token."""
        return {token: number for number, token in enumerate(self.tokens)}

    def encode(self, text: str, longest: int | None = LONGEST) -> list[int]:
        """Return the numbers of the first `longest` tokens (None: of all); `UNKNOWN_NUMBER` if unknown."""
        return [self.numbers.get(token, UNKNOWN_NUMBER) for token in tokenize(text)[:longest]]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokens as UTF-8 text, one per line."""
        write_text(path, "\n".join(self.tokens) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read a file of `save`. Raises `DataError` if it is missing or is not a vocabulary."""
        try:
            text = Path(path).read_text(encoding="utf-8")
            return cls(tuple(text.removesuffix("\n").split("\n")))
        except (OSError, ValueError) as error:  # a UnicodeDecodeError is a ValueError
            raise DataError(f"{path}: is not a vocabulary ({error})") from None

    @classmethod
    def build(
        cls, texts: Iterable[str], smallest_count: int = 1, largest: int | None = None
    ) -> "Vocabulary":
        """Build a vocabulary from the tokens of `texts`, ordered by frequency, then alphabetically.

        It contains tokens that occur at least `smallest_count` times, and at most `largest` entries
        including _PAD_ and _UNK_.
        """
        counts = Counter(token for text in texts for token in tokenize(text))
        kept = sorted((-count, token) for token, count in counts.items() if count >= smallest_count)
        return cls((PAD, UNKNOWN, *(token for _, token in kept))[:largest])


def collate_tokens(texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Pad token numbers to the longest text; return int64 (B, T) and the lengths, int64 (B,).

    An empty text has length 0, for which the networks raise `ValueError`; leave it out.
    """
    lengths_B = torch.tensor([len(text) for text in texts], dtype=torch.int64)
    longest = max(map(len, texts), default=0)
    tokens_BT = torch.full((len(texts), longest), PAD_NUMBER, dtype=torch.int64)
    for row_T, text in zip(tokens_BT, texts, strict=True):
        row_T[: len(text)] = torch.tensor(text, dtype=torch.int64)
    return tokens_BT, lengths_B
