"""Read and store the media of one dialog's turns, as one job of a process.

An unreadable file leaves its turns without that modality and is reported; the other files are still read.
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
from multimodal_fer.media.frames import FRAME_RATE
from recipes.iemocap.corpus.release import Dialog
from recipes.iemocap.corpus.turns import Turn, without_tags
from recipes.iemocap.preparation import store
from recipes.iemocap.preparation.speaker_faces import CROP_SIZE, VideoFaces, find_speaker_faces
from recipes.iemocap.preparation.store import Record, TurnMedia
from recipes.iemocap.preparation.turn_sounds import compute_features, is_truncated, read_samples

FORMAT = 2  # increased when the stored content changes, so that all dialogs are prepared again

# Reasons for a missing modality.
NO_WORDS = "no words in the transcription"
NO_SOUND = "no sound file"
DAMAGED_SOUND = "the sound file cannot be read"
NO_VIDEO = "no video file"
DAMAGED_VIDEO = "the video file cannot be read"
AFTER_END = "the video ends before the turn"
NO_FRAME = "no video frame within the turn"
NO_FACE = "no face found"
PROCESS_ENDED = "the process that read the files ended"
# These may be readable next time: permissions, a network, memory.
RETRIED = {DAMAGED_SOUND, DAMAGED_VIDEO, PROCESS_ENDED}


class Job(NamedTuple):
    """One dialog to prepare."""

    dialog: Dialog
    turns: tuple[Turn, ...]
    modalities: tuple[str, ...]
    folder: Path  # of the prepared release
    key: str

    @property
    def path(self) -> Path:
        return store.dialog_path(self.folder, self.dialog.name)

    @property
    def end(self) -> float:
        """Return the time in seconds up to which the dialog has to be read."""
        return max(turn.end for turn in self.turns)


class Outcome(NamedTuple):
    """The result of a job."""

    record: Record
    seconds: float


@dataclass
class _Findings:
    """Sentences on problems with files."""

    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def make_job(dialog: Dialog, turns: Sequence[Turn], modalities: Sequence[str], folder: Path) -> Job:
    """Return the job, with a key that changes with the settings, the turns and the source files."""
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
        # Names within the session, so that a moved release need not be read again.
        "files": {path.relative_to(dialog.folder).as_posix(): _stamp(path) for path in files},
    }
    key = hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()
    return Job(dialog, tuple(turns), tuple(modalities), folder, key)


def _stamp(path: Path) -> list[int] | None:
    """Return size and time of a file; None if it cannot be accessed."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def finished_record(job: Job) -> Record | None:
    """Return the record of an earlier run on the same sources; None if the dialog must be prepared."""
    record = store.read_record(job.path)
    if record is None or record.key != job.key:
        return None
    reasons = {reason for row in record.rows for reason in row["missing"].values()}
    return None if reasons & RETRIED else record


def prepare_dialog(job: Job) -> Outcome:
    """Read and store one dialog. Raises `OutputError` if it cannot be stored."""
    started = time.perf_counter()
    media = {turn.id: TurnMedia() for turn in job.turns}
    findings = _Findings()
    with _one_thread():
        if "face" in job.modalities:
            _add_faces(job, media, findings)
        if "voice" in job.modalities:
            _add_sounds(job, media, findings)
    return Outcome(_store(job, media, findings), time.perf_counter() - started)


def give_up_dialog(job: Job, why: str) -> Outcome:
    """Store a dialog with its words only, after two processes that read it have ended."""
    missing = {name: PROCESS_ENDED for name in job.modalities if name != "text"}
    media = {turn.id: TurnMedia(missing=dict(missing)) for turn in job.turns}
    error = f"{job.dialog.name}: sound and video were not read: two processes ended on them ({why})"
    return Outcome(_store(job, media, _Findings([error])), 0.0)


def _store(job: Job, media: Mapping[str, TurnMedia], findings: _Findings) -> Record:
    for turn in job.turns if "text" in job.modalities else ():
        if not without_tags(turn.text):
            media[turn.id].missing["text"] = NO_WORDS
    rows = [store.make_row(turn, media[turn.id], job.modalities) for turn in job.turns]
    record = Record(job.key, rows, findings.errors, findings.notes)
    store.write_dialog(job.path, record, [media[turn.id] for turn in job.turns])
    return record


def _add_sounds(job: Job, media: Mapping[str, TurnMedia], findings: _Findings) -> None:
    for turn in job.turns:
        _add_sound(job.dialog.sound(turn.id), turn, media[turn.id], findings)
    lacking = [turn.id for turn in job.turns if media[turn.id].missing.get("voice") == NO_SOUND]
    if lacking:
        path, whole = job.dialog.sound(lacking[0]), job.dialog.whole_sound
        known = f", although {whole} exists" if whole.exists() else ""
        findings.errors.append(
            f"{path}: missing{known}; {len(lacking)} of {len(job.turns)} turns of this dialog have no sound "
            "file; unpack sentences/wav again"
        )


def _add_sound(path: Path, turn: Turn, media: TurnMedia, findings: _Findings) -> None:
    with _reporting(path, findings):
        if not path.exists():
            media.missing["voice"] = NO_SOUND
            return
        samples = read_samples(path, turn.duration, findings.notes.append)
        media.samples, (media.mfcc, media.prosody) = samples, compute_features(samples)
        return
    media.missing["voice"] = DAMAGED_SOUND


def _add_faces(job: Job, media: Mapping[str, TurnMedia], findings: _Findings) -> None:
    video = _read_video(job, findings)
    for turn in job.turns:
        own = media[turn.id]
        if video is None:
            own.missing["face"] = DAMAGED_VIDEO if job.dialog.video else NO_VIDEO
            continue
        found = video.turns[turn.id]
        own.frames = found.frames
        if found.crops:
            own.crops, own.crop_times = numpy.stack(found.crops), numpy.array(found.times)
        elif found.frames:
            own.missing["face"] = NO_FACE
        else:
            own.missing["face"] = AFTER_END if turn.start > video.end else NO_FRAME


def _read_video(job: Job, findings: _Findings) -> VideoFaces | None:
    path = job.dialog.video
    if path is None:
        return None
    with _reporting(path, findings):
        video = find_speaker_faces(path, job.turns, findings.notes.append)
        if is_truncated(path):
            findings.errors.append(
                f"{path}: incomplete, frames end at {video.end:.1f} s; copy it again"
            )
        return video
    return None


@contextmanager
def _reporting(path: Path, findings: _Findings) -> Iterator[None]:
    """Report an unreadable file as an error and continue."""
    try:
        yield
    except MediaError as error:
        findings.errors.append(str(error))
    except MultimodalFerError:
        raise  # such as a face detector that cannot be loaded
    except Exception as error:  # decoders raise any exception on damaged files
        kind = type(error).__name__
        findings.errors.append(f"{path}: cannot be read ({kind}: {error}); copy it again")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread per library: more would slow other workers down and change last digits."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
