"""Check what `analyze` is asked to write before the work, and write it afterwards."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from multimodal_fer.errors import MediaError, MultimodalFerError, OutputError
from multimodal_fer.utils.files import prepare_folder, printable

if TYPE_CHECKING:
    from multimodal_fer.types import Analysis

LONGEST_NAME = 240  # bytes; most file systems allow 255, and endings are added


class Wanted(NamedTuple):
    """The outputs of one command."""

    folder: Path | None
    formats: Sequence[str] | None
    report: Path | None
    video: Path | None
    faces: bool


def is_text(path: Path) -> bool:
    """Return true for a written answer."""
    return path.suffix.lower() == ".txt"


def check(files: Sequence[Path], wanted: Wanted) -> list[str]:
    """Return the output name of each file; raise if an output cannot be written, before hours of work."""
    from multimodal_fer.report import writers

    unknown = sorted(set(wanted.formats or ()) - set(writers.FORMATS))
    if unknown:
        raise typer.BadParameter(f"unknown format {unknown}; known: {sorted(writers.FORMATS)}")
    if wanted.formats and not wanted.folder:
        raise typer.BadParameter("--format writes files: also give their folder with --output")
    if (wanted.report or wanted.video) and len(files) > 1:
        raise typer.BadParameter(
            "--report and --video are for one recording; for many: multimodal-fer study FOLDER"
        )
    if wanted.report:
        from multimodal_fer.report.page import check_pages

        check_pages()
        _check_place(wanted.report, files[0])
    if wanted.video:
        from multimodal_fer.media.drawing import check_video

        if is_text(files[0]):
            raise MediaError(
                f"{printable(files[0])}: a written answer has no pictures; leave out --video"
            )
        _check_place(wanted.video, files[0])
        check_video(files[0], wanted.video)
    if wanted.report and wanted.video and wanted.report == wanted.video:
        raise OutputError(f"{wanted.report}: is both the report and the video; choose two names")
    if not wanted.folder:
        return [path.stem for path in files]
    prepare_folder(wanted.folder)
    return writers.name_outputs(files)


def _check_place(path: Path, recording: Path) -> None:
    """Raise unless a file can be written there."""
    if len(path.name.encode("utf-8", "surrogateescape")) > LONGEST_NAME:
        raise OutputError(f"{path.name[:40]}…: the name is too long; choose a shorter one")
    if path.is_dir():
        raise OutputError(f"{printable(path)}: is a folder; name a file in it")
    if path.exists() and recording.exists() and path.samefile(recording):
        raise OutputError(f"{printable(path)}: is the recording itself; choose another output file")
    prepare_folder(path.parent)


def write(
    answer: "Analysis", path: Path, stem: str, wanted: Wanted, tell: Callable[[str], None]
) -> list[str]:
    """Write all outputs of one answer; return a sentence about each that cannot be written."""
    problems: list[str] = []
    for step in (_write_files, _write_report, _write_video):
        try:
            step(answer, path, stem, wanted, tell)
        except MultimodalFerError as error:
            problems.append(str(error))
        except Exception as error:  # a finished answer must not be lost
            reason = f"unexpected {type(error).__name__}: {error}; please report it"
            problems.append(f"{printable(path)}: an output cannot be written ({reason})")
    return problems


def _write_files(
    answer: "Analysis", path: Path, stem: str, wanted: Wanted, tell: Callable[[str], None]
) -> None:
    from multimodal_fer.report import writers

    if wanted.folder:
        formats = wanted.formats or ["json"]
        for written in writers.write(answer, wanted.folder, stem, formats):
            tell(f"written: {printable(written)}")
        if answer.duration == 0 and (timed := [n for n in formats if n in writers.TIMED]):
            tell(f"{printable(path)}: a written answer has no times, so no {', '.join(timed)}")


def _write_report(
    answer: "Analysis", path: Path, stem: str, wanted: Wanted, tell: Callable[[str], None]
) -> None:
    if wanted.report:
        from multimodal_fer.report.page import write_report

        recording = None if is_text(path) else path
        written = write_report(answer, wanted.report, recording=recording, faces=wanted.faces)
        tell(f"written: {printable(written)}")


def _write_video(
    answer: "Analysis", path: Path, stem: str, wanted: Wanted, tell: Callable[[str], None]
) -> None:
    if wanted.video:
        from multimodal_fer.media.drawing import write_video

        for note in write_video(answer, path, wanted.video, faces=wanted.faces):
            tell(f"warning: {note}")
        tell(f"written: {printable(wanted.video)}")
