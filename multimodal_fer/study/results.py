"""Write the reports, the tables and the index of a study from the answers on disk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from multimodal_fer.errors import MultimodalFerError, OutputError
from multimodal_fer.fusion.baseline import FUSED, Baseline, change, resting
from multimodal_fer.report.writers import csv_text, write_output
from multimodal_fer.study import tables
from multimodal_fer.study.agreement import Pairs, agreement_table, emotions_of, measure
from multimodal_fer.study.ledger import Ledger
from multimodal_fer.study.page import Row, row_of, write_index
from multimodal_fer.study.sessions import Problem, Session
from multimodal_fer.types import Analysis

Say = Callable[[str], None]


@dataclass
class Gathered:
    """The contents of the tables and the index, collected session by session to save memory."""

    segments: tables.Table
    sessions: tables.Table
    labels: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    pairs: dict[str, list[Pairs]] = field(default_factory=dict)


def write_results(
    sessions: Sequence[Session],
    problems: Sequence[Problem],
    ledger: Ledger,
    *,
    faces: bool,
    pages: bool,
    say: Say,
) -> list[Problem]:
    """Write reports, tables and index, and return the problems with reports.

    `sessions` have a finished answer; `problems` are those of the other files.
    """
    new_problems: list[Problem] = []
    by_participant: dict[str, list[Session]] = {}
    for session in sessions:
        by_participant.setdefault(session.participant, []).append(session)
    more = tuple(sessions[0].more) if sessions else ()
    labels = ledger.load(sessions[0].file).labels if sessions else ()
    gathered = Gathered(
        tables.segment_table(more, labels), tables.session_table(more, labels), labels
    )
    for name in sorted(by_participant):
        answers = [(session, ledger.load(session.file)) for session in by_participant[name]]
        baseline = resting([analysis for _, analysis in answers])
        for session, analysis in answers:
            if pages and (problem := _report(session, analysis, baseline, ledger, faces)):
                new_problems.append(problem)
            _gather(session, analysis, baseline, ledger, gathered)
    _write_all(gathered, sorted([*problems, *new_problems]), ledger, pages=pages, say=say)
    return new_problems


def can_write_pages(say: Say) -> bool:
    """Return true if the libraries for pages are installed; otherwise say so."""
    from multimodal_fer.report.page import check_pages

    try:
        check_pages()
    except MultimodalFerError as error:
        say(f"no pages are written: {error}")
        return False
    return True


def _report(
    session: Session, analysis: Analysis, baseline: Baseline, ledger: Ledger, faces: bool
) -> Problem | None:
    """Write one session's report unless it is up to date."""
    from multimodal_fer.report.page import write_report

    if ledger.is_reported(session.file, baseline, faces):
        return None
    recording = None if session.kind == "text" else ledger.recording(session.file)
    path = ledger.report(session.file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_report(analysis, path, recording=recording, faces=faces, baseline=baseline)
    except OutputError:
        raise
    except MultimodalFerError as error:
        return Problem(session.file, f"its report cannot be written ({error})")
    ledger.report_finished(session.file, baseline, faces)
    return None


def _gather(
    session: Session, analysis: Analysis, baseline: Baseline, ledger: Ledger, gathered: Gathered
) -> None:
    gathered.segments.rows.extend(tables.segments_of(session, analysis, baseline))
    gathered.sessions.rows.append(tables.session_of(session, analysis))
    gathered.pairs.setdefault(session.participant, []).append(emotions_of(analysis))
    notable = None
    if FUSED in baseline.known:
        notable = sum(bool(delta.notable[FUSED]) for delta in change(analysis, baseline))
    report, video = (
        path.relative_to(ledger.results).as_posix()
        for path in (ledger.report(session.file), ledger.video(session.file))
    )
    shown = video if ledger.video(session.file).exists() else None
    gathered.rows.append(row_of(session, analysis, notable, report, shown))


def _write_all(
    gathered: Gathered, problems: Sequence[Problem], ledger: Ledger, *, pages: bool, say: Say
) -> None:
    results = ledger.results
    written = {
        "segments.csv": gathered.segments,
        "sessions.csv": gathered.sessions,
        "agreement.csv": agreement_table(gathered.pairs),
        "errors.csv": tables.error_table(problems),
    }
    for name, content in written.items():
        write_output(results / name, csv_text(content.columns, content.rows))
    names = list(written)
    if tables.write_parquet(results / "segments.parquet", gathered.segments):
        names.insert(1, "segments.parquet")
    else:
        (results / "segments.parquet").unlink(missing_ok=True)  # it belongs to an earlier run
        say("segments.parquet is not written: it needs pyarrow; pip install pyarrow")
    if pages:
        sessions = [pairs for one in gathered.pairs.values() for pairs in one]
        write_index(
            results / "index.html",
            ledger.recording("").resolve().name,
            gathered.rows,
            problems,
            measure(sessions),
            labels=gathered.labels,
            tables=names,
            about=ledger.about(),
        )
