"""Where things lie in IEMOCAP (Busso et al. 2008): find the release, list its dialogs and their files.

The release comes from USC SAIL under a signed form and is only ever read here. It is accepted as the folder
that holds `Session1` to `Session5`, or as one that holds it under the name `IEMOCAP_full_release` or
`IEMOCAP`. Names that start with "." are left out: macOS puts binary `._` files beside the real ones.
"""

import os
import re
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from multimodal_fer.errors import DataError, OutputError
from multimodal_fer.labels import MODALITIES

ROOT_NAMES = ("IEMOCAP_full_release", "IEMOCAP")
SESSIONS = (1, 2, 3, 4, 5)
DIALOG = re.compile(r"Ses0([1-5])([FM])_(impro\d{2}[ab]?|script\d{2}_\d[ab]?)", re.ASCII)

EVALUATIONS = Path("dialog", "EmoEvaluation")
TRANSCRIPTIONS = Path("dialog", "transcriptions")
SOUNDS = Path("sentences", "wav")
DIALOG_SOUNDS = Path("dialog", "wav")
VIDEOS = Path("dialog", "avi", "DivX")

SCRIPTS = ("01_1", "01_2", "01_3", "02_1", "02_2", "03_1", "03_2")


@dataclass(frozen=True)
class Dialog:
    """One recording of two actors, and where its files lie."""

    name: str  # such as Ses01F_impro01
    folder: Path  # of its session
    has_sound: bool  # whether its turns' sound files are there
    video: Path | None  # both actors side by side; None where it is not there

    @property
    def session(self) -> int:
        return int(self.name[4])

    @property
    def evaluation(self) -> Path:
        """The summary of labels and ratings."""
        return self.folder / EVALUATIONS / f"{self.name}.txt"

    @property
    def transcription(self) -> Path:
        return self.folder / TRANSCRIPTIONS / f"{self.name}.txt"

    def sound(self, turn: str) -> Path:
        """The sound of one turn: 16 kHz, mono, cut exactly at its start and end."""
        return self.folder / SOUNDS / self.name / f"{turn}.wav"

    @property
    def whole_sound(self) -> Path:
        """Both microphones from start to end; only looked for, to tell what was not unpacked."""
        return self.folder / DIALOG_SOUNDS / f"{self.name}.wav"


@dataclass(frozen=True)
class Release:
    """The dialogs by session and name, and sentences on what is not there."""

    root: Path
    dialogs: tuple[Dialog, ...]
    notes: tuple[str, ...]


def published_dialogs() -> list[str]:
    """The names of all 151 dialogs: every scene was recorded twice, once for each wearer of the markers."""
    names = [
        f"Ses0{session}{wearer}_{scene}"
        for session in SESSIONS
        for wearer in "FM"
        for scene in (*_improvisations(session, wearer), *(f"script{part}" for part in SCRIPTS))
    ]
    return sorted([*names, "Ses05M_script01_1b"])


def _improvisations(session: int, wearer: str) -> list[str]:
    last = 7 if session == 1 else 8
    names = [f"impro{number:02}" for number in range(1, last + 1)]
    if (session, wearer) == (3, "M"):  # these two were recorded in two parts
        names = [name for name in names if name not in ("impro05", "impro08")]
        names += ["impro05a", "impro05b", "impro08a", "impro08b"]
    return names


# --- finding it ---


def find_release(folder: str | Path) -> Path:
    """The folder that holds the sessions, from any folder that the release may be given by.

    Raises `DataError` that says what was found instead.
    """
    root = Path(folder).expanduser()
    if re.fullmatch(r"Session\d", root.name) and "dialog" in names_in(root):
        raise DataError(
            f"{root}: is one session of IEMOCAP; give the folder that holds all five, {root.parent}"
        )
    # Some archives unpack into a folder of their own name once more.
    for place in (root, *(root / name for name in ROOT_NAMES), *_twice(root)):
        if _sessions_in(place):
            return place
    found = names_in(root)
    raise DataError(
        f"{root}: expected Session1 to Session5, or a folder {' or '.join(ROOT_NAMES)} that holds "
        f"them, found {_shortened(found) or 'nothing'}; give the folder of the unpacked IEMOCAP release"
    )


def _twice(root: Path) -> Iterator[Path]:
    return (root / outer / inner for outer in ROOT_NAMES for inner in ROOT_NAMES)


def _sessions_in(root: Path) -> list[int]:
    found = names_in(root) if _is_folder(root) else []
    return [session for session in SESSIONS if f"Session{session}" in found]


def _is_folder(path: Path) -> bool:
    """Whether there is a folder; `Path.is_dir` would take one that may not be read for a missing one."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(path, error) from None


def names_in(folder: Path) -> list[str]:
    """Names in a folder, sorted, without those that start with "."."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise _unreadable(folder, error) from None


def read_text(path: Path) -> str:
    """A text file of the release; bytes that are no UTF-8 become U+FFFD."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> DataError:
    """A sentence for what an operating system says about a file or folder."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: not found; give the folder of the unpacked IEMOCAP release")
    if isinstance(error, NotADirectoryError):
        return DataError(
            f"{path}: expected a folder, found a file; unpack the archive and give its folder"
        )
    if isinstance(error, PermissionError):
        return DataError(
            f"{path}: may not be read by this user (permission denied); allow it, or copy the "
            "release to where it may"
        )
    return DataError(f"{path}: cannot be read ({error.strerror}); check the disk or the network")


def _shortened(names: list[str], limit: int = 6) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


# --- listing it ---


def list_release(
    folder: str | Path,
    modalities: Collection[str] = MODALITIES,
    *,
    allow_partial: bool = False,
) -> Release:
    """The dialogs of a release that has all that `modalities` need.

    The labels are always needed. A single video that is not there is a note, since a missing picture is
    normal; a missing session, folder or text is an error that lists them all, unless `allow_partial`,
    which makes them notes.
    """
    root = find_release(folder)
    present = _sessions_in(root)
    problems = [
        f"{root / f'Session{session}'}: missing" for session in SESSIONS if session not in present
    ]
    dialogs: list[Dialog] = []
    notes: list[str] = []
    for session in present:
        listing = _Session(root / f"Session{session}", session, modalities)
        dialogs += listing.dialogs()
        problems += listing.problems
        notes += listing.notes
    if problems and not allow_partial:
        raise DataError(
            f"{root}: expected the whole of IEMOCAP, and this is missing or wrong:\n  "
            + "\n  ".join(problems)
            + "\nunpack the whole release again, or set allow_partial=true to go on with what there is"
        )
    if not dialogs:
        raise DataError(
            f"{root}: expected dialogs with labels in SessionN/{EVALUATIONS.as_posix()} and words in "
            f"SessionN/{TRANSCRIPTIONS.as_posix()}, found none; unpack the release again"
        )
    return Release(root, tuple(dialogs), (*problems, *notes))


class _Session:
    """The files of one session: dialogs of it, and what is wrong with it."""

    def __init__(self, folder: Path, number: int, modalities: Collection[str]) -> None:
        self.folder = folder
        self.number = number
        self.modalities = modalities
        self.problems: list[str] = []
        self.notes: list[str] = []

    def dialogs(self) -> list[Dialog]:
        """Those that have labels and words."""
        labelled = self._named(EVALUATIONS, ".txt", "labels", needed=True)
        written = self._named(TRANSCRIPTIONS, ".txt", "words", needed=True)
        heard = self._named(SOUNDS, "", "sound of the turns", needed="voice" in self.modalities)
        seen = self._named(VIDEOS, ".avi", "videos", needed="face" in self.modalities)
        names = sorted((labelled or set()) & (written or set()))
        if labelled is not None and written is not None:
            self._lacking(labelled, written, TRANSCRIPTIONS, ".txt", self.problems)
            self._lacking(written, labelled, EVALUATIONS, ".txt", self.problems)
        if heard is not None and "voice" in self.modalities:
            self._lacking(set(names), heard, SOUNDS, "", self.problems)
        if seen is not None and "face" in self.modalities:
            self._lacking(set(names), seen, VIDEOS, ".avi", self.notes)
        return [
            Dialog(
                name,
                self.folder,
                has_sound=name in (heard or ()),
                video=self.folder / VIDEOS / f"{name}.avi" if name in (seen or ()) else None,
            )
            for name in names
        ]

    def _named(self, place: Path, ending: str, what: str, needed: bool) -> set[str] | None:
        """The dialogs that have a file or folder in `place`; None where the place is not there."""
        folder = self.folder / place
        if not _is_folder(folder):
            if needed:
                self.problems.append(f"{folder}: missing ({what})")
            return None
        found = [
            name.removesuffix(ending)
            for name in names_in(folder)
            if name.startswith("Ses") and name.endswith(ending)
        ]
        for name in found:
            # Among sounds and videos a strange name hides nothing: what lacks one is told by name.
            if ending == ".txt" and not self._is_ours(name):
                self.problems.append(
                    f"{folder / (name + ending)}: expected the name of a dialog of session "
                    f"{self.number}, such as Ses0{self.number}F_impro01{ending}; remove it"
                )
        return {name for name in found if self._is_ours(name)}

    def _is_ours(self, name: str) -> bool:
        match = DIALOG.fullmatch(name)
        return match is not None and int(match[1]) == self.number

    def _lacking(
        self, expected: set[str], found: set[str], place: Path, ending: str, into: list[str]
    ) -> None:
        for name in sorted(expected - found):
            into.append(f"{self.folder / place / (name + ending)}: missing")


def refuse_inside(root: Path, target: str | Path) -> Path:
    """A place to write to, which must not lie in the release: it stays as it was published."""
    place = Path(target).expanduser()
    if place.resolve().is_relative_to(root.resolve()):
        raise OutputError(
            f"{place}: lies inside the IEMOCAP release {root}, which is only read; choose another place"
        )
    return place
