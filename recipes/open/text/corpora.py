"""Read text corpora with the labels of open7: GoEmotions, ISEAR, Stack Overflow, MELD, invented remarks.

Splits are the published ones. ISEAR (by subject) and Stack Overflow (by post) have none; a hash of the name
holds out a tenth each for validation and test.
"""

import csv
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from multimodal_fer.errors import DataError
from multimodal_fer.labels import GOEMOTIONS_TO_OPEN7, OPEN7, TEXT_TO_OPEN7

GOEMOTIONS_FILES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
FINE_LABELS = tuple(GOEMOTIONS_TO_OPEN7)
MELD_FILES = {"train": "train_sent_emo.csv", "validation": "dev_sent_emo.csv"}


class Sample(NamedTuple):
    """One text with all its labels."""

    text: str
    labels: tuple[str, ...]
    corpus: str = ""
    fine_labels: tuple[str, ...] = ()  # those of GoEmotions


def read_goemotions(folder: Path, part: str) -> list[Sample]:
    """Read GoEmotions (Demszky et al. 2020); a comment can have several of 27 emotions and neutral."""
    path = folder / "emotions.txt"
    names = _lines(path)
    table = folder / GOEMOTIONS_FILES[part]
    samples = []
    for number, line in enumerate(_lines(table), start=1):
        columns = line.split("\t")
        try:
            fine = tuple(names[int(index)] for index in columns[1].split(","))
            labels = tuple(sorted({GOEMOTIONS_TO_OPEN7[name] for name in fine}))
        except (IndexError, ValueError, KeyError):
            raise DataError(
                f"{table}, row {number}: expected a text and numbers of {path.name}, found "
                f"{line[:60]!r}; take the table as published"
            ) from None
        samples.append(Sample(columns[0], labels, fine_labels=fine))
    return samples


def read_isear(folder: Path, part: str) -> list[Sample]:
    """Read ISEAR, reports of emotional situations (Scherer and Wallbott 1994), without shame and guilt."""
    return [
        _sample(row["text"], [row["label"]], where)
        for where, row in _rows(folder / "isear.tsv", ("subject", "label", "nonresponse", "text"))
        if row["nonresponse"] == "0"
        and row["label"] in TEXT_TO_OPEN7
        and _held_out(row["subject"]) == part
    ]


def read_stack_overflow(folder: Path, part: str) -> list[Sample]:
    """Read posts about software (Novielli et al. 2018); a post can have several labels."""
    return [
        _sample(row["text"], row["labels"].split(","), where)
        for where, row in _rows(folder / "so_emotion.tsv", ("id", "text", "labels"))
        if _held_out(row["id"]) == part
    ]


def read_meld(folder: Path, part: str) -> list[Sample]:
    """Read dialogue of a television series (Poria et al. 2019), used for measuring only."""
    if part not in MELD_FILES:
        return []
    table = folder / MELD_FILES[part]
    return [
        _sample(row["Utterance"], [row["Emotion"]], where)
        for where, row in _rows(table, ("Utterance", "Emotion"), delimiter=",")
    ]


def read_remarks(folder: Path, part: str) -> list[Sample]:
    """Read remarks of usability tests and everyday sentences, invented for training by this project.

    The table lies beside this file and has no other part; the remarks that are measured are others.
    """
    if part != "train":
        return []
    table = Path(__file__).parent / "remarks.tsv"
    samples = []
    for where, row in _rows(table, ("label", "text")):
        if row["label"] not in GOEMOTIONS_TO_OPEN7:
            raise DataError(f"{where}: expected a label of GoEmotions, found {row['label']!r}")
        coarse = GOEMOTIONS_TO_OPEN7[row["label"]]
        samples.append(Sample(row["text"], (coarse,), fine_labels=(row["label"],)))
    return samples


READERS = {
    "goemotions": read_goemotions,
    "isear": read_isear,
    "so_emotion": read_stack_overflow,
    "meld": read_meld,
    "remarks": read_remarks,
}


def read_texts(root: str | Path, corpora: Sequence[str], part: str) -> list[Sample]:
    """Return all samples of one split of the named corpora, each in the folder of its name.

    Raises `DataError` naming the file and row.
    """
    samples: list[Sample] = []
    for corpus in corpora:
        if corpus not in READERS:
            raise DataError(f"unknown corpus {corpus!r}; known: {', '.join(READERS)}")
        found = READERS[corpus](Path(root) / corpus, part)
        samples += [sample._replace(corpus=corpus) for sample in found]
    return samples


def targets_of(samples: Sequence[Sample]) -> NDArray[numpy.float32]:
    """Return each label's share (N, 7) in the order of `OPEN7`."""
    return _shares([sample.labels for sample in samples], OPEN7)


def fine_targets_of(samples: Sequence[Sample]) -> NDArray[numpy.float32]:
    """Return each fine label's share (N, 28) in the order of `FINE_LABELS`; zeros for other corpora."""
    return _shares([sample.fine_labels for sample in samples], FINE_LABELS)


def _shares(given: Sequence[Sequence[str]], names: Sequence[str]) -> NDArray[numpy.float32]:
    shares = numpy.zeros((len(given), len(names)), numpy.float32)
    for row, labels in enumerate(given):
        for label in labels:
            shares[row, names.index(label)] = 1 / len(labels)
    return shares


def labels_of_corpora(samples: Sequence[Sample]) -> NDArray[numpy.bool_]:
    """Return which labels occur in the corpus of each text, bool (N, 7).

    A label that a corpus never gives (ISEAR did not ask for neutral) is unknown for its texts, not absent.
    """
    given: dict[str, set[str]] = {}
    for sample in samples:
        given.setdefault(sample.corpus, set()).update(sample.labels)
    rows = {corpus: [name in labels for name in OPEN7] for corpus, labels in given.items()}
    return numpy.array([rows[sample.corpus] for sample in samples])


def _sample(text: str, labels: Sequence[str], where: str) -> Sample:
    unknown = [label for label in labels if label not in TEXT_TO_OPEN7]
    if unknown:
        raise DataError(
            f"{where}: unknown label {unknown[0]!r}; known: {', '.join(sorted(TEXT_TO_OPEN7))}"
        )
    return Sample(text, tuple(sorted({TEXT_TO_OPEN7[label] for label in labels})))


def _held_out(name: str) -> str:
    digit = sha256(name.encode()).digest()[0] % 10
    return "test" if digit == 0 else "validation" if digit == 1 else "train"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); unpack the corpus again") from None


def _rows(
    table: Path, columns: Sequence[str], delimiter: str = "\t"
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield rows by column name, each with the beginning of an error message."""
    quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    rows = csv.DictReader(_lines(table), delimiter=delimiter, quoting=quoting)
    if missing := [name for name in columns if name not in (rows.fieldnames or ())]:
        raise DataError(
            f"{table}, row 1: expected the columns {', '.join(columns)}, found no "
            f"{', '.join(missing)}; take the table as published"
        )
    for number, row in enumerate(rows, start=2):
        if any(row[name] is None for name in columns):
            raise DataError(
                f"{table}, row {number}: has too few columns; take the table as published"
            )
        yield f"{table}, row {number}", row
