"""Build the tables of a study in tidy form for pandas or R: segments, sessions, errors."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multimodal_fer.errors import DataError, OutputError
from multimodal_fer.fusion.baseline import FUSED, Baseline, change
from multimodal_fer.labels import MODALITIES
from multimodal_fer.report.writers import segment_columns, segment_rows
from multimodal_fer.study.sessions import Problem, Session
from multimodal_fer.types import Analysis, strongest
from multimodal_fer.utils.files import printable, replacing

SHARES = ("score_", "attention_", "coverage_", "change_")  # columns for each label or modality
NUMBERS = ("start", "end", "duration", "valence", "expressiveness", *SHARES)
COUNTS = ("face_id", "segments", "conflicts")
FLAGS = ("spoken", "unsure")


class Table(NamedTuple):
    """Columns and rows of str, float, int, bool or None; the columns in `more` are text."""

    columns: list[str]
    rows: list[list[Any]]
    more: tuple[str, ...] = ()


def check_columns(more: Iterable[str]) -> None:
    """Raise `DataError` if one of the study's own columns has the name of a result column."""
    ours = {*segment_table((), ()).columns, *session_table((), ()).columns}
    for name in more:
        if name in ours or name.startswith((*SHARES, "emotion_")):
            raise DataError(
                f"the table of participants has a column {name!r}, which the results also have; rename it"
            )


def segment_table(more: Sequence[str], labels: Sequence[str]) -> Table:
    """Return an empty table of segments; `segments_of` yields its rows."""
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
    """Yield a row for each segment: session, answer, each modality's emotion, change from the baseline.

    `change_*` is the log-odds of an emotion minus its log-odds in the participant's baseline. `notable`
    names the emotions that exceed the baseline's own variation. Both are empty without a baseline.
    """
    changes = change(analysis, baseline) if baseline else (None,) * len(analysis.segments)
    head = [session.file, session.participant, session.task, *session.more.values()]
    for segment, row, delta in zip(analysis.segments, segment_rows(analysis), changes, strict=True):
        emotions = [strongest(segment.by_modality.get(name) or {}) for name in MODALITIES]
        log_odds = (delta.log_odds[FUSED] if delta else None) or {}
        notable = "+".join(delta.notable[FUSED]) if delta and log_odds else None
        values = [round(log_odds[label], 4) if log_odds else None for label in analysis.labels]
        yield [*head, *row, *emotions, notable, *values]


def session_table(more: Sequence[str], labels: Sequence[str]) -> Table:
    """Return an empty table of sessions; `session_of` returns its rows."""
    return Table(
        ["file", "participant", "task", *more, "kind", "duration", "emotion", "unsure"]
        + [f"score_{label}" for label in labels]
        + [f"coverage_{name}" for name in MODALITIES]
        + ["segments", "conflicts", "language", "warnings", "bundle"],
        [],
        tuple(more),
    )


def session_of(session: Session, analysis: Analysis) -> list[Any]:
    """Return the row of one session."""
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
    """Return a row for each file without an answer."""
    return Table(["file", "error"], [list(problem) for problem in problems])


def write_parquet(path: Path, content: Table) -> bool:
    """Write a table as Parquet with typed columns; return false if pyarrow is not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return False
    kinds = {
        name: pyarrow.type_for_alias("string" if name in content.more else kind_of(name))
        for name in content.columns
    }
    rows = [
        {
            name: printable(cell) if isinstance(cell, str) else cell
            for name, cell in zip(content.columns, row, strict=True)
        }
        for row in content.rows
    ]
    made = pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(kinds))
    try:
        with replacing(path) as temporary:
            parquet.write_table(made, temporary)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
    return True


def kind_of(column: str) -> str:
    """Return the Arrow type of a result column."""
    if column in FLAGS:
        return "bool"
    if column.startswith(COUNTS):
        return "int64"
    return "float64" if column.startswith(NUMBERS) else "string"
