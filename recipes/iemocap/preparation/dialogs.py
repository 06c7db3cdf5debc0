"""Read the media of one dialog's turns and store them: the piece of work that one process does at a time.

What cannot be read costs its turns that modality and is told; it never stops the others.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy
import torch

from multimodal_fer.errors import MediaError, MultimodalFerError
from multimodal_fer.media.pictures import FRAME_RATE
from recipes.iemocap.corpus.release import Dialog
from recipes.iemocap.corpus.turns import Turn, without_tags
from recipes.iemocap.preparation.speaker_faces import CROP_SIZE, Film, watch_speakers
from recipes.iemocap.preparation.store import (
    Record,
    Row,
    TurnMedia,
    dialog_path,
    make_row,
    read_record,
    write_dialog,
)
from recipes.iemocap.preparation.turn_sounds import compute_features, is_cut, read_samples

FORMAT = 1  # raised when anything is computed in another way, so that all is made anew

# Why a turn lacks a modality.
NO_WORDS = "no words"
NO_SOUND = "no sound file"
DAMAGED_SOUND = "the sound file cannot be read"
NO_VIDEO = "no video"
DAMAGED_VIDEO = "the video cannot be read"
AFTER_END = "the video ends before it"
NO_PICTURE = "no picture within it"
NO_FACE = "no face found"
PROCESS_ENDED = "the process that read it ended"
# It may be readable the next time: permissions, a network, memory.
WORTH_ANOTHER_TRY = {DAMAGED_SOUND, DAMAGED_VIDEO, PROCESS_ENDED}


class Job(NamedTuple):
    """One dialog to prepare."""

    dialog: Dialog
    turns: tuple[Turn, ...]
    modalities: tuple[str, ...]
    folder: Path  # of all that is prepared
    key: str

    @property
    def path(self) -> Path:
        return dialog_path(self.folder, self.dialog.name)

    @property
    def end(self) -> float:
        """Seconds until which the dialog has to be read."""
        return max(turn.end for turn in self.turns)


class Outcome(NamedTuple):
    """What came of a job."""

    record: Record
    seconds: float


@dataclass
class _Findings:
    """Sentences on what is wrong with files, in the order in which it was found."""

    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


# --- what was prepared already ---


def make_job(dialog: Dialog, turns: Sequence[Turn], modalities: Sequence[str], folder: Path) -> Job:
    """The job, with a key that changes with the settings, the turns and the files that are read."""
    files: list[Path] = []
    if "voice" in modalities:
        files += [dialog.sound(turn.id) for turn in turns]
    if "face" in modalities and dialog.video:
        files.append(dialog.video)
    sources = {
        "format": FORMAT,
        "modalities": list(modalities),
        "pictures": [FRAME_RATE, CROP_SIZE],
        "turns": [asdict(turn) for turn in turns],
        # Names within the session: a release that was moved as it is need not be read again.
        "files": {path.relative_to(dialog.folder).as_posix(): _stamp(path) for path in files},
    }
    key = hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()
    return Job(dialog, tuple(turns), tuple(modalities), folder, key)


def _stamp(path: Path) -> list[int] | None:
    """Size and time of a file; None where there is none to be read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def finished_record(job: Job) -> Record | None:
    """What an earlier sitting made of the same sources; None where there is something to do."""
    record = read_record(job.path)
    if record is None or record.key != job.key:
        return None
    reasons = {reason for row in record.rows for reason in row["missing"].values()}
    return None if reasons & WORTH_ANOTHER_TRY else record


# --- preparing ---


def prepare_dialog(job: Job) -> Outcome:
    """Read and store one dialog. Raises `OutputError` where it cannot be stored."""
    started = time.perf_counter()
    media = {turn.id: TurnMedia() for turn in job.turns}
    findings = _Findings()
    with one_thread():
        if "face" in job.modalities:
            _add_faces(job, media, findings)
        if "voice" in job.modalities:
            _add_sounds(job, media, findings)
    if "text" in job.modalities:
        _add_words(job, media)
    return Outcome(_store(job, media, findings), time.perf_counter() - started)


def give_up_dialog(job: Job, why: str) -> Outcome:
    """Store a dialog with its words only: a process that read it has ended, and so did the next one."""
    media = {
        turn.id: TurnMedia(
            missing={name: PROCESS_ENDED for name in job.modalities if name != "text"}
        )
        for turn in job.turns
    }
    if "text" in job.modalities:
        _add_words(job, media)
    error = f"{job.dialog.name}: sound and video were not read, as the process for it ended twice ({why})"
    return Outcome(_store(job, media, _Findings([error])), 0.0)


def _store(job: Job, media: Mapping[str, TurnMedia], findings: _Findings) -> Record:
    rows: list[Row] = [make_row(turn, media[turn.id], job.modalities) for turn in job.turns]
    record = Record(job.key, rows, findings.errors, findings.notes)
    write_dialog(job.path, record, [media[turn.id] for turn in job.turns])
    return record


def _add_words(job: Job, media: Mapping[str, TurnMedia]) -> None:
    for turn in job.turns:
        if not without_tags(turn.text):
            media[turn.id].missing["text"] = NO_WORDS


def _add_sounds(job: Job, media: Mapping[str, TurnMedia], findings: _Findings) -> None:
    for turn in job.turns:
        _add_sound(job.dialog.sound(turn.id), turn, media[turn.id], findings)
    lacking = [turn.id for turn in job.turns if media[turn.id].missing.get("voice") == NO_SOUND]
    if lacking:
        path, whole = job.dialog.sound(lacking[0]), job.dialog.whole_sound
        known = f", though there is {whole}" if whole.exists() else ""
        findings.errors.append(
            f"{path}: missing{known}, as the sound of {len(lacking)} of {len(job.turns)} turns of this "
            "dialog; unpack sentences/wav again"
        )


def _add_sound(path: Path, turn: Turn, media: TurnMedia, findings: _Findings) -> None:
    with _telling(path, findings):
        if not path.exists():
            media.missing["voice"] = NO_SOUND
            return
        samples = read_samples(path, turn.duration, findings.notes.append)
        media.samples, (media.mfcc, media.prosody) = samples, compute_features(samples)
        return
    media.missing["voice"] = DAMAGED_SOUND


def _add_faces(job: Job, media: Mapping[str, TurnMedia], findings: _Findings) -> None:
    film = _watch(job, findings)
    for turn in job.turns:
        own = media[turn.id]
        if film is None:
            own.missing["face"] = DAMAGED_VIDEO if job.dialog.video else NO_VIDEO
            continue
        watched = film.turns[turn.id]
        own.pictures = watched.pictures
        if watched.crops:
            own.crops, own.crop_times = numpy.stack(watched.crops), numpy.array(watched.times)
        elif watched.pictures:
            own.missing["face"] = NO_FACE
        else:
            own.missing["face"] = AFTER_END if turn.start > film.end else NO_PICTURE


def _watch(job: Job, findings: _Findings) -> Film | None:
    """What the dialog's video shows; None where there is none, or it cannot be read."""
    path = job.dialog.video
    if path is None:
        return None
    with _telling(path, findings):
        film = watch_speakers(path, job.turns, findings.notes.append)
        if is_cut(path):
            findings.errors.append(
                f"{path}: its end is missing, pictures end at {film.end:.1f} s; copy it again"
            )
        return film
    return None


@contextmanager
def _telling(path: Path, findings: _Findings) -> Iterator[None]:
    """Tell why a file cannot be read, and go on without it."""
    try:
        yield
    except MediaError as error:
        findings.errors.append(str(error))
    except MultimodalFerError:
        raise  # a face detector that cannot be loaded is no damage of this file
    except Exception as error:  # what decoders make of damaged files cannot be foreseen
        kind = type(error).__name__
        findings.errors.append(f"{path}: cannot be read ({kind}: {error}); copy it again")


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for each library: more of them fight with the other workers, and change last digits."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
