"""The tables of a study, in tidy form for pandas or R: segments, sessions, errors."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multimodal_fer.errors import DataError, OutputError
from multimodal_fer.fusion.baseline import FUSED, Baseline, change
from multimodal_fer.labels import MODALITIES
from multimodal_fer.report.writers import segment_columns, segment_rows, table
from multimodal_fer.study.sessions import Problem, Session
from multimodal_fer.types import Analysis, strongest
from multimodal_fer.utils.files import replacing, write_text

FAMILIES = (
    "score_",
    "attention_",
    "coverage_",
    "change_",
    "emotion_",
)  # a column for each label or so
NUMBERS = ("start", "end", "duration", *FAMILIES[:-1])
COUNTS = ("face_id", "segments", "conflicts")


class Table(NamedTuple):
    """Columns and rows; every value is str, float, int, bool or None. Columns in `more` are text."""

    columns: list[str]
    rows: list[list[Any]]
    more: tuple[str, ...] = ()


def check_columns(more: Iterable[str]) -> None:
    """Raise `DataError` where a study's own column is called as one of the results is."""
    ours = {*segment_table((), ()).columns, *session_table((), ()).columns}
    for name in more:
        if name in ours or name.startswith(FAMILIES):
            raise DataError(
                f"the table of participants has a column {name!r}, as the results have; rename it"
            )


def segment_table(more: Sequence[str], labels: Sequence[str]) -> Table:
    """An empty table of segments; `segments_of` gives its rows."""
    return Table(
        ["file", "participant", "task", *more]
        + segment_columns(labels)
        + [f"emotion_{name}" for name in MODALITIES]
        + ["notable", *(f"change_{label}" for label in labels)],
        [],
        tuple(more),
    )


def segments_of(
    session: Session, analysis: Analysis, baseline: Baseline | None
) -> Iterator[list[Any]]:
    """A row for each segment: who and what, the answer, each modality's own, and the change from rest.

    `change_*` is how far the log-odds of an emotion are from the participant's rest, and `notable` the
    emotions that grew by more than this person's calm varies; both are empty where no rest is known.
    """
    changes = change(analysis, baseline) if baseline else (None,) * len(analysis.segments)
    head = [session.file, session.participant, session.task, *session.more.values()]
    for segment, row, moved in zip(analysis.segments, segment_rows(analysis), changes, strict=True):
        alone = [strongest(segment.by_modality.get(name) or {}) for name in MODALITIES]
        grown = (moved.log_odds[FUSED] if moved else None) or {}
        notable = "+".join(moved.notable[FUSED]) if moved and grown else None
        moves = [round(grown[label], 4) if grown else None for label in analysis.labels]
        yield [*head, *row, *alone, notable, *moves]


def session_table(more: Sequence[str], labels: Sequence[str]) -> Table:
    """An empty table of sessions; `session_of` gives its rows."""
    return Table(
        ["file", "participant", "task", *more, "kind", "duration", "emotion", "unsure"]
        + [f"score_{label}" for label in labels]
        + [f"coverage_{name}" for name in MODALITIES]
        + ["segments", "conflicts", "language", "warnings", "bundle"],
        [],
        tuple(more),
    )


def session_of(session: Session, analysis: Analysis) -> list[Any]:
    """The row of one session."""
    answer = analysis.to_dict()
    return [
        *(session.file, session.participant, session.task, *session.more.values(), session.kind),
        *(answer[name] for name in ("duration", "emotion", "unsure")),
        *(answer["scores"].get(label) for label in analysis.labels),
        *(answer["coverage"].get(name) for name in MODALITIES),
        len(analysis.segments),
        sum(bool(segment.conflict) for segment in analysis.segments),
        analysis.transcript.language if analysis.transcript else None,
        " | ".join(analysis.warnings),
        analysis.bundle,
    ]


def error_table(problems: Iterable[Problem]) -> Table:
    """A row for each file that gave no answer."""
    return Table(["file", "error"], [list(problem) for problem in problems])


def write_csv(path: Path, content: Table) -> None:
    """Write a table, whole or not at all. Raises `OutputError`."""
    try:
        write_text(path, table(content.columns, content.rows))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None


def write_parquet(path: Path, content: Table) -> bool:
    """Write a table as Parquet with typed columns; False where pyarrow is not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return False
    kinds = {
        float: pyarrow.float64(),
        int: pyarrow.int64(),
        bool: pyarrow.bool_(),
        str: pyarrow.string(),
    }
    fields = [
        (name, kinds[str if name in content.more else kind_of(name)]) for name in content.columns
    ]
    columns = zip(*content.rows, strict=True) if content.rows else ((),) * len(fields)
    arrays = [
        pyarrow.array(list(values), type=kind)
        for (_, kind), values in zip(fields, columns, strict=True)
    ]
    made = pyarrow.Table.from_arrays(arrays, schema=pyarrow.schema(fields))
    try:
        with replacing(path) as temporary:
            parquet.write_table(made, temporary)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
    return True


def kind_of(column: str) -> type:
    """What a column of ours holds."""
    if column == "unsure":
        return bool
    if column.startswith(COUNTS):
        return int
    return float if column.startswith(NUMBERS) else str
