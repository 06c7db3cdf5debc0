"""Find the sessions in a folder and their participants and tasks, from file names or from a table."""

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from multimodal_fer.errors import DataError, MediaError

VIDEO = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".wmv"}
AUDIO = {".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".oga", ".opus", ".wma", ".aif", ".aiff"}
TEXT = ".txt"
KNOWN = {*VIDEO, *AUDIO, TEXT}
COLUMNS = ("file", "participant", "task")

# P03, participant-12, 007: letters, then digits.
IDENTIFIER = re.compile(r"[^\W\d_]*[ _-]?\d+")
# P03_checkout, P03-task2, P03 checkout.
NAMED = re.compile(rf"({IDENTIFIER.pattern})[ _-]+(\S.*)")
# With a number, such as task2, these name a task, not a participant.
TASKS = (
    "task",
    "question",
    "q",
    "answer",
    "session",
    "part",
    "clip",
    "recording",
    "video",
    "audio",
)


class Session(NamedTuple):
    """One recording or written answer; `file` is relative to the study's folder, with slashes."""

    file: str
    participant: str
    task: str
    more: dict[str, str]  # further columns of the study's table

    @property
    def kind(self) -> str:
        """Return "video", "audio" or "text"."""
        ending = Path(self.file).suffix.lower()
        return "text" if ending == TEXT else "audio" if ending in AUDIO else "video"


class Problem(NamedTuple):
    """A file or folder without an answer, and the reason as a sentence."""

    file: str
    reason: str


class Found(NamedTuple):
    """The sessions of a folder in the order of their names, problems with other files, and notes."""

    sessions: list[Session]
    problems: list[Problem]
    notes: list[str]


def find_sessions(
    folder: str | os.PathLike[str],
    table: str | os.PathLike[str] | None = None,
    *,
    exclude: Sequence[Path] = (),
) -> Found:
    """Search a folder and its subfolders for recordings and written answers.

    Parameters
    ----------
    folder : hidden files and folders are skipped, and so are files that are not video, audio or `.txt`
    table : a CSV with the columns file, participant, task; further columns are copied into the results.
        Files that are not in the table are named by `name_session`
    exclude : folders to skip, such as the results of an earlier run

    Raises
    ------
    MediaError
        the folder does not exist or has no sessions
    DataError
        the table cannot be used
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MediaError(f"{folder}: expected a folder of sessions, found none; check the spelling")
    rows = {} if table is None else read_table(table)
    skipped = [*exclude, *([] if table is None else [Path(table)])]
    files, problems, ignored = _walk(folder, {Path(os.path.realpath(path)) for path in skipped})
    if not files:
        reason = f" ({problems[0].file}: {problems[0].reason})" if problems else ""
        raise MediaError(
            f"{folder}: holds no video, audio or .txt file{reason}; name the folder of the recordings"
        )
    named = _match(rows, files, table)
    blank = dict.fromkeys(next(iter(rows.values())).more if rows else (), "")
    sessions = [named.get(file) or name_session(file)._replace(more=blank) for file in files]
    notes = []
    if ignored:
        notes.append(f"files skipped (not video, audio or .txt): {ignored}")
    if table is not None:
        name, missing = Path(table).name, sorted(set(named) - set(files))
        reason = f"listed in {name}, but the folder has no such file"
        problems += [Problem(file, reason) for file in missing]
        unlisted = len(set(files) - set(named))
        if unlisted:
            notes.append(f"files not listed in {name}, named by their file names: {unlisted}")
    return Found(sessions, problems, notes)


def name_session(file: str) -> Session:
    """Return a session with the participant and task that its file and folder names give.

    `P03_checkout.mp4`, `P03-task2.wav` and `P03 checkout.txt` name both: letters and digits, then a space,
    hyphen or underscore, then the task. In `P03/checkout.mp4` the folder names the participant, in
    `checkout/P03.mp4` the task. If no name looks like a participant's number, the participant is the
    file's folder or, without a folder, the part before the first underscore or hyphen.
    """
    path = Path(file)
    stem, parents = path.stem, path.parent.parts
    both = NAMED.fullmatch(stem)
    if both and not _is_task(both[1]):
        return Session(file, both[1], both[2], {})
    folder = next((part for part in reversed(parents) if _is_person(part)), None)
    if folder is None and _is_person(stem):
        return Session(file, stem, parents[-1] if parents else "", {})
    if folder is not None or parents:
        return Session(file, folder or parents[-1], stem, {})
    participant, _, task = re.sub("[-_]", "\0", stem, count=1).partition("\0")
    return Session(file, participant, task, {})


def _is_person(name: str) -> bool:
    return bool(IDENTIFIER.fullmatch(name)) and not _is_task(name)


def _is_task(name: str) -> bool:
    return re.sub(r"[\d _-]+$", "", name).lower() in TASKS


def read_table(path: str | os.PathLike[str]) -> dict[str, Session]:
    """Read the sessions by file from a CSV with the columns file, participant, task and any others.

    Raises `DataError` if the table cannot be used.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: expected a CSV in UTF-8, but it cannot be read ({error})"
        ) from None
    heading = text.partition("\n")[0]  # spreadsheet programs of some countries write semicolons
    delimiter = ";" if heading.count(";") > heading.count(",") else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found = tuple(reader.fieldnames or ())
    if not set(COLUMNS) <= set(found) or len(set(found)) < len(found):
        raise DataError(
            f"{path}: expected the columns {', '.join(COLUMNS)}, each once; found {', '.join(found)}"
        )
    rows: dict[str, Session] = {}
    try:
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{path}: line {reader.line_num} has more or fewer fields than the heading; "
                    "put fields that contain commas into quotes"
                )
            file = row["file"].strip().replace("\\", "/").removeprefix("./")
            if file in rows:
                raise DataError(f"{path}: lists {file} twice; keep one of the lines")
            more = {name: value for name, value in row.items() if name not in COLUMNS}
            rows[file] = Session(file, row["participant"].strip(), row["task"].strip(), more)
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num} is not valid CSV ({error})") from None
    if not rows:
        raise DataError(f"{path}: lists no file; write a line for each session under the heading")
    return rows


def _walk(folder: Path, exclude: set[Path]) -> tuple[list[str], list[Problem], int]:
    """Return the files of all sessions, problems, and the number of other files."""
    files: list[str] = []
    problems: list[Problem] = []
    ignored = 0

    def note_problem(error: OSError) -> None:
        place = Path(error.filename).relative_to(folder).as_posix()
        reason = f"the folder cannot be opened ({error.strerror}); check its permissions"
        problems.append(Problem(place, reason))

    for place, folders, names in os.walk(folder, onerror=note_problem):
        here = Path(place)

        def is_skipped(name: str, here: Path = here) -> bool:
            return name.startswith(".") or Path(os.path.realpath(here / name)) in exclude

        folders[:] = sorted(name for name in folders if not is_skipped(name))
        for name in names:
            if is_skipped(name):
                continue
            file = (here / name).relative_to(folder).as_posix()
            if Path(name).suffix.lower() not in KNOWN:
                ignored += 1
            elif os.path.isfile(here / name):
                files.append(file)
            else:
                reason = "cannot be read: it is a broken link or a special file"
                problems.append(Problem(file, reason))
    return sorted(files), problems, ignored


def _match(
    rows: Mapping[str, Session], files: Sequence[str], table: str | os.PathLike[str] | None
) -> dict[str, Session]:
    """Return the table's session of each file; a bare name is enough if only one file has it."""
    named: dict[str, Session] = {}
    for row, session in rows.items():
        alike = [file for file in files if file.rsplit("/", 1)[-1] == row]
        file = alike[0] if row not in files and len(alike) == 1 else row
        if file in named:
            raise DataError(f"{table}: lists {file} twice; keep one of the lines")
        named[file] = session._replace(file=file)
    return named
