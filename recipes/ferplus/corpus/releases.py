"""Read FER2013 and its FER+ votes from the FER+ folders or the official tables.

FER2013: Goodfellow et al. 2013, 35,887 grey faces of 48x48, one label each. FER+: Barsoum et al. 2016, ten
crowd votes for each of them. Rows are numbered like lines in an editor.
"""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy
from numpy.typing import NDArray

from multimodal_fer.errors import DataError
from multimodal_fer.labels import FER2013, FER2013_NAMES, FER_PLUS_VOTES
from recipes.ferplus.corpus.rows import (
    USAGES,
    check_usage,
    note_once,
    numbered_rows,
    parse_votes,
    rows_below,
)

SPLITS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
IMAGE_SIZE = 48
PIXELS = IMAGE_SIZE * IMAGE_SIZE
VOTE_COLUMNS = len(FER_PLUS_VOTES)
UNKNOWN = -1  # emotion of an image without a FER2013 label
FACE_TABLE, FACE_HEADER = "fer2013.csv", ("emotion", "pixels", "Usage")
VOTE_TABLE, VOTE_HEADER = "fer2013new.csv", ("Usage", "Image name", *FER_PLUS_VOTES)
LABEL_TABLE, LABEL_HEADER = "fer2013_labels.csv", ("image", "usage", "emotion")


class Split(NamedTuple):
    """One split of the corpus.

    images (N, 48, 48) uint8 grey; votes (N, 10) uint8 in the order of `FER_PLUS_VOTES`, from label.csv if
    it exists, zeros if unknown; names (N,); emotions (N,) int8, FER2013's own label as an index into
    `FER2013`, -1 if unknown; new_votes (N, 10) uint8 of fer2013new.csv.
    """

    images: NDArray[numpy.uint8]
    votes: NDArray[numpy.uint8]
    names: NDArray[numpy.str_]
    emotions: NDArray[numpy.int8]
    new_votes: NDArray[numpy.uint8]


class Release(NamedTuple):
    """The splits `train`, `valid` and `test`, and sentences on what they lack."""

    parts: dict[str, Split]
    notes: list[str]


# --- the FER+ folders ---


def read_folders(root: Path) -> Release:
    """Read `data/FER2013{Train,Valid,Test}/` with label.csv, and tables beside `data` if they exist."""
    notes = [
        f"{table} is not beside the data folder: {lack}"
        for table, lack in (
            (VOTE_TABLE, "no image has the votes that the albanie protocol counts"),
            (LABEL_TABLE, "no image has FER2013's own label"),
        )
        if not (root / table).is_file()
    ]
    return Release({split: read_split(root, split) for split in SPLITS}, notes)


def read_split(root: str | Path, split: str) -> Split:
    """Read one of train, valid, test from the FER+ folders.

    `fer2013new.csv` and `fer2013_labels.csv` are joined by name, which is unique within a split. Raises
    `DataError` naming the row for a missing or undecodable image, malformed votes or a repeated name.
    """
    root = Path(root)
    folder = root / "data" / SPLITS[split]
    table = folder / "label.csv"
    if not table.is_file():
        raise DataError(f"{table}: not found; give the folder that holds data/{SPLITS[split]}")
    images, votes, names = [], [], {}
    for number, row in numbered_rows(table):
        if len(row) != 2 + VOTE_COLUMNS:
            raise DataError(
                f"{table}, row {number}: expected a name, a box and {VOTE_COLUMNS} votes "
                f"({', '.join(FER_PLUS_VOTES)}), found {len(row)} columns; "
                "take label.csv as published with FER+"
            )
        note_once(table, number, row[0], names)
        votes.append(parse_votes(table, number, row[2:]))
        images.append(read_image(folder / row[0], f"{table}, row {number}"))
    if not images:
        raise DataError(f"{table}: has no rows; take label.csv as published with FER+")
    return Split(
        numpy.stack(images),
        numpy.array(votes, numpy.uint8),
        numpy.array(list(names)),
        _emotions_by_name(root / LABEL_TABLE, USAGES[split], names),
        _votes_by_name(root / VOTE_TABLE, USAGES[split], names),
    )


def _emotions_by_name(table: Path, usage: str, names: Iterable[str]) -> NDArray[numpy.int8]:
    """Return FER2013's own label (N,) of the images with these names, -1 if the table has none."""
    found: dict[str, int] = {}
    seen: dict[str, int] = {}
    for number, row in rows_below(table, LABEL_HEADER) if table.is_file() else ():
        name, row_usage, label = row
        check_usage(table, number, row_usage)
        if label and label not in FER2013_NAMES:
            raise DataError(
                f"{table}, row {number}: expected one of {', '.join(FER2013_NAMES)} or nothing as "
                f"the emotion, found {label!r}; correct the row"
            )
        if row_usage == usage:
            note_once(table, number, name, seen)
            found[name] = FER2013.index(FER2013_NAMES[label]) if label else UNKNOWN
    return numpy.array([found.get(name, UNKNOWN) for name in names], numpy.int8)


def _votes_by_name(table: Path, usage: str, names: Iterable[str]) -> NDArray[numpy.uint8]:
    """Return votes (N, 10) of fer2013new.csv for the images with these names, zeros if there are none.

    Four names are on two rows each, for two images of which the folders hold one. Three times both rows
    have the same votes. The rows of fer0033120.png in PrivateTest differ (a face, and ten times "not a
    face"), so its votes are unknown.
    """
    found: dict[str, set[tuple[int, ...]]] = {}
    for row in _read_vote_table(table) if table.is_file() else ():
        if row.usage == usage and row.name:
            found.setdefault(row.name, set()).add(tuple(row.votes))
    nothing = (0,) * VOTE_COLUMNS
    joined = [min(rows) if len(rows := found.get(n, set())) == 1 else nothing for n in names]
    return numpy.array(joined, numpy.uint8)


# --- the official pair fer2013.csv and fer2013new.csv ---


class _VoteRow(NamedTuple):
    number: int
    usage: str
    name: str  # empty if FER+ dropped the image: ten votes for "not a face"
    votes: list[int]


def read_tables(root: Path) -> Release:
    """Read `fer2013.csv`, and the votes of `fer2013new.csv` if it is beside it.

    The two are joined by row, as their publishers say, because names repeat. Both `votes` and `new_votes`
    are those of fer2013new.csv. An image that FER+ dropped keeps its FER2013 label and has no votes.
    """
    table, vote_table = root / FACE_TABLE, root / VOTE_TABLE
    images, emotions, usages = _read_faces(table)
    names = [f"row {number}" for number in range(2, 2 + len(usages))]
    votes = numpy.zeros((len(usages), VOTE_COLUMNS), numpy.uint8)
    notes = [f"{VOTE_TABLE} is not beside {FACE_TABLE}: no image has votes"]
    if vote_table.is_file():
        for index, row in enumerate(_matching_votes(vote_table, table, usages)):
            if row.name:
                names[index], votes[index] = row.name, row.votes
        notes = [
            f"the votes are those of {VOTE_TABLE}: they differ from those of FER+'s label.csv, on which "
            "the cntk-majority and paper protocols are defined, so both count other images here"
        ]
    parts = {}
    for split, usage in USAGES.items():
        rows = [index for index, found in enumerate(usages) if found == usage]
        if not rows:
            raise DataError(f"{table}: no row has the Usage {usage}; take the table as published")
        part_names = numpy.array([names[index] for index in rows])
        parts[split] = Split(images[rows], votes[rows], part_names, emotions[rows], votes[rows])
    return Release(parts, notes)


def _read_faces(table: Path) -> tuple[NDArray[numpy.uint8], NDArray[numpy.int8], list[str]]:
    """Return images (N, 48, 48), labels (N,) and Usage of every row of fer2013.csv."""
    images, emotions, usages = [], [], []
    for number, (emotion, pixels, usage) in rows_below(table, FACE_HEADER):
        if emotion not in map(str, range(len(FER2013))):
            raise DataError(
                f"{table}, row {number}: expected 0 to {len(FER2013) - 1} as the emotion, found "
                f"{emotion[:20]!r}; take the table as published"
            )
        check_usage(table, number, usage)
        images.append(_parse_pixels(table, number, pixels))
        emotions.append(int(emotion))
        usages.append(usage)
    if not images:
        raise DataError(f"{table}: has no rows below its header; take the table as published")
    return numpy.stack(images), numpy.array(emotions, numpy.int8), usages


def _parse_pixels(table: Path, number: int, text: str) -> NDArray[numpy.uint8]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy only warns at what is not a number
            values = numpy.fromstring(text, numpy.int64, sep=" ")
    except (ValueError, DeprecationWarning):
        values = numpy.array([-1])
    if ((values < 0) | (values > 255)).any():
        wrong = next((part for part in text.split() if not _is_pixel(part)), "")
        raise DataError(
            f"{table}, row {number}: expected pixels from 0 to 255, found {wrong[:20]!r}; "
            "take the table as published"
        )
    if len(values) != PIXELS:
        raise DataError(
            f"{table}, row {number}: expected {PIXELS} pixels ({IMAGE_SIZE}x{IMAGE_SIZE}), found "
            f"{len(values)}; take the table as published"
        )
    return values.astype(numpy.uint8).reshape(IMAGE_SIZE, IMAGE_SIZE)


def _is_pixel(text: str) -> bool:
    return text.isdecimal() and int(text) <= 255


def _matching_votes(vote_table: Path, table: Path, usages: list[str]) -> list[_VoteRow]:
    """Return all rows of fer2013new.csv after checking that they match those of fer2013.csv."""
    rows = _read_vote_table(vote_table)
    if len(rows) != len(usages):
        raise DataError(
            f"{vote_table}: expected {len(usages)} rows below the header, as in {table.name}, found "
            f"{len(rows)}; the two are joined by row, so take both as published"
        )
    for row, usage in zip(rows, usages, strict=True):
        if row.usage != usage:
            raise DataError(
                f"{vote_table}, row {row.number}: expected the Usage {usage} of the same row of "
                f"{table.name}, found {row.usage}; the two are joined by row, so take both as published"
            )
    return rows


def _read_vote_table(table: Path) -> list[_VoteRow]:
    rows = []
    for number, (usage, name, *votes) in rows_below(table, VOTE_HEADER):
        check_usage(table, number, usage)
        rows.append(_VoteRow(number, usage, name.strip(), parse_votes(table, number, votes)))
    return rows


# --- pictures ---


def read_image(path: Path, place: str) -> NDArray[numpy.uint8]:
    """Read a grey image (48, 48); `place` starts an error message."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise DataError(f"{place}: {path.name} is missing or cannot be decoded; unpack it again")
    if image.shape != (IMAGE_SIZE, IMAGE_SIZE):
        raise DataError(
            f"{place}: {path.name} is {image.shape}, expected {IMAGE_SIZE}x{IMAGE_SIZE}; "
            "take the images as published"
        )
    return image.astype(numpy.uint8, copy=False)
