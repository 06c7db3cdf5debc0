"""Read a release of IEMOCAP once, so that training reads it from memory.

    python -m recipes.iemocap.prepare IEMOCAP_PATH runs/iemocap [workers=N] [allow_partial=1]
        [modalities=face,voice,text]

IEMOCAP_PATH is the unpacked release, which is only ever read. Its counts must be the published ones, or
`allow_partial=1` says that a part will do. What is written is described in `store.py`, and `prepared.py`
reads it.

The same command goes on after a kill, makes again only what changed, and gives the same bytes with any number
of workers. A file that cannot be read costs its turns that modality, and is named at the end and in the
report.
"""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy
import torch

from multimodal_fer.errors import ConfigError, OutputError
from multimodal_fer.labels import MODALITIES
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import prepare_folder, write_json
from multimodal_fer.utils.process_pool import Died, processors, run_in_processes
from recipes.iemocap.corpus.published_counts import (
    Difference,
    check_contract,
    differences_table,
    off_scale,
)
from recipes.iemocap.corpus.release import find_release, list_release, refuse_inside
from recipes.iemocap.corpus.turns import read_turns
from recipes.iemocap.learning.settings import read_settings
from recipes.iemocap.preparation.dialogs import (
    AFTER_END,
    Job,
    Outcome,
    finished_record,
    give_up_dialog,
    make_job,
    prepare_dialog,
)
from recipes.iemocap.preparation.prepared import Prepared, load_prepared
from recipes.iemocap.preparation.store import (
    COMMAND,
    DIALOGS,
    MANIFEST,
    REPORT,
    Record,
    Row,
    write_manifest,
    writing,
)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

MOST_WORKERS = 8  # by default; each takes about half a gigabyte, and disks get no faster
SHOWN = 20  # errors on the screen; the report has them all


def default_workers() -> int:
    """As many processes as there are processors, up to a few."""
    return min(MOST_WORKERS, len(processors()))


@dataclass(frozen=True)
class Settings:
    """How a release is prepared."""

    workers: int = field(default_factory=default_workers)  # processes; 0 works in this one
    allow_partial: bool = False  # go on with other than the published counts
    modalities: tuple[str, ...] = MODALITIES

    def __post_init__(self) -> None:
        if not self.modalities or not set(self.modalities) <= set(MODALITIES):
            raise ConfigError(
                f"modalities: expected some of {','.join(MODALITIES)}, found "
                f"{','.join(self.modalities)!r}"
            )
        kept = tuple(name for name in MODALITIES if name in self.modalities)
        object.__setattr__(self, "modalities", kept)


def main(source: str, output: str, *words: str) -> None:
    """The command line."""
    try:
        prepare(source, output, read_settings(Settings, words))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")


def prepare(source: str | Path, output: str | Path, settings: Settings) -> Prepared:
    """Prepare a release, or what is not prepared yet. Raises errors of this package only."""
    root = find_release(source)
    folder = refuse_inside(root, output)
    release = list_release(root, settings.modalities, allow_partial=settings.allow_partial)
    turns = {dialog.name: read_turns(dialog) for dialog in release.dialogs}
    every_turn = [turn for of_dialog in turns.values() for turn in of_dialog]
    found = check_contract(every_turn, allow_partial=settings.allow_partial)
    notes = [*release.notes, *filter(None, [off_scale(every_turn)])]
    if found:
        print(f"not the published counts:\n{differences_table(found)}")
    prepare_folder(folder / DIALOGS)
    with alone_in(folder):
        jobs = [
            make_job(dialog, turns[dialog.name], settings.modalities, folder)
            for dialog in release.dialogs
        ]
        sitting = _Sitting(jobs)
        sitting.work_off(settings.workers)
        sitting.write(folder, notes, found, settings)
    return load_prepared(folder)


class _Sitting:
    """All dialogs of a release, some of them prepared in an earlier sitting."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self.started = time.monotonic()
        kept = {job.dialog.name: finished_record(job) for job in jobs}
        self.records = {name: record for name, record in kept.items() if record}
        waiting = [job for job in jobs if job.dialog.name not in self.records]
        # Longest first, so that no long one is left when all others are done.
        self.waiting = sorted(waiting, key=lambda job: (-job.end, job.dialog.name))
        self.busy_seconds = 0.0  # of all workers

    def work_off(self, workers: int) -> None:
        """Prepare what is not prepared, telling how it goes."""
        if self.records:
            print(f"prepared already: {len(self.records)} of {len(self.jobs)} dialogs", flush=True)
        if self.waiting:
            manifest = self.waiting[0].folder / MANIFEST
            with writing(manifest):  # where there is one, all that it lists is there
                manifest.unlink(missing_ok=True)
        total, done = sum(job.end for job in self.waiting), 0.0
        with contextlib.closing(run_in_processes(prepare_dialog, self.waiting, workers)) as results:
            for job, result in results:
                outcome = give_up_dialog(job, result.how) if isinstance(result, Died) else result
                self.records[job.dialog.name] = outcome.record
                self.busy_seconds += outcome.seconds
                done += job.end
                left = (time.monotonic() - self.started) * (total / done - 1)
                print(f"{self._progress(job, outcome)}  {_duration(left)} left", flush=True)

    def _progress(self, job: Job, outcome: Outcome) -> str:
        rows = outcome.record.rows
        media = ", ".join(f"{name} {_having(rows, name)}" for name in job.modalities)
        troubles = len(outcome.record.errors)
        return (
            f"dialog {len(self.records)}/{len(self.jobs)}  {job.dialog.name}  turns {len(rows)} ({media})"
            + (f"  errors {troubles}" if troubles else "")
        )

    def write(
        self, folder: Path, notes: list[str], found: list[Difference], settings: Settings
    ) -> None:
        """The manifest and the report; tell what is in them."""
        records = [self.records[job.dialog.name] for job in self.jobs]
        rows = [row for record in records for row in record.rows]
        manifest = write_manifest(folder, rows)
        prepared_now = sum(len(job.turns) for job in self.waiting)
        report = {
            "manifest_sha256": manifest,
            "dialogs": len(records),
            "turns": len(rows),
            "media": {name: _counts(rows, name) for name in settings.modalities},
            "after_the_end_of_the_video": _ids(rows, "face", AFTER_END),
            "errors": _sentences(records, "errors"),
            "notes": notes + _sentences(records, "notes"),
            "other_than_published": [row._asdict() for row in found],
            "workers": settings.workers,
            "turns_prepared_in_this_sitting": prepared_now,
            "seconds": round(time.monotonic() - self.started, 1),
            "seconds_per_turn_and_worker": round(self.busy_seconds / max(prepared_now, 1), 3),
            "versions": _versions(),
            **provenance(COMMAND),
        }
        with writing(folder / REPORT):
            write_json(folder / REPORT, report)
        for line in _summary(folder, report):
            print(line)


def _sentences(records: Iterable[Record], kind: str) -> list[str]:
    return [sentence for record in records for sentence in getattr(record, kind)]


def _having(rows: Iterable[Row], modality: str) -> int:
    return sum(modality in row["media"] for row in rows)


def _ids(rows: Iterable[Row], modality: str, reason: str) -> list[str]:
    return [row["id"] for row in rows if row["missing"].get(modality) == reason]


def _counts(rows: Sequence[Row], modality: str) -> dict[str, Any]:
    """How many turns have a modality, and how many lack it for which reason."""
    reasons = Counter(row["missing"][modality] for row in rows if modality in row["missing"])
    return {"turns": _having(rows, modality), "missing": dict(reasons.most_common())}


def _summary(folder: Path, report: dict[str, Any]) -> Iterator[str]:
    """What a person wants to know at the end."""
    for name, counts in report["media"].items():
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts["missing"].items())
        without = f"; without: {reasons}" if reasons else ""
        yield f"{name}: {counts['turns']:,} of {report['turns']:,} turns{without}"
    errors = report["errors"]
    for error in errors[:SHOWN]:
        yield f"error: {error}"
    if len(errors) > SHOWN:
        yield f"and {len(errors) - SHOWN} more errors"
    if report["notes"]:
        yield f"notes: {len(report['notes'])}"
    yield (
        f"written: {folder}, {report['turns']:,} turns of {report['dialogs']} dialogs in "
        f"{_duration(report['seconds'])}, errors and notes in {REPORT}"
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _versions() -> dict[str, str]:
    """Other ones may decode or compute other last digits."""
    return {module.__name__: str(module.__version__) for module in (numpy, torch, av, cv2)}


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Refuse to work where the same command is at work already; a kill frees the folder."""
    path = folder / ".lock"
    with writing(path):
        file = path.open("w")
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError(
                    f"{folder}: another {COMMAND} is at work there; wait for it, or choose another folder"
                ) from None
            except OSError:
                pass  # some network file systems have no locks
        yield


if __name__ == "__main__":
    run_command(main, __doc__, 2, more=True)
