"""Read corpora of emotional speech as labelled clips.

A corpus is a folder with `manifest.csv` (columns path, speaker, label; optional text and gender),
the RAVDESS release (`Actor_NN/03-01-…` as audio, `01-…` and `02-…` as video), and CREMA-D
(`1001_DFA_ANG_XX.wav`, as audio or video).
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from multimodal_fer.errors import DataError
from multimodal_fer.labels import CREMA_D, OPEN7, RAVDESS, SPEECH_TO_OPEN7

SOUNDS = {".wav", ".flac", ".ogg", ".mp3", ".mp4", ".flv", ".mkv", ".m4a"}
NEEDED = ("path", "speaker", "label")
KNOWN = {*SPEECH_TO_OPEN7, *OPEN7}


@dataclass(frozen=True)
class Clip:
    """One recording of one speaker. `label` is the corpus's own."""

    path: str
    corpus: str
    speaker: str
    label: str
    text: str = ""
    gender: str = ""  # male, female or, if unknown, empty


def read_corpus(folder: str | Path) -> list[Clip]:
    """Return all clips of a corpus in a fixed order.

    Raises `DataError` naming the file and row for an unknown label, a missing file or column.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder of a speech corpus")
    if (root / "manifest.csv").is_file():
        return _read_manifest(root)
    for read in (_read_ravdess, _read_crema_d):
        if clips := read(root):
            return clips
    raise DataError(
        f"{root}: expected manifest.csv, or the files of RAVDESS (Actor_01/03-01-….wav) or CREMA-D "
        "(1001_DFA_ANG_XX.wav), found none of them; give the folder that holds these"
    )


def _read_manifest(root: Path) -> list[Clip]:
    table = root / "manifest.csv"
    with table.open(newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines)
        if missing := [name for name in NEEDED if name not in (rows.fieldnames or ())]:
            raise DataError(
                f"{table}, row 1: expected the columns {', '.join(NEEDED)}, found no "
                f"{', '.join(missing)}; add them"
            )
        return [_clip_of_row(root, number, row) for number, row in enumerate(rows, start=2)]


def _clip_of_row(root: Path, number: int, row: dict[str, str]) -> Clip:
    where = f"{root / 'manifest.csv'}, row {number}"
    path = root / row["path"]
    if not path.is_file():
        raise DataError(f"{where}: {row['path']} is missing; unpack the corpus again")
    if row["label"] not in KNOWN:
        raise DataError(
            f"{where}: unknown label {row['label']!r}; known: {', '.join(sorted(KNOWN))}"
        )
    text, gender = row.get("text") or "", row.get("gender") or ""
    return Clip(str(path), root.name, row["speaker"], row["label"], text, gender)


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.suffix.lower() in SOUNDS)


def _read_ravdess(root: Path) -> list[Clip]:
    """Read files named modality-channel-emotion-intensity-statement-repetition-actor (Zenodo 1188976)."""
    statements = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
    clips = []
    for path in _files(root):
        parts = path.stem.split("-")
        if len(parts) != 7 or not all(part.isdecimal() and len(part) == 2 for part in parts):
            continue
        modality, channel, emotion, _, statement, _, actor = parts
        if channel != "01" or modality == "02":  # songs, and pictures without sound
            continue
        if not 1 <= int(emotion) <= len(RAVDESS):
            raise DataError(
                f"{path}: expected an emotion from 01 to {len(RAVDESS):02}, found {emotion}"
            )
        label = RAVDESS[int(emotion) - 1]
        text = statements.get(statement, "")
        gender = "male" if int(actor) % 2 else "female"
        clips.append(Clip(str(path), "ravdess", f"ravdess_{actor}", label, text, gender))
    return clips


def _read_crema_d(root: Path) -> list[Clip]:
    clips = []
    for path in _files(root):
        parts = path.stem.split("_")
        if len(parts) == 4 and parts[0].isdecimal() and parts[2] in CREMA_D:
            clips.append(Clip(str(path), "crema-d", f"crema-d_{parts[0]}", CREMA_D[parts[2]]))
    return clips


def deal_speakers(clips: Sequence[Clip], folds: int) -> dict[str, int]:
    """Return the fold of each speaker; within a corpus, pairs of speakers are assigned to folds in turn.

    RAVDESS numbers men and women in turn, so pairs balance the folds.
    """
    folds_of: dict[str, int] = {}
    for corpus in sorted({clip.corpus for clip in clips}):
        speakers = sorted({clip.speaker for clip in clips if clip.corpus == corpus})
        folds_of |= {name: (index // 2) % folds for index, name in enumerate(speakers)}
    return folds_of
