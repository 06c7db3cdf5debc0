"""Access to a prepared release.

prepared = load_prepared("runs/iemocap")
folds = make_folds(prepared.turns, "loso5")
prepared.waveform(folds[0].train[0])  # None if the turn has no sound
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from multimodal_fer.errors import DataError
from recipes.iemocap.corpus.turns import Rating, Turn
from recipes.iemocap.preparation.store import COMMAND, MANIFEST, MappedDialog, Row, dialog_path
from recipes.iemocap.preparation.turn_sounds import as_waveform


@dataclass(frozen=True)
class PreparedTurn:
    """A turn with its available media."""

    turn: Turn
    media: tuple[str, ...]  # available modalities
    missing: Mapping[str, str]  # reason by modality
    frames: int  # in which a face was searched
    faces: int  # found
    digest: str  # of its arrays

    @classmethod
    def from_row(cls, row: Row) -> "PreparedTurn":
        """Make it from a line of the manifest."""
        ratings = tuple(
            Rating(**rating | {"labels": tuple(rating["labels"])}) for rating in row["ratings"]
        )
        names = ("id", "start", "end", "label", "text", "valence", "arousal", "dominance")
        return cls(
            turn=Turn(**{name: row[name] for name in names}, ratings=ratings),
            media=tuple(row["media"]),
            missing=row["missing"],
            frames=row["pictures"],
            faces=row["faces"],
            digest=row["digest"],
        )


class Prepared:
    """A prepared release: all turns, and their media by turn id; a missing modality is None.

    Returned arrays are copies. The object can be sent to other processes, which map the files themselves.
    """

    def __init__(self, folder: Path, rows: Sequence[PreparedTurn], manifest_hash: str) -> None:
        self.folder = folder
        self.hash = manifest_hash  # sha256 of the manifest; identifies all words and media
        self.rows = {row.turn.id: row for row in rows}
        self._mapped: dict[str, MappedDialog] = {}

    @cached_property
    def turns(self) -> list[Turn]:
        """Return all turns, by dialog and start time."""
        return [row.turn for row in self.rows.values()]

    def turns_of(self, names: Iterable[str]) -> list[Turn]:
        """Return turns by their ids."""
        return [self.rows[name].turn for name in names]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_mapped": {}}  # pickle would copy the mapped files

    def has(self, turn: str, modality: str) -> bool:
        return modality in self.rows[turn].media

    def samples(self, turn: str) -> NDArray[numpy.int16] | None:
        """Return the sound (N,) as recorded: mono 16 kHz."""
        return self._rows_of("samples", turn, "voice")

    def waveform(self, turn: str) -> NDArray[numpy.float32] | None:
        """Return the sound (N,) in [-1, 1]."""
        samples = self.samples(turn)
        return None if samples is None else as_waveform(samples)

    def mfcc(self, turn: str) -> NDArray[numpy.float32] | None:
        """Return the MFCC (T, 39) of `multimodal_fer.voice.mfcc`, stored with 11 significant bits."""
        found = self._rows_of("mfcc", turn, "voice")
        return None if found is None else found.astype(numpy.float32)

    def prosody(self, turn: str) -> NDArray[numpy.float32] | None:
        """Return the 35 values of `multimodal_fer.voice.prosody`."""
        return self._rows_of("prosody", turn, "voice")

    def crops(self, turn: str) -> NDArray[numpy.uint8] | None:
        """Return the speaker's face in grey (C, 48, 48), cropped by `multimodal_fer.face.detection`."""
        return self._rows_of("crops", turn, "face")

    def crop_times(self, turn: str) -> NDArray[numpy.float64] | None:
        """Return the time of each crop (C,) in seconds from the start of the dialog."""
        return self._rows_of("crop_times", turn, "face")

    def words(self, turn: str) -> str | None:
        """Return the transcription, with its marks such as [LAUGHTER]."""
        return self.rows[turn].turn.text if self.has(turn, "text") else None

    def turns_by_dialog(self, modality: str) -> dict[str, list[str]]:
        """Return the ids of the turns with a modality, by dialog."""
        found: dict[str, list[str]] = {}
        for name, row in self.rows.items():
            if modality in row.media:
                found.setdefault(row.turn.dialog, []).append(name)
        return found

    def _rows_of(self, name: str, turn: str, modality: str) -> Any:
        return self._dialog(turn).rows_of(name, turn) if self.has(turn, modality) else None

    def _dialog(self, turn: str) -> MappedDialog:
        """Open the turn's dialog once, and check that it is the one in the manifest."""
        dialog = self.rows[turn].turn.dialog
        if dialog not in self._mapped:
            found = MappedDialog(dialog_path(self.folder, dialog))
            listed = {
                name: row.digest for name, row in self.rows.items() if row.turn.dialog == dialog
            }
            if {row["id"]: row["digest"] for row in found.record.rows} != listed:
                raise DataError(
                    f"{found.path}: differs from the dialog in {MANIFEST}; run {COMMAND} again"
                )
            self._mapped[dialog] = found
        return self._mapped[dialog]


def load_prepared(folder: str | Path) -> Prepared:
    """Load a prepared release; media are read when used. Raises `DataError` without a valid manifest."""
    path = Path(folder) / MANIFEST
    try:
        content = path.read_bytes()
        lines = content.decode("utf-8").split("\n")
        rows = [PreparedTurn.from_row(json.loads(line)) for line in lines if line]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); make it, or finish it, with {COMMAND}"
        ) from None
    return Prepared(Path(folder), rows, hashlib.sha256(content).hexdigest())
