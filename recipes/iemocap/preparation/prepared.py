"""A prepared release, as trainings read it.

prepared = load_prepared("runs/iemocap")
folds = deal_folds(prepared.turns, "loso5")
prepared.waveform(folds[0].train[0])  # None where the turn has no sound
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
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
    """A turn, and what there is of it."""

    turn: Turn
    media: tuple[str, ...]  # the modalities that it has
    missing: Mapping[str, str]  # why, by modality
    pictures: int  # in which a face was looked for
    faces: int  # in how many one was found
    digest: str  # of its arrays

    @classmethod
    def from_row(cls, row: Row) -> "PreparedTurn":
        """From a line of the manifest."""
        ratings = tuple(
            Rating(**rating | {"labels": tuple(rating["labels"])}) for rating in row["ratings"]
        )
        values = {name: row[name] for name in ("id", "start", "end", "label", "text")}
        numbers = {name: row[name] for name in ("valence", "arousal", "dominance")}
        return cls(
            turn=Turn(**values, **numbers, ratings=ratings),
            media=tuple(row["media"]),
            missing=row["missing"],
            pictures=row["pictures"],
            faces=row["faces"],
            digest=row["digest"],
        )


class Prepared:
    """A prepared release: all turns, and their media by a turn's id. A modality that is missing is None.

    What is given is a copy. It can be handed to other processes, which map the files for themselves.
    """

    def __init__(self, folder: Path, rows: Sequence[PreparedTurn], manifest_hash: str) -> None:
        self.folder = folder
        self.hash = manifest_hash  # sha256 of the manifest: equal where all words and media are
        self.rows = {row.turn.id: row for row in rows}
        self._mapped: dict[str, MappedDialog] = {}

    @cached_property
    def turns(self) -> list[Turn]:
        """All turns, dialog by dialog, as they start."""
        return [row.turn for row in self.rows.values()]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_mapped": {}}  # a map would be copied whole

    def has(self, turn: str, modality: str) -> bool:
        """Whether there is anything of a modality to learn from."""
        return modality in self.rows[turn].media

    def samples(self, turn: str) -> NDArray[numpy.int16] | None:
        """The sound (N,) as it was recorded: mono 16 kHz."""
        return self._rows_of("samples", turn, "voice")

    def waveform(self, turn: str) -> NDArray[numpy.float32] | None:
        """The sound (N,) in [-1, 1]."""
        samples = self.samples(turn)
        return None if samples is None else as_waveform(samples)

    def mfcc(self, turn: str) -> NDArray[numpy.float32] | None:
        """MFCC (T, 39) of `multimodal_fer.voice.mfcc`, kept with 11 bits."""
        found = self._rows_of("mfcc", turn, "voice")
        return None if found is None else found.astype(numpy.float32)

    def prosody(self, turn: str) -> NDArray[numpy.float32] | None:
        """The 35 values of `multimodal_fer.voice.prosody`."""
        return self._rows_of("prosody", turn, "voice")

    def crops(self, turn: str) -> NDArray[numpy.uint8] | None:
        """The speaker's face in grey (C, 48, 48), as `multimodal_fer.face.detection` crops it."""
        return self._rows_of("crops", turn, "face")

    def crop_times(self, turn: str) -> NDArray[numpy.float64] | None:
        """When each of `crops` was seen (C,): seconds on the dialog's clock, as the turn's own times."""
        return self._rows_of("crop_times", turn, "face")

    def words(self, turn: str) -> str | None:
        """What was said, as transcribed, with its marks such as [LAUGHTER]."""
        return self.rows[turn].turn.text if self.has(turn, "text") else None

    def _rows_of(self, name: str, turn: str, modality: str) -> Any:
        return self._dialog(turn).rows_of(name, turn) if self.has(turn, modality) else None

    def _dialog(self, turn: str) -> MappedDialog:
        """The turn's dialog, opened once, and seen to be the one that the manifest lists."""
        dialog = self.rows[turn].turn.dialog
        if dialog not in self._mapped:
            found = MappedDialog(dialog_path(self.folder, dialog))
            listed = {
                name: row.digest for name, row in self.rows.items() if row.turn.dialog == dialog
            }
            if {row["id"]: row["digest"] for row in found.record.rows} != listed:
                raise DataError(
                    f"{found.path}: is not the one that {MANIFEST} lists; run {COMMAND} again"
                )
            self._mapped[dialog] = found
        return self._mapped[dialog]


def load_prepared(folder: str | Path) -> Prepared:
    """What `prepare` wrote. Media are read when they are asked for."""
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
