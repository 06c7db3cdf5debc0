"""Read the official FER+ folder layout into arrays.

    python -m recipes.ferplus.prepare PATH_TO_FERPLUS runs/ferplus.npz

The folder holds `data/FER2013{Train,Valid,Test}/label.csv` and the PNG files named there.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy
from numpy.typing import NDArray

from multimodal_fer.errors import DataError
from multimodal_fer.labels import FER_PLUS_VOTES
from multimodal_fer.training import run_command

SPLITS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
IMAGE_SIZE = 48
VOTE_COLUMNS = len(FER_PLUS_VOTES)


class Split(NamedTuple):
    """One part of the corpus: images (N, 48, 48) uint8 grey, votes (N, 10) uint8, file names (N,)."""

    images: NDArray[numpy.uint8]
    votes: NDArray[numpy.uint8]
    names: NDArray[numpy.str_]


def read_split(root: str | Path, split: str) -> Split:
    """Read one of train, valid, test from the FER+ folder layout.

    Raises `DataError` naming the row for a missing or undecodable image and for malformed votes.
    """
    folder = Path(root) / "data" / SPLITS[split]
    table = folder / "label.csv"
    if not table.is_file():
        raise DataError(f"{table}: not found; give the folder that holds data/{SPLITS[split]}")
    images, votes, names = [], [], []
    with table.open(newline="", encoding="utf-8") as lines:
        for number, row in enumerate(csv.reader(lines), start=1):
            name, counts = _read_row(table, number, row)
            images.append(_read_image(folder / name, table, number))
            votes.append(counts)
            names.append(name)
    if not images:
        raise DataError(f"{table}: has no rows")
    return Split(numpy.stack(images), numpy.array(votes, numpy.uint8), numpy.array(names))


def _read_row(table: Path, number: int, row: list[str]) -> tuple[str, list[int]]:
    if len(row) != 2 + VOTE_COLUMNS:
        raise DataError(
            f"{table}, row {number}: expected a name, a box and {VOTE_COLUMNS} votes "
            f"({', '.join(FER_PLUS_VOTES)}), found {len(row)} columns"
        )
    try:
        counts = [int(value) for value in row[2:]]
    except ValueError:
        raise DataError(f"{table}, row {number}: votes must be whole numbers: {row[2:]}") from None
    # One official row holds nine votes, all others ten.
    if min(counts) < 0 or not 9 <= sum(counts) <= 10:
        raise DataError(f"{table}, row {number}: votes must sum to 10, found {sum(counts)}")
    return row[0], counts


def _read_image(path: Path, table: Path, number: int) -> NDArray[numpy.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise DataError(f"{table}, row {number}: {path.name} is missing or cannot be decoded")
    if image.shape != (IMAGE_SIZE, IMAGE_SIZE):
        raise DataError(f"{table}, row {number}: {path.name} is {image.shape}, expected 48x48")
    return image.astype(numpy.uint8, copy=False)


def main(root: str, output: str) -> None:
    """Write the three splits as one uncompressed-in-memory, compressed-on-disk archive of arrays."""
    arrays = {}
    for split in SPLITS:
        part = read_split(root, split)
        arrays |= {f"{split}_{name}": value for name, value in part._asdict().items()}
        print(f"{split}: {len(part.images)} images")
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    numpy.savez_compressed(output, **arrays)
    print(f"written: {output}")


def load_split(archive: str | Path, split: str) -> Split:
    """Read back one split that `main` wrote."""
    try:
        with numpy.load(archive, allow_pickle=False) as arrays:
            return Split(*(arrays[f"{split}_{name}"] for name in Split._fields))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{archive}: cannot be read ({error}); make it with python -m recipes.ferplus.prepare"
        ) from None


if __name__ == "__main__":
    run_command(main, __doc__, 2)
