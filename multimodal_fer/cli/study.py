"""The verb `study`: a folder of sessions in, a folder of answers, reports and tables out."""

from pathlib import Path
from typing import Annotated

import typer

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
    say,
    say_error,
)
from multimodal_fer.errors import MultimodalFerError

LISTED = 50  # problems that are printed; errors.csv has all


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(study)


def study(
    folder: Annotated[
        Path, typer.Argument(help="Sessions: video, audio and .txt answers, in subfolders as well.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for all results.")],
    participants: Annotated[
        Path | None,
        typer.Option(
            help="CSV with the columns file, participant, task and any others; "
            "default: by names such as P03_checkout.mp4."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with its own models.")] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(help="Run the workers on Ray: local, auto, or HOST:PORT of a cluster."),
    ] = None,
    bundle: Bundle = "open7",
    speech_model: SpeechModel = "auto",
    engine: Engine = None,
    language: Language = None,
    frame_rate: FrameRate = 5.0,
    face: Face = "largest",
    device: Device = "auto",
    no_faces: Annotated[
        bool, typer.Option("--no-faces", help="Put no pictures of faces into the reports.")
    ] = False,
    video: Annotated[
        bool, typer.Option("--video", help="Write videos with boxes, emotions and words as well.")
    ] = False,
    limit_errors: Annotated[
        int | None, typer.Option(min=0, help="End when more files than this have failed.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Analyse a folder of sessions; run again after an interruption, it goes on where it was."""
    from multimodal_fer.study import run_study
    from multimodal_fer.study.workers.cluster import Cluster
    from multimodal_fer.study.workers.local import run_local

    if no_faces and video:
        raise typer.BadParameter("an annotated video shows faces: give --no-faces or --video")
    try:
        outcome = run_study(
            folder,
            out,
            participants=participants,
            workers=workers,
            pool=Cluster(cluster) if cluster else run_local,
            faces=not no_faces,
            video=video,
            most_errors=limit_errors,
            bundle=bundle,
            speech_model=speech_model,
            engine=engine,
            language=language,
            frame_rate=frame_rate,
            face=int(face) if face.isdecimal() else face,
            device=device,
            say=(lambda _: None) if quiet else say,
        )
    except MultimodalFerError as error:
        say_error(error)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        say("interrupted; answers that were finished are kept: run the same command to go on")
        raise typer.Exit(INTERRUPTED) from None
    if outcome.problems:
        say(f"{len(outcome.problems)} without an answer, as in errors.csv:")
        for problem in outcome.problems[:LISTED]:
            say(f"  {problem.file}: {problem.reason}")
    print(outcome.index)
    if outcome.problems:
        raise typer.Exit(FAILED)
