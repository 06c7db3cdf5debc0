"""Define the command `multimodal-fer`: JSON on stdout, everything else on stderr."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from multimodal_fer import __version__
from multimodal_fer.cli import weights as cli_weights
from multimodal_fer.cli.options import (
    FAILED,
    Bundle,
    Device,
    Engine,
    Face,
    FrameRate,
    Language,
    NoFaces,
    Quiet,
    SpeechModel,
    errors,
    explained,
    face_choice,
    print_json,
    say,
    say_error,
    sayer,
    unexpected,
    use_any_encoding,
    visible,
)
from multimodal_fer.cli.outputs import is_text
from multimodal_fer.cli.study import study
from multimodal_fer.errors import MultimodalFerError
from multimodal_fer.labels import MODALITIES
from multimodal_fer.utils.files import printable
from multimodal_fer.utils.process_pool import let_threads_sleep

if TYPE_CHECKING:
    from multimodal_fer.analyzer import Analyzer
    from multimodal_fer.types import Analysis, Segment

WORDLESS = "(speech without recognised words)"
STAGES = {"listen": "analysing sound", "watch": "analysing frames"}

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Recognise emotions in recorded answers from face, voice and text.",
)


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Handle the options before a command."""
    use_any_encoding()
    let_threads_sleep()  # before torch and the face detector are loaded
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
        Path | None, typer.Option(help="Write a report as FILE.html. For one recording.")
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(help="Write an annotated copy of the recording. For one recording."),
    ] = None,
    no_faces: NoFaces = False,
    table: Annotated[bool, typer.Option("--table", help="Print a table instead of JSON.")] = False,
    quiet: Quiet = False,
    bundle: Bundle = "open7",
    speech_model: SpeechModel = "auto",
    engine: Engine = None,
    language: Language = None,
    frame_rate: FrameRate = 5.0,
    face: Face = "largest",
    device: Device = "auto",
) -> None:
    """Recognise emotions in recordings or written answers."""
    from multimodal_fer.cli import outputs
    from multimodal_fer.report import writers

    failed, tell = 0, sayer(quiet)
    with explained("interrupted; finished results are kept"):
        wanted = outputs.Wanted(output, formats, report, video, not no_faces)
        stems = outputs.check(files, wanted)
        analyzer = _make_analyzer(
            bundle=bundle,
            speech_model="none" if all(is_text(path) for path in files) else speech_model,
            engine=engine,
            language=language,
            frame_rate=frame_rate,
            face=face_choice(face),
            device=device,
        )
        for path, stem in zip(files, stems, strict=True):
            try:
                answer = _analyze_one(analyzer, path, quiet)
            except Exception as error:  # one file must not stop the others
                failed += 1
                known = isinstance(error, MultimodalFerError)
                say_error(error if known else f"{printable(path)}: {unexpected(error)}")
                continue
            problems = outputs.write(answer, path, stem, wanted, tell)
            failed += bool(problems)
            for problem in problems:
                say_error(problem)
            if table:
                _print_table(answer)
            elif problems or not (output or report or video):  # a finished answer is never lost
                as_json = writers.to_json if len(files) == 1 else writers.to_json_line
                print_json(as_json(answer))
            for warning in answer.warnings:
                tell(f"warning: {printable(path)}: {warning}")
    if failed:
        tell(f"{failed} of {len(files)} files failed")
        raise typer.Exit(FAILED)


@app.command()
def analyze_text(
    text: Annotated[str, typer.Argument(help="A written answer.")],
    bundle: Bundle = "open7",
) -> None:
    """Recognise the emotion of a written answer."""
    from multimodal_fer.analyzer import analyze_text as predict
    from multimodal_fer.report.writers import to_json

    with explained():
        print_json(to_json(predict(text, bundle=bundle)))


@app.command()
def explain(
    picture: Annotated[Path, typer.Argument(help="An image with one or several faces.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The PNG to write; default: NAME.explained.png beside the image."
        ),
    ] = None,
    emotion: Annotated[
        str | None,
        typer.Option(help="Emotion to explain; default: the predicted one of each face."),
    ] = None,
    cropped: Annotated[
        bool, typer.Option("--cropped", help="The image is a face crop: skip face detection.")
    ] = False,
    bundle: Annotated[
        str, typer.Option(help="Weights: name or folder of a bundle or a face network.")
    ] = "open7",
) -> None:
    """Show which parts of a face contribute to an emotion."""
    from multimodal_fer.report.face_maps import explain_picture

    with explained():
        answer = explain_picture(picture, output, bundle=bundle, emotion=emotion, cropped=cropped)
    print_json(json.dumps(answer, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    for warning in answer["warnings"]:
        say(f"warning: {picture}: {warning}")


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
    from multimodal_fer.analyzer import Analyzer

    try:
        return Analyzer(**settings)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _analyze_one(analyzer: "Analyzer", path: Path, quiet: bool) -> "Analysis":
    if is_text(path):
        return analyzer.analyze_text_file(path)
    with _progress(path, quiet) as progress:
        return analyzer.analyze(path, progress=progress)


@contextmanager
def _progress(path: Path, quiet: bool) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
    hidden = quiet or not errors.is_terminal  # a file would get control characters
    with Progress(*columns, console=errors, transient=True, disable=hidden) as bar:
        tasks: dict[str, Any] = {}

        def update(stage: str, done: float, total: float) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(
                    f"{visible(path.name)}: {STAGES[stage]}", total=total or None
                )
            bar.update(tasks[stage], completed=done)

        yield update


def _print_table(answer: "Analysis") -> None:
    from multimodal_fer.report.writers import describe_words

    console = Console(highlight=False, markup=False, emoji=False)
    console.print(f"\n{visible(answer.path or 'written answer')}", style="bold")
    console.print(f"overall: {_prediction(answer)}")
    if answer.coverage:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in answer.coverage.items())
        console.print(f"coverage: {shares} of {answer.duration:.1f} s")
    table = Table()
    people = {segment.face_id for segment in answer.segments} - {None}
    for heading in ("time", "emotion", *MODALITIES):
        table.add_column(heading, no_wrap=True)
    table.add_column("words")
    for segment in answer.segments:
        weights = {n: f"{w:.0%}" if w else "–" for n, w in segment.attention.items()}
        if segment.face_id is not None and len(people) > 1:
            weights["face"] += f" no. {segment.face_id}"
        conflict = f"\n{' ≠ '.join(segment.conflict)}" if segment.conflict else ""
        said = segment.text or (WORDLESS if segment.spoken else "")
        fine = describe_words(segment)
        table.add_row(
            f"{segment.start:.1f}–{segment.end:.1f}",
            _prediction(segment) + conflict,
            *(weights.get(name, "–") for name in MODALITIES),
            Text(visible(said) + (f"\n[{fine}]" if fine else "")),  # never markup
        )
    if answer.segments:
        console.print("columns: seconds, emotion, contribution of each modality, words")
    console.print(table)


def _prediction(answer: "Analysis | Segment") -> str:
    if answer.emotion is None:
        return "no prediction"
    doubt = "?" if answer.unsure else ""
    return f"{answer.emotion} {answer.scores[answer.emotion]:.0%}{doubt}"


cli_weights.register(app)
app.command()(study)

if __name__ == "__main__":
    app()
