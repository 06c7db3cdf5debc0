"""The files of a prepared release.

    manifest.jsonl        a line per turn: times, words, labels, available media, reasons for missing ones
    report.json           settings, counts, and every file that could not be read
    dialogs/<dialog>.npz  sound, features and faces of a dialog's turns, concatenated

A dialog's file also holds its lines of the manifest. Files are written whole or not at all. Arrays are stored
without compression and memory-mapped: processes share them and read only what they use.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from numpy.lib import format as npy
from numpy.typing import NDArray

from multimodal_fer.errors import DataError, OutputError
from multimodal_fer.utils.files import file_hash, replacing, write_text
from multimodal_fer.voice.mfcc import MFCC_SIZE
from multimodal_fer.voice.prosody import PROSODY_SIZE
from recipes.iemocap.corpus.turns import Turn
from recipes.iemocap.preparation.speaker_faces import CROP_SIZE

MANIFEST, REPORT, DIALOGS = "manifest.jsonl", "report.json", "dialogs"
COMMAND = "python -m recipes.iemocap.prepare"
RECORD = "record"  # the array of a dialog's file that is JSON
LISTS = ("samples", "mfcc", "crops", "crop_times")  # arrays with any number of rows per turn

Row = dict[str, Any]  # a line of the manifest
Arrays = dict[str, NDArray[Any]]


@dataclass(eq=False)
class TurnMedia:
    """The media of one turn; arrays of a missing modality are empty."""

    samples: NDArray[numpy.int16] = field(default_factory=lambda: numpy.zeros(0, "i2"))
    mfcc: NDArray[numpy.float16] = field(default_factory=lambda: numpy.zeros((0, MFCC_SIZE), "f2"))
    prosody: NDArray[numpy.float32] = field(default_factory=lambda: numpy.zeros(PROSODY_SIZE, "f4"))
    crops: NDArray[numpy.uint8] = field(
        default_factory=lambda: numpy.zeros((0, CROP_SIZE, CROP_SIZE), "u1")
    )
    crop_times: NDArray[numpy.float64] = field(default_factory=lambda: numpy.zeros(0, "f8"))
    frames: int = 0  # in which a face was searched
    missing: dict[str, str] = field(default_factory=dict)  # reason by modality

    def digest(self) -> str:
        """Return a hash of all arrays of the turn."""
        found = hashlib.sha256()
        for array in (self.samples, self.mfcc, self.prosody, self.crops, self.crop_times):
            found.update(f"{array.shape}".encode())
            found.update(array.tobytes())
        return found.hexdigest()[:16]


class Record(NamedTuple):
    """The description in a dialog's file."""

    key: str  # of the settings and sources
    rows: list[Row]
    errors: list[str]  # sentences on files that could not be read
    notes: list[str]


# --- writing ---


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an `OSError` into an `OutputError` that names the file."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or choose another "
            "folder, and run the same command again: finished dialogs are kept"
        ) from None


def make_row(turn: Turn, media: TurnMedia, modalities: Sequence[str]) -> Row:
    """Return a turn's line of the manifest."""
    names = ("id", "session", "dialog", "speaker", "start", "end", "label")
    names += ("valence", "arousal", "dominance", "text")
    return {name: getattr(turn, name) for name in names} | {
        "media": [name for name in modalities if name not in media.missing],
        "missing": media.missing,
        "samples": len(media.samples),
        "pictures": media.frames,
        "faces": len(media.crops),
        "digest": media.digest(),
        "ratings": [asdict(rating) | {"labels": list(rating.labels)} for rating in turn.ratings],
    }


def write_dialog(path: Path, record: Record, media: Sequence[TurnMedia]) -> None:
    """Write all turns of a dialog into one file; equal content gives equal bytes."""
    arrays: Arrays = {"prosody": numpy.stack([turn.prosody for turn in media])}
    for name in LISTS:
        pieces = [getattr(turn, name) for turn in media]
        arrays[name] = numpy.concatenate(pieces)
        arrays[f"{name}_edges"] = numpy.cumsum([0, *map(len, pieces)]).astype(numpy.int64)
    text = json.dumps(record._asdict(), ensure_ascii=False, allow_nan=False)
    arrays[RECORD] = numpy.frombuffer(text.encode(), numpy.uint8)
    with writing(path), replacing(path) as temporary, temporary.open("wb") as file:
        numpy.savez(file, **arrays)  # type: ignore[arg-type]


def write_manifest(folder: Path, rows: Sequence[Row]) -> str:
    """Write the list of all turns once all dialogs are prepared; return its hash."""
    path = folder / MANIFEST
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    with writing(path):
        write_text(path, "".join(lines))
        return file_hash(path)


# --- reading ---


def dialog_path(folder: Path, dialog: str) -> Path:
    return folder / DIALOGS / f"{dialog}.npz"


def read_record(path: Path) -> Record | None:
    """Return the record of a dialog's file; None if there is no complete file."""
    try:
        return MappedDialog(path).record
    except DataError:
        return None


class MappedDialog:
    """The memory-mapped arrays of one dialog's file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._arrays = _map_arrays(path)
            self.record = Record(**json.loads(bytes(self._arrays[RECORD])))
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path}: cannot be read ({error}); run {COMMAND} again, which makes it anew"
            ) from None
        self._places = {row["id"]: place for place, row in enumerate(self.record.rows)}

    def rows_of(self, name: str, turn: str) -> NDArray[Any]:
        """Return a copy of a turn's rows of one of `LISTS`, or of its prosody."""
        place = self._places[turn]
        if name not in LISTS:
            return numpy.array(self._arrays[name][place])
        first, last = self._arrays[f"{name}_edges"][place : place + 2]
        return numpy.array(self._arrays[name][first:last])  # a copy is aligned and writable


def _map_arrays(path: Path) -> Arrays:
    """Map all arrays of an npz file at once: one file handle for any number of arrays."""
    mapped = numpy.memmap(path, numpy.uint8, "r")
    arrays = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for member in archive.infolist():
            # A local header has 30 bytes, then the member's name and extra fields.
            file.seek(member.header_offset + 26)
            sizes = numpy.frombuffer(file.read(4), "<u2")
            file.seek(member.header_offset + 30 + int(sizes.sum()))
            if member.compress_type != zipfile.ZIP_STORED or npy.read_magic(file) != (1, 0):
                raise ValueError(f"{member.filename} is stored in another format")
            shape, by_column, kind = npy.read_array_header_1_0(file)
            if by_column or kind.hasobject:
                raise ValueError(f"{member.filename} is stored in another format")
            first = file.tell()
            last = first + kind.itemsize * int(numpy.prod(shape, dtype=numpy.int64))
            array = mapped[first:last].view(kind).reshape(shape)
            arrays[member.filename.removesuffix(".npy")] = array
    return arrays
