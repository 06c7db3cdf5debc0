"""Split sentences into the word pieces of BERT (Devlin et al. 2019; WordPiece: Wu et al. 2016).

Shapes: B texts, T pieces of the longest text.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from multimodal_fer.errors import DataError
from multimodal_fer.text.sentences.passages import clean
from multimodal_fer.utils.files import write_text

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
LONGEST_PIECES = 128  # of a sentence, with start and end
LONGEST_WORD = 100  # letters; a longer word is unknown, as in BERT
MOST_PIECES = 250_000  # of a vocabulary


@dataclass(frozen=True)
class WordPieces:
    """The word pieces of a network; the number of a piece is its index, that of [PAD] is 0.

    Raises `ValueError` if a special piece is missing, or if a piece occurs twice, is empty or contains a
    space.
    """

    pieces: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.pieces) > MOST_PIECES:
            raise ValueError(f"{len(self.pieces):,} word pieces, at most {MOST_PIECES:,} are read")
        if self.pieces[:1] != (PAD,) or not {UNKNOWN, START, END} <= set(self.pieces):
            raise ValueError(f"word pieces start with {PAD} and contain {UNKNOWN}, {START}, {END}")
        if len(set(self.pieces)) != len(self.pieces):
            raise ValueError("a word piece occurs twice")
        if wrong := [piece for piece in self.pieces if piece.split() != [piece]]:
            raise ValueError(f"word pieces that are empty or contain spaces: {wrong[:5]}")

    def __len__(self) -> int:
        return len(self.pieces)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Return the number of each piece."""
        return {piece: number for number, piece in enumerate(self.pieces)}

    @cached_property
    def splitter(self) -> Any:
        """Return the splitter of the library `tokenizers`, which lower-cases and strips accents."""
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

        splitter = Tokenizer(
            models.WordPiece(self.numbers, unk_token=UNKNOWN, max_input_chars_per_word=LONGEST_WORD)
        )
        splitter.normalizer = normalizers.BertNormalizer(lowercase=True)
        splitter.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return splitter

    def encode(self, text: str, longest: int | None = LONGEST_PIECES) -> list[int]:
        """Return the numbers of a text's pieces between [CLS] and [SEP], at most `longest` with both.

        A text without any piece has none, not even the special ones.
        """
        return self.encode_all([text], longest)[0]

    def encode_all(
        self, texts: Sequence[str], longest: int | None = LONGEST_PIECES
    ) -> list[list[int]]:
        """Return the numbers of each text's pieces; see `encode`. Texts are cleaned first; see `clean`."""
        start, end = self.numbers[START], self.numbers[END]
        most = None if longest is None else longest - 2
        found = self.splitter.encode_batch(
            [clean(text) for text in texts], add_special_tokens=False
        )
        return [[start, *text.ids[:most], end] if text.ids else [] for text in found]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the pieces as UTF-8 text, one per line, as BERT's `vocab.txt`."""
        write_text(path, "\n".join(self.pieces) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "WordPieces":
        """Read a file of `save`, or BERT's. Raises `DataError` if it is missing or no vocabulary."""
        try:
            text = Path(path).read_text(encoding="utf-8")
            return cls(tuple(text.removesuffix("\n").split("\n")))
        except (OSError, ValueError) as error:  # a UnicodeDecodeError is a ValueError
            raise DataError(f"{path}: is not a vocabulary of word pieces ({error})") from None
