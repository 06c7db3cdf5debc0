"""Numbers for the tokens that a text network knows.

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


# ------------------------------------------------------------------------------ numbers


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that a network knows; a token's number is its place. The first two are reserved.

    Raises `ValueError` where they are not, where a token stands twice, or is empty or holds a space.
    """

    tokens: tuple[str, ...]

    def __post_init__(self):
        if self.tokens[:2] != (PAD, UNKNOWN):
            raise ValueError(f"a vocabulary starts with {PAD}, {UNKNOWN}; found {self.tokens[:2]}")
        if len(self.numbers) != len(self.tokens):
            twice = [token for token, count in Counter(self.tokens).items() if count > 1]
            raise ValueError(f"tokens that stand twice: {twice[:5]}")
        if spoilt := [token for token in self.tokens if token.split() != [token]]:
            raise ValueError(f"tokens that are empty or hold spaces: {spoilt[:5]}")

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Token to number."""
        return {token: number for number, token in enumerate(self.tokens)}

    def encode(self, text: str, longest: int | None = LONGEST) -> list[int]:
        """Numbers of the first `longest` tokens; unknown ones are `UNKNOWN_NUMBER`.

        None keeps them all. Something was cut exactly where `len(tokenize(text)) > longest`.
        """
        return [self.numbers.get(token, UNKNOWN_NUMBER) for token in tokenize(text)[:longest]]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write UTF-8 text, one token a line."""
        write_text(path, "\n".join(self.tokens) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read what `save` wrote. Raises `DataError` naming the file."""
        try:
            text = Path(path).read_text(encoding="utf-8")
            return cls(tuple(text.removesuffix("\n").split("\n")))
        except (OSError, ValueError) as error:  # a UnicodeDecodeError is a ValueError
            raise DataError(f"{path}: is no vocabulary ({error})") from None

    @classmethod
    def build(
        cls, texts: Iterable[str], smallest_count: int = 1, largest: int | None = None
    ) -> "Vocabulary":
        """Count the tokens of `texts`; the most frequent first, equal ones by the alphabet.

        Tokens that occur less than `smallest_count` times are left out, then the rarest, so that the
        vocabulary has at most `largest` entries, the two reserved ones included.
        """
        counts = Counter(token for text in texts for token in tokenize(text))
        kept = sorted((-count, token) for token, count in counts.items() if count >= smallest_count)
        return cls((PAD, UNKNOWN, *(token for _, token in kept))[:largest])


def collate_tokens(texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Pad numbers of tokens to the longest text: int64 (B, T) and the lengths, int64 (B,).

    An empty text has length 0, which the networks refuse: leave it out, there is nothing to read.
    """
    lengths_B = torch.tensor([len(text) for text in texts], dtype=torch.int64)
    longest = max((len(text) for text in texts), default=0)
    tokens_BT = torch.full((len(texts), longest), PAD_NUMBER, dtype=torch.int64)
    for row_T, text in zip(tokens_BT, texts, strict=True):
        row_T[: len(text)] = torch.tensor(text, dtype=torch.int64)
    return tokens_BT, lengths_B
