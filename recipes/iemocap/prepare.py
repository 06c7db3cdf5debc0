"""Read the media of an IEMOCAP release once and store them for all trainings.

    python -m recipes.iemocap.prepare IEMOCAP_PATH runs/iemocap [workers=N] [allow_partial=1]
        [modalities=face,voice,text]

IEMOCAP_PATH is the unpacked release, which is only read. Its counts must be the published ones, unless
`allow_partial=1` accepts an incomplete release. `preparation/store.py` describes the written files.

The same command continues after an interruption, prepares changed dialogs again, and writes the same bytes
with any number of workers. An unreadable file leaves its turns without that modality; it is named at the end
and in the report.
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
from recipes.iemocap.corpus import published_counts
from recipes.iemocap.corpus.release import find_release, list_release, refuse_inside
from recipes.iemocap.corpus.turns import read_turns
from recipes.iemocap.learning.config import read_settings
from recipes.iemocap.preparation import dialogs, store
from recipes.iemocap.preparation.prepared import Prepared, load_prepared

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

MOST_WORKERS = 8  # by default; each takes about half a gigabyte, and the disk limits more
MOST_ERRORS = 20  # printed; the report has all


def default_workers() -> int:
    """Return the number of processors, up to `MOST_WORKERS`."""
    return min(MOST_WORKERS, len(processors()))


@dataclass(frozen=True)
class Settings:
    """The settings of a preparation."""

    workers: int = field(default_factory=default_workers)  # processes; 0 works in this one
    allow_partial: bool = False  # accept counts other than the published ones
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
    """Run the command."""
    try:
        prepare(source, output, read_settings(Settings, words))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command continues")


def prepare(source: str | Path, output: str | Path, settings: Settings) -> Prepared:
    """Prepare all dialogs of a release that are not prepared yet. Raises errors of this package only."""
    root = find_release(source)
    folder = refuse_inside(root, output)
    release = list_release(root, settings.modalities, allow_partial=settings.allow_partial)
    turns = {dialog.name: read_turns(dialog) for dialog in release.dialogs}
    every_turn = [turn for of_dialog in turns.values() for turn in of_dialog]
    found = published_counts.check_counts(every_turn, allow_partial=settings.allow_partial)
    notes = [*release.notes, *filter(None, [published_counts.off_scale(every_turn)])]
    if found:
        print(
            f"counts that differ from the published ones:\n{published_counts.differences_table(found)}"
        )
    prepare_folder(folder / store.DIALOGS)
    with locked(folder):
        jobs = [
            dialogs.make_job(dialog, turns[dialog.name], settings.modalities, folder)
            for dialog in release.dialogs
        ]
        preparation = _Preparation(jobs)
        preparation.run(settings.workers)
        preparation.write(folder, notes, found, settings)
    return load_prepared(folder)


class _Preparation:
    """The dialogs of a release, some of them prepared earlier."""

    def __init__(self, jobs: Sequence[dialogs.Job]) -> None:
        self.jobs = jobs
        self.started = time.monotonic()
        stored = {job.dialog.name: dialogs.finished_record(job) for job in jobs}
        self.records = {name: record for name, record in stored.items() if record}
        waiting = [job for job in jobs if job.dialog.name not in self.records]
        # Longest first, so that the workers finish at about the same time.
        self.waiting = sorted(waiting, key=lambda job: (-job.end, job.dialog.name))
        self.busy_seconds = 0.0  # of all workers

    def run(self, workers: int) -> None:
        """Prepare the waiting dialogs and print the progress."""
        if self.records:
            print(f"prepared already: {len(self.records)} of {len(self.jobs)} dialogs", flush=True)
        if self.waiting:
            manifest = self.waiting[0].folder / store.MANIFEST
            with store.writing(manifest):  # a manifest means that all dialogs are prepared
                manifest.unlink(missing_ok=True)
        total, done = sum(job.end for job in self.waiting), 0.0
        with contextlib.closing(
            run_in_processes(dialogs.prepare_dialog, self.waiting, workers)
        ) as results:
            for job, result in results:
                outcome = (
                    dialogs.give_up_dialog(job, result.how) if isinstance(result, Died) else result
                )
                self.records[job.dialog.name] = outcome.record
                self.busy_seconds += outcome.seconds
                done += job.end
                left = (time.monotonic() - self.started) * (total / done - 1)
                print(f"{self._progress(job, outcome)}  {_duration(left)} left", flush=True)

    def _progress(self, job: dialogs.Job, outcome: dialogs.Outcome) -> str:
        rows, errors = outcome.record.rows, len(outcome.record.errors)
        media = ", ".join(f"{name} {_having(rows, name)}" for name in job.modalities)
        return (
            f"dialog {len(self.records)}/{len(self.jobs)}  {job.dialog.name}  turns {len(rows)} ({media})"
            + (f"  errors {errors}" if errors else "")
        )

    def write(
        self,
        folder: Path,
        notes: list[str],
        found: list[published_counts.Difference],
        settings: Settings,
    ) -> None:
        """Write the manifest and the report, and print a summary."""
        records = [self.records[job.dialog.name] for job in self.jobs]
        rows = [row for record in records for row in record.rows]
        manifest = store.write_manifest(folder, rows)
        prepared_now = sum(len(job.turns) for job in self.waiting)
        late = [row["id"] for row in rows if row["missing"].get("face") == dialogs.AFTER_END]
        report = {
            "manifest_sha256": manifest,
            "dialogs": len(records),
            "turns": len(rows),
            "media": {name: _counts(rows, name) for name in settings.modalities},
            "after_the_end_of_the_video": late,
            "errors": _sentences(records, "errors"),
            "notes": notes + _sentences(records, "notes"),
            "other_than_published": [row._asdict() for row in found],
            "workers": settings.workers,
            "turns_prepared_in_this_sitting": prepared_now,
            "seconds": round(time.monotonic() - self.started, 1),
            "seconds_per_turn_and_worker": round(self.busy_seconds / max(prepared_now, 1), 3),
            # Other versions may decode or compute other last digits.
            "versions": {module.__name__: str(module.__version__) for module in (numpy, torch, av, cv2)},
            **provenance(store.COMMAND),
        }  # fmt: skip
        with store.writing(folder / store.REPORT):
            write_json(folder / store.REPORT, report)
        for line in _summary(folder, report):
            print(line)


def _sentences(records: Iterable[store.Record], kind: str) -> list[str]:
    return [sentence for record in records for sentence in getattr(record, kind)]


def _having(rows: Iterable[store.Row], modality: str) -> int:
    return sum(modality in row["media"] for row in rows)


def _counts(rows: Sequence[store.Row], modality: str) -> dict[str, Any]:
    reasons = Counter(row["missing"][modality] for row in rows if modality in row["missing"])
    return {"turns": _having(rows, modality), "missing": dict(reasons.most_common())}


def _summary(folder: Path, report: dict[str, Any]) -> Iterator[str]:
    for name, counts in report["media"].items():
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts["missing"].items())
        without = f"; missing: {reasons}" if reasons else ""
        yield f"{name}: {counts['turns']:,} of {report['turns']:,} turns{without}"
    errors = report["errors"]
    for error in errors[:MOST_ERRORS]:
        yield f"error: {error}"
    if len(errors) > MOST_ERRORS:
        yield f"and {len(errors) - MOST_ERRORS} more errors"
    if report["notes"]:
        yield f"notes: {len(report['notes'])}"
    yield (
        f"written: {folder}, {report['turns']:,} turns of {report['dialogs']} dialogs in "
        f"{_duration(report['seconds'])}, errors and notes in {store.REPORT}"
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder. Raises `OutputError` if the same command runs there; a kill releases the lock."""
    path = folder / ".lock"
    with store.writing(path):
        file = path.open("w")
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError(
                    f"{folder}: another {store.COMMAND} is running there; wait, or choose another folder"
                ) from None
            except OSError:
                pass  # some network file systems have no locks
        yield


if __name__ == "__main__":
    run_command(main, __doc__, 2, more=True)
