"""Run a study: analyse a folder of sessions and write answers, reports, tables and an index.

A run may be interrupted at any time; the next run continues.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from multimodal_fer.errors import DataError, MultimodalFerError
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.speech.whisper import find_offline_folders
from multimodal_fer.study.ledger import SESSIONS, VIDEOS, Ledger
from multimodal_fer.study.results import can_write_pages, write_results
from multimodal_fer.study.sessions import Found, Problem, Session, find_sessions
from multimodal_fer.study.tables import check_columns
from multimodal_fer.study.workers.job import Pool, Reply, Setup
from multimodal_fer.study.workers.local import run_local
from multimodal_fer.utils.files import file_hash, locked, prepare_folder

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """The index page of a run, or sessions.csv if no pages can be written.

    Also the number of sessions analysed now and kept from before, and the problems.
    """

    index: Path
    answered: int
    kept: int
    problems: tuple[Problem, ...]


def run_study(
    folder: str | os.PathLike[str],
    results: str | os.PathLike[str],
    *,
    participants: str | os.PathLike[str] | None = None,
    workers: int = 1,
    pool: Pool = run_local,
    faces: bool = True,
    video: bool = False,
    most_errors: int | None = None,
    bundle: str = "open7",
    speech_model: str = "auto",
    engine: str | None = None,
    language: str | None = None,
    frame_rate: float = 5.0,
    face: str | int = "largest",
    device: str = "auto",
    time_limit: float | None = None,
    say: Say = lambda _: None,
) -> Outcome:
    """Analyse all sessions of a folder; sessions finished by an earlier run are kept.

    Processes are spawned, so a script that calls this needs `if __name__ == "__main__":`.

    Parameters
    ----------
    folder : the folder of the sessions, searched with its subfolders; see `find_sessions`
    results : the folder for everything that is written
    participants : a CSV with the columns file, participant, task and any others
    workers : number of processes, each with its own models
    pool : `run_local`, or a `Cluster`
    faces : put images of faces into the reports
    video : also write annotated videos
    most_errors : stop if more files than this have failed
    bundle, speech_model, engine, language, frame_rate, face, device : as for `Analyzer`
    time_limit : seconds for one file, after which it fails; not on a cluster
    say : receives lines of progress

    Raises
    ------
    MultimodalFerError
        no session was found, the weights are unknown, or the results cannot be written. Problems with
        single files are in the outcome's `problems` and in errors.csv
    """
    results = prepare_folder(results)
    with locked(results):
        return _run(
            Path(folder), results, participants, workers, pool, faces, video, most_errors, say,
            Setup(
                folder=str(folder),
                bundle=bundle,
                speech_model=speech_model,
                engine=engine,
                language=language,
                frame_rate=frame_rate,
                face=face,
                device=device,
                time_limit=time_limit,
            ),
        )  # fmt: skip


def _run(
    folder: Path,
    results: Path,
    participants: str | os.PathLike[str] | None,
    workers: int,
    pool: Pool,
    faces: bool,
    video: bool,
    most_errors: int | None,
    say: Say,
    setup: Setup,
) -> Outcome:
    found = find_sessions(folder, participants, exclude=[results])
    if found.sessions:
        check_columns(found.sessions[0].more)
    for note in found.notes:
        say(note)
    pages = can_write_pages(say)
    weights = find_weights(setup.bundle)
    setup = replace(setup, bundle=str(weights))
    version = file_hash(weights / "config.json")
    ledger = Ledger(results, setup, version, _speech_identity(setup.speech_model))
    problems = list(found.problems)
    keys, waiting = _plan(found, ledger, problems)
    kept = len(keys) - len(waiting)
    if kept:
        say(f"{kept} of {len(found.sessions)} sessions are already finished")
    left = ledger.left_over({session.file for session in found.sessions})
    if left:
        say(
            f"the results hold {len(left)} answers whose files no longer exist, such as {left[0]}; "
            "delete them by hand if you do not need them"
        )
    if waiting:
        needs_none = all(session.kind == "text" for session in waiting)  # and loading takes time
        own = replace(setup, speech_model="none") if needs_none else setup
        replies = pool([session.file for session in waiting], own, workers)
        problems += _collect(replies, waiting, keys, ledger, most_errors, say)
    failed = {problem.file for problem in problems}
    done = [session for session in found.sessions if session.file not in failed]
    if video:
        problems += _draw(done, ledger, setup, pool, workers, say)
    problems += write_results(done, problems, ledger, faces=faces, pages=pages, say=say)
    answered = sum(session.file not in failed for session in waiting)
    index = results / ("index.html" if pages else "sessions.csv")
    return Outcome(index, answered, kept, tuple(sorted(problems)))


def _speech_identity(name: str) -> str:
    """Return a name or, for a local file, a hash that identifies the speech model."""
    place = Path(name)
    if name == "auto":
        return "tiny.en" if find_offline_folders() else "none"
    for path in (place / "model.bin", place):
        if path.is_file():
            return file_hash(path)
    return name


def _plan(
    found: Found, ledger: Ledger, problems: list[Problem]
) -> tuple[dict[str, str], list[Session]]:
    """Return the key of each file, and the sessions without a finished answer."""
    keys: dict[str, str] = {}
    waiting: list[tuple[int, Session]] = []
    for session in found.sessions:
        path = ledger.recording(session.file)
        try:
            keys[session.file] = ledger.key(session)
            if not ledger.is_finished(session, keys[session.file]):
                waiting.append((path.stat().st_size, session))
        except (MultimodalFerError, OSError) as error:
            problems.append(Problem(session.file, str(error).removeprefix(f"{path}: ")))
    # The largest first, so that no worker is left with a long file while the others are idle.
    waiting.sort(key=lambda pair: (-pair[0], pair[1].file))
    return keys, [session for _, session in waiting]


def _collect(
    replies: Iterable[Reply],
    waiting: Sequence[Session],
    keys: dict[str, str],
    ledger: Ledger,
    most_errors: int | None,
    say: Say,
) -> list[Problem]:
    """Write each answer as it arrives, and return the files that failed."""
    progress = Progress({session.file: ledger.recording(session.file) for session in waiting})
    failed: list[Problem] = []
    for reply in replies:
        if reply.record is not None:
            ledger.finish(reply.file, keys[reply.file], reply.record)
        else:
            failed.append(Problem(reply.file, reply.error or "no answer"))
        say(progress.line(reply.file, _describe(reply)))
        if most_errors is not None and len(failed) > most_errors:
            raise DataError(
                f"{len(failed)} files failed, the last one {reply.file} ({reply.error}); "
                "finished answers are kept"
            )
    return failed


def _draw(
    done: Sequence[Session], ledger: Ledger, setup: Setup, pool: Pool, workers: int, say: Say
) -> list[Problem]:
    """Draw the finished answers that have no video yet; return the videos that cannot be written.

    This comes after the analysis, so that nothing that happens while drawing can cost an answer.
    """
    files = [session.file for session in done if not ledger.is_drawn(session.file)]
    drawing = replace(
        setup, answers=str(ledger.results / SESSIONS), videos=str(ledger.results / VIDEOS)
    )
    problems = []
    for reply in pool(files, drawing, workers) if files else ():
        if reply.error is None:
            ledger.drawn(reply.file)
            say("; ".join([f"{reply.file}: drawn", *reply.notes]))
        else:
            problems.append(Problem(reply.file, f"its video cannot be written ({reply.error})"))
            say(f"{reply.file}: its video cannot be written ({reply.error})")
    return problems


def _describe(reply: Reply) -> str:
    if reply.error is not None:
        return f"{reply.file}: failed: {reply.error}"
    emotion = (reply.record or {})["emotion"] or "no score"
    return "; ".join([f"{reply.file}: {emotion}", *reply.notes])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it was removed meanwhile; its worker will say so
        return 0


class Progress:
    """The progress of a run; the remaining time is estimated from the sizes of the files."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self.sizes = {file: _size(path) + 1 for file, path in paths.items()}
        self.total = sum(self.sizes.values())
        self.done = self.count = 0
        self.start = time.monotonic()

    def line(self, file: str, text: str) -> str:
        """Return a line of progress after one more file."""
        self.done += self.sizes[file]
        self.count += 1
        head = f"[{self.count}/{len(self.sizes)}] {text}"
        seconds = (time.monotonic() - self.start) * (self.total - self.done) / self.done
        left = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
        return head if self.count == len(self.sizes) else f"{head} (about {left} left)"
