"""Read and check rows of the FER2013 and FER+ tables; errors name the table and the row.

Rows are numbered like lines in an editor.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from multimodal_fer.errors import DataError

USAGES = {"train": "Training", "valid": "PublicTest", "test": "PrivateTest"}


def numbered_rows(table: Path) -> Iterator[tuple[int, list[str]]]:
    with table.open(newline="", encoding="utf-8", errors="replace") as lines:
        try:
            yield from enumerate(csv.reader(lines), start=1)
        except csv.Error as error:
            raise DataError(
                f"{table}: expected comma-separated values ({error}); take the table as published"
            ) from None


def rows_below(table: Path, header: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield numbered rows. Raises `DataError` if the header or the number of columns differs."""
    rows = numbered_rows(table)
    _, found = next(rows, (1, []))
    if tuple(found) != tuple(header):
        raise DataError(
            f"{table}, row 1: expected the columns {','.join(header)}, found "
            f"{','.join(found)[:200]!r}; take the table as published"
        )
    for number, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{table}, row {number}: expected {len(header)} columns ({','.join(header)}), found "
                f"{len(row)}; take the table as published"
            )
        yield number, row


def parse_votes(table: Path, number: int, values: list[str]) -> list[int]:
    try:
        votes = [int(value) for value in values]
    except ValueError:
        raise DataError(
            f"{table}, row {number}: votes must be whole numbers, found {values}; "
            "take the table as published"
        ) from None
    # One official row holds nine votes, all others ten.
    if min(votes) < 0 or not 9 <= sum(votes) <= 10:
        raise DataError(
            f"{table}, row {number}: votes must sum to 10, found {sum(votes)} of {votes}; "
            "take the table as published"
        )
    return votes


def check_usage(table: Path, number: int, usage: str) -> None:
    if usage not in USAGES.values():
        raise DataError(
            f"{table}, row {number}: expected {', '.join(USAGES.values())} as the usage, found "
            f"{usage[:20]!r}; take the table as published"
        )


def note_once(table: Path, number: int, name: str, seen: dict[str, int]) -> None:
    """Remember the row of a name. Raises `DataError` if the name repeats, as it could not be joined."""
    if name in seen:
        raise DataError(
            f"{table}, row {number}: expected every name once, found {name!r} on row {seen[name]} too; "
            "take the table as published"
        )
    seen[name] = number
