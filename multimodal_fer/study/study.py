"""A folder of sessions in; answers, reports, tables, an index out. It may end at any moment and goes on."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from multimodal_fer.errors import DataError, MultimodalFerError
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.speech.whisper import find_offline_folders
from multimodal_fer.study.ledger import VIDEOS, Ledger
from multimodal_fer.study.results import write_results
from multimodal_fer.study.sessions import Found, Problem, Session, find_sessions
from multimodal_fer.study.tables import check_columns
from multimodal_fer.study.workers.job import Pool, Reply, Setup
from multimodal_fer.study.workers.local import run_local
from multimodal_fer.utils.files import file_hash, prepare_folder

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a run left: where the index is, how many sessions were answered now and before, and problems."""

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
    say: Say = lambda _: None,
) -> Outcome:
    """Analyse all sessions of a folder; those finished by an earlier run are kept.

    Processes are spawned, so a script that calls this needs `if __name__ == "__main__":`.

    Parameters
    ----------
    folder : searched with its subfolders; see `find_sessions` for what is taken and how it is named
    results : folder for all that is written
    participants : a CSV with the columns file, participant, task and any others
    workers : processes, each with models of its own
    pool : where they run: `run_local`, or a `Cluster`
    faces : whether pictures of faces are put into the reports
    video : whether annotated videos are written as well
    most_errors : end the run when more files than this have failed
    bundle, speech_model, engine, language, frame_rate, face, device : as for `Analyzer`
    say : takes lines of progress

    Raises
    ------
    MultimodalFerError
        nothing can be done at all: no session, unknown weights, results that cannot be written. What is
        wrong with single files is in the outcome's `problems`, and in errors.csv
    """
    folder, results = Path(folder), prepare_folder(results)
    found = find_sessions(folder, participants, without=[results])
    if found.sessions:
        check_columns(found.sessions[0].more)
    for note in found.notes:
        say(note)
    weights = find_weights(bundle)
    setup = Setup(
        folder=str(folder),
        bundle=str(weights),
        speech_model=speech_model,
        engine=engine,
        language=language,
        frame_rate=frame_rate,
        face=face,
        device=device,
        videos=str(results / VIDEOS) if video else None,
    )
    version = file_hash(weights / "config.json")
    ledger = Ledger(results, setup, version, _speech_identity(speech_model))
    problems = list(found.problems)
    keys, waiting = _plan(found, ledger, problems)
    kept = len(keys) - len(waiting)
    if kept:
        say(f"{kept} of {len(found.sessions)} sessions are finished already")
    left = ledger.left_over({session.file for session in found.sessions})
    if left:
        say(
            f"{len(left)} answers are of files that are gone, such as {left[0]}; delete them by hand"
        )
    if all(session.kind == "text" for session in waiting):
        setup = replace(setup, speech_model="none")  # not worth loading
    _work_off(waiting, keys, setup, ledger, pool, workers, problems, most_errors, say)
    failed = {problem.file for problem in problems}
    done = [session for session in found.sessions if session.file not in failed]
    problems += write_results(done, problems, ledger, faces=faces, say=say)
    answered = sum(session.file not in failed for session in waiting)
    return Outcome(results / "index.html", answered, kept, tuple(sorted(problems)))


def _speech_identity(name: str) -> str:
    """The speech model by its content where it lies here, so that another one of this name is told apart."""
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
    """The key of each file, and the sessions that have no finished answer, the largest first."""
    keys: dict[str, str] = {}
    waiting: list[tuple[int, Session]] = []
    for session in found.sessions:
        path = Path(ledger.setup.folder, session.file)
        try:
            keys[session.file] = ledger.key(session)
            if not ledger.is_finished(session, keys[session.file]):
                waiting.append((path.stat().st_size, session))
        except (MultimodalFerError, OSError) as error:
            problems.append(Problem(session.file, str(error).removeprefix(f"{path}: ")))
    # The largest first: else the last file may keep one worker busy while the others have nothing to do.
    waiting.sort(key=lambda pair: (-pair[0], pair[1].file))
    return keys, [session for _, session in waiting]


def _work_off(
    waiting: Sequence[Session],
    keys: dict[str, str],
    setup: Setup,
    ledger: Ledger,
    pool: Pool,
    workers: int,
    problems: list[Problem],
    most_errors: int | None,
    say: Say,
) -> None:
    """Let the workers answer what is not finished, and keep each answer as it comes."""
    if not waiting:
        return
    clock = Clock([Path(setup.folder, session.file) for session in waiting])
    failed = 0
    for reply in pool([session.file for session in waiting], setup, workers):
        if reply.record is not None:
            ledger.finish(reply.file, keys[reply.file], reply.record)
        else:
            failed += 1
            problems.append(Problem(reply.file, reply.error or "no answer"))
        say(clock.tell(Path(setup.folder, reply.file), _describe(reply)))
        if most_errors is not None and failed > most_errors:
            raise DataError(
                f"{failed} files failed, the last one {reply.file} ({reply.error}); "
                "answers that were finished are kept"
            )


def _describe(reply: Reply) -> str:
    if reply.error is not None:
        return f"{reply.file}: failed: {reply.error}"
    emotion = (reply.record or {})["emotion"] or "nothing to judge"
    return f"{reply.file}: {emotion}" + "".join(f"; {note}" for note in reply.notes)


class Clock:
    """How far a run is, and how long the rest may take, judged by the sizes of the files."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.sizes = {path: path.stat().st_size + 1 for path in paths}
        self.total = sum(self.sizes.values())
        self.done = self.count = 0
        self.start = time.monotonic()

    def tell(self, path: Path, what: str) -> str:
        """A line of progress after one more file."""
        self.done += self.sizes[path]
        self.count += 1
        head = f"[{self.count}/{len(self.sizes)}] {what}"
        seconds = (time.monotonic() - self.start) * (self.total - self.done) / self.done
        left = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
        return head if self.count == len(self.sizes) else f"{head} (about {left} left)"
