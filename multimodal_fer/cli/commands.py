"""The command `multimodal-fer`: each verb is one library call. JSON on stdout, all else on stderr."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from multimodal_fer import __version__
from multimodal_fer.cli import study
from multimodal_fer.cli import weights as cli_weights
from multimodal_fer.cli.options import (
    FAILED,
    INTERRUPTED,
    Bundle,
    Device,
    Engine,
    Face,
    FrameRate,
    Language,
    SpeechModel,
    errors,
    explained,
    say,
    say_error,
)
from multimodal_fer.errors import MultimodalFerError
from multimodal_fer.labels import MODALITIES

if TYPE_CHECKING:
    from multimodal_fer.analyzer import Analyzer
    from multimodal_fer.types import Analysis, Segment

STAGES = {"listen": "listening", "watch": "watching"}

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="What people express in recorded answers: from the face, the voice and the words together.",
)


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Shared options."""
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def analyze(
    files: Annotated[
        list[Path], typer.Argument(help="Video or audio files, or .txt files with written answers.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write files to this folder instead of stdout."),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            help="With --output: json (default), csv, srt, vtt, eaf, textgrid. Repeatable.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page to look at: FILE.html. For one recording.")
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(help="Write the recording with the answer drawn in. For one recording."),
    ] = None,
    no_faces: Annotated[
        bool, typer.Option("--no-faces", help="No faces in the report, no boxes in the video.")
    ] = False,
    table: Annotated[bool, typer.Option("--table", help="Print a table instead of JSON.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no warnings on stderr.")
    ] = False,
    bundle: Bundle = "open7",
    speech_model: SpeechModel = "auto",
    engine: Engine = None,
    language: Language = None,
    frame_rate: FrameRate = 5.0,
    face: Face = "largest",
    device: Device = "auto",
) -> None:
    """Say what recorded or written answers express."""
    from multimodal_fer.report import writers
    from multimodal_fer.utils import files as utils_files

    chosen = formats or ["json"]
    unknown = sorted(set(chosen) - set(writers.FORMATS))
    if unknown:
        raise typer.BadParameter(f"unknown format {unknown}; known: {sorted(writers.FORMATS)}")
    if (report or video) and len(files) > 1:
        raise typer.BadParameter(
            "--report and --video are for one recording; for many: multimodal-fer study FOLDER"
        )
    failed = 0
    try:
        stems = writers.name_outputs(files) if output else []
        if output:
            utils_files.prepare_folder(output)
        analyzer = _make_analyzer(
            bundle=bundle,
            speech_model="none" if all(_is_text(path) for path in files) else speech_model,
            engine=engine,
            language=language,
            frame_rate=frame_rate,
            face=int(face) if face.isdecimal() else face,
            device=device,
        )
        for number, path in enumerate(files):
            try:
                answer = _analyze_one(analyzer, path, quiet)
                if output:
                    for written in writers.write(answer, output, stems[number], chosen):
                        _say(quiet, f"written: {written}")
                for written in _show_in_files(answer, path, report, video, not no_faces, quiet):
                    _say(quiet, f"written: {written}")
            except MultimodalFerError as error:
                failed += 1
                say_error(error)
                continue
            as_json = output is None and report is None and video is None
            _show(answer, table=table, as_json=as_json, single=len(files) == 1)
            for warning in answer.warnings:
                _say(quiet, f"warning: {path}: {warning}")
    except MultimodalFerError as error:
        say_error(error)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        say("interrupted; answers that were finished are kept")
        raise typer.Exit(INTERRUPTED) from None
    if failed:
        _say(quiet, f"{failed} of {len(files)} files failed")
        raise typer.Exit(FAILED)


@app.command()
def analyze_text(
    text: Annotated[str, typer.Argument(help="A written answer.")],
    bundle: Bundle = "open7",
) -> None:
    """Say what a written answer expresses."""
    from multimodal_fer.analyzer import analyze_text as judge
    from multimodal_fer.report.writers import to_json

    with explained():
        print(to_json(judge(text, bundle=bundle)), end="")


@app.command()
def explain(
    picture: Annotated[Path, typer.Argument(help="A picture with one or several faces.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The PNG to write; default: NAME.explained.png beside the picture.",
        ),
    ] = None,
    emotion: Annotated[
        str | None, typer.Option(help="What to explain; default: the strongest of each face.")
    ] = None,
    cropped: Annotated[
        bool, typer.Option("--cropped", help="The picture is one cropped face: search for none.")
    ] = False,
    bundle: Annotated[
        str, typer.Option(help="Weights: name or folder of a bundle, or of a facial network.")
    ] = "open7",
) -> None:
    """Show which parts of a face spoke for an emotion."""
    from multimodal_fer.report.face_maps import explain_picture

    with explained():
        answer = explain_picture(picture, output, bundle=bundle, emotion=emotion, cropped=cropped)
    print(json.dumps(answer, indent=1, ensure_ascii=False, allow_nan=False))
    for warning in answer["warnings"]:
        _say(False, f"warning: {picture}: {warning}")


@app.command()
def export(
    weights: Annotated[str, typer.Argument(help="Name or folder of a bundle or model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")],
) -> None:
    """Write weights as ONNX graphs, to run them without torch."""
    from multimodal_fer.hub.onnx_export import export as write_graphs

    with explained():
        for path in write_graphs(weights, output):
            print(f"written: {path}")


def _make_analyzer(**settings: Any) -> "Analyzer":
    """A setting that cannot be is a mistake of the command line, not a crash."""
    from multimodal_fer.analyzer import Analyzer

    try:
        return Analyzer(**settings)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _is_text(path: Path) -> bool:
    return path.suffix.lower() == ".txt"


def _analyze_one(analyzer: "Analyzer", path: Path, quiet: bool) -> "Analysis":
    if _is_text(path):
        return analyzer.analyze_text_file(path)
    with _progress(path, quiet) as progress:
        return analyzer.analyze(path, progress=progress)


def _show_in_files(
    answer: "Analysis",
    path: Path,
    report: Path | None,
    video: Path | None,
    faces: bool,
    quiet: bool,
) -> Iterator[Path]:
    """The page and the video that were asked for."""
    if report:
        from multimodal_fer.report.page import write_report

        yield write_report(answer, report, recording=None if _is_text(path) else path, faces=faces)
    if video:
        from multimodal_fer.media.drawing import write_video

        for note in write_video(answer, path, video, faces=faces):
            _say(quiet, f"warning: {note}")
        yield video


@contextmanager
def _progress(path: Path, quiet: bool) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
    # A bar is for people: where stderr is a file it would only leave control characters behind.
    with Progress(
        *columns, console=errors, transient=True, disable=quiet or not errors.is_terminal
    ) as bar:
        tasks: dict[str, Any] = {}

        def update(stage: str, done: float, total: float) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(f"{path.name}: {STAGES[stage]}", total=total or None)
            bar.update(tasks[stage], completed=done)

        yield update


def _show(answer: "Analysis", *, table: bool, as_json: bool, single: bool) -> None:
    from multimodal_fer.report.writers import to_json, to_json_line

    if table:
        _print_table(answer)
    elif as_json:
        print(to_json(answer) if single else to_json_line(answer), end="", flush=True)


def _print_table(answer: "Analysis") -> None:
    """The answer for people, on stdout."""
    console = Console(highlight=False)
    console.print(f"\n{answer.path or 'written answer'}", style="bold", markup=False)
    console.print(f"overall: {_verdict(answer)}", markup=False)
    if answer.coverage:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in answer.coverage.items())
        console.print(f"there to be judged: {shares} of {answer.duration:.1f} s", markup=False)
    table = Table()
    people = {segment.face_id for segment in answer.segments} - {None}
    for heading in ("time", "expressed", *MODALITIES):
        table.add_column(heading, no_wrap=True)
    table.add_column("words")
    for segment in answer.segments:
        weights = {n: f"{w:.0%}" if w else "–" for n, w in segment.attention.items()}
        if segment.face_id is not None and len(people) > 1:
            weights["face"] += f" no. {segment.face_id}"
        table.add_row(
            f"{segment.start:.1f}–{segment.end:.1f}",
            _verdict(segment) + (f"\n{' ≠ '.join(segment.conflict)}" if segment.conflict else ""),
            *(weights.get(name, "–") for name in MODALITIES),
            segment.text or ("(speech without recognised words)" if segment.spoken else ""),
        )
    if answer.segments:
        console.print("each row: seconds, what is expressed, how much each modality counted")
    console.print(table)


def _verdict(answer: "Analysis | Segment") -> str:
    if answer.emotion is None:
        return "nothing to judge"
    doubt = "?" if answer.unsure else ""
    return f"{answer.emotion} {answer.scores[answer.emotion]:.0%}{doubt}"


def _say(quiet: bool, message: str) -> None:
    if not quiet:
        say(message)


cli_weights.register(app)
study.register(app)

if __name__ == "__main__":
    app()
