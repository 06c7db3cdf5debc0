"""The dialogs and files of an IEMOCAP release (Busso et al. 2008).

USC SAIL gives the release to those who signed its form; this recipe only reads it. Users may give the folder
with `Session1` to `Session5`, or a folder that holds it as `IEMOCAP_full_release` or `IEMOCAP`. Names that
start with "." are ignored, because macOS adds binary `._` files.
"""

import os
import re
import stat
from collections.abc import Collection
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
    """One recording of two actors, with the paths of its files."""

    name: str  # such as Ses01F_impro01
    folder: Path  # of its session
    has_sound: bool  # the folder of its turns' sound files exists
    video: Path | None  # both actors side by side; None if the file is missing

    @property
    def session(self) -> int:
        return int(self.name[4])

    @property
    def evaluation(self) -> Path:
        """Return the summary of labels and ratings."""
        return self.folder / EVALUATIONS / f"{self.name}.txt"

    @property
    def transcription(self) -> Path:
        return self.folder / TRANSCRIPTIONS / f"{self.name}.txt"

    def sound(self, turn: str) -> Path:
        """Return the sound file of one turn: 16 kHz, mono, cut exactly at its start and end."""
        return self.folder / SOUNDS / self.name / f"{turn}.wav"

    @property
    def whole_sound(self) -> Path:
        """Return the sound file of the whole dialog, of which only the existence is checked."""
        return self.folder / DIALOG_SOUNDS / f"{self.name}.wav"


@dataclass(frozen=True)
class Release:
    """The dialogs by session and name, and notes on missing files."""

    root: Path
    dialogs: tuple[Dialog, ...]
    notes: tuple[str, ...]


def published_dialogs() -> list[str]:
    """Return the names of all 151 dialogs: each scene was recorded once per wearer of the markers."""
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


# --- finding the release ---


def find_release(folder: str | Path) -> Path:
    """Return the folder that holds the sessions, from a folder as users give it.

    Raises `DataError` that names what was found instead.
    """
    root = Path(folder).expanduser()
    if re.fullmatch(r"Session\d", root.name) and "dialog" in names_in(root):
        raise DataError(
            f"{root}: is one session of IEMOCAP; give the folder that holds all five, {root.parent}"
        )
    # Some archives unpack into a folder of the same name within a folder.
    twice = (root / outer / inner for outer in ROOT_NAMES for inner in ROOT_NAMES)
    for place in (root, *(root / name for name in ROOT_NAMES), *twice):
        if _sessions_in(place):
            return place
    found = names_in(root)
    raise DataError(
        f"{root}: expected Session1 to Session5, or a folder {' or '.join(ROOT_NAMES)} that holds "
        f"them, found {_shortened(found) or 'nothing'}; give the folder of the unpacked IEMOCAP release"
    )


def _sessions_in(root: Path) -> list[int]:
    found = names_in(root) if _is_folder(root) else []
    return [session for session in SESSIONS if f"Session{session}" in found]


def _is_folder(path: Path) -> bool:
    """Check for a folder; unlike `Path.is_dir`, raise `DataError` if access is denied."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(path, error) from None


def names_in(folder: Path) -> list[str]:
    """Return the sorted names in a folder, without those that start with "."."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise _unreadable(folder, error) from None


def read_text(path: Path) -> str:
    """Read a text file of the release; bytes that are not UTF-8 become U+FFFD."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: not found; give the folder of the unpacked IEMOCAP release")
    if isinstance(error, NotADirectoryError):
        return DataError(
            f"{path}: expected a folder, found a file; unpack the archive and give its folder"
        )
    if isinstance(error, PermissionError):
        return DataError(
            f"{path}: may not be read by this user (permission denied); change the permissions, or copy "
            "the release to another folder"
        )
    return DataError(f"{path}: cannot be read ({error.strerror}); check the disk or the network")


def _shortened(names: list[str], limit: int = 6) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


# --- listing the dialogs ---


def list_release(
    folder: str | Path, modalities: Collection[str] = MODALITIES, *, allow_partial: bool = False
) -> Release:
    """Return the dialogs of a release after checking that the files of `modalities` exist.

    Labels and words are always needed. A single missing video is a note, because faces may be missing in
    training. Raises `DataError` that lists all missing sessions, folders and texts; with `allow_partial`
    these are notes.
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
            f"{root}: expected the complete IEMOCAP release; missing or wrong:\n  "
            + "\n  ".join(problems)
            + "\nunpack the whole release again, or set allow_partial=true to continue without these"
        )
    if not dialogs:
        raise DataError(
            f"{root}: expected dialogs with labels in SessionN/{EVALUATIONS.as_posix()} and words in "
            f"SessionN/{TRANSCRIPTIONS.as_posix()}, found none; unpack the release again"
        )
    return Release(root, tuple(dialogs), (*problems, *notes))


class _Session:
    """The dialogs of one session, and the problems found in its files."""

    def __init__(self, folder: Path, number: int, modalities: Collection[str]) -> None:
        self.folder, self.number, self.modalities = folder, number, modalities
        self.problems: list[str] = []
        self.notes: list[str] = []

    def dialogs(self) -> list[Dialog]:
        """Return the dialogs that have labels and words."""
        labels = self._dialogs_in(EVALUATIONS, ".txt", "labels", needed=True)
        words = self._dialogs_in(TRANSCRIPTIONS, ".txt", "words", needed=True)
        needs_sound, needs_video = "voice" in self.modalities, "face" in self.modalities
        sounds = self._dialogs_in(SOUNDS, "", "sound of the turns", needs_sound)
        videos = self._dialogs_in(VIDEOS, ".avi", "videos", needs_video)
        names = (labels or set()) & (words or set())
        if labels is not None and words is not None:
            self.problems += self._missing(labels - words, TRANSCRIPTIONS, ".txt")
            self.problems += self._missing(words - labels, EVALUATIONS, ".txt")
        if sounds is not None and needs_sound:
            self.problems += self._missing(names - sounds, SOUNDS, "")
        if videos is not None and needs_video:
            self.notes += self._missing(names - videos, VIDEOS, ".avi")
        return [
            Dialog(
                name,
                self.folder,
                has_sound=name in (sounds or ()),
                video=self.folder / VIDEOS / f"{name}.avi" if name in (videos or ()) else None,
            )
            for name in sorted(names)
        ]

    def _dialogs_in(self, place: Path, ending: str, what: str, needed: bool) -> set[str] | None:
        """Return the dialogs with a file or folder in `place`; None if `place` does not exist."""
        folder = self.folder / place
        if not _is_folder(folder):
            if needed:
                self.problems.append(f"{folder}: missing ({what})")
            return None
        dialogs = set()
        for file in names_in(folder):
            if not (file.startswith("Ses") and file.endswith(ending)):
                continue
            name = file.removesuffix(ending)
            match = DIALOG.fullmatch(name)
            if match and int(match[1]) == self.number:
                dialogs.add(name)
            # An unknown sound or video is harmless: dialogs without one are reported by name.
            elif ending == ".txt":
                self.problems.append(
                    f"{folder / file}: expected the name of a dialog of session {self.number}, such as "
                    f"Ses0{self.number}F_impro01{ending}; remove it"
                )
        return dialogs

    def _missing(self, names: set[str], place: Path, ending: str) -> list[str]:
        return [f"{self.folder / place / (name + ending)}: missing" for name in sorted(names)]


def refuse_inside(root: Path, target: str | Path) -> Path:
    """Return `target` as a path. Raises `OutputError` if it lies in the release, which is only read."""
    place = Path(target).expanduser()
    if place.resolve().is_relative_to(root.resolve()):
        raise OutputError(
            f"{place}: lies inside the IEMOCAP release {root}, which is only read; choose another folder"
        )
    return place
