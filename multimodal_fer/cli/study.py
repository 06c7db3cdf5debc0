"""The command `study`: analyse a folder of sessions."""

from pathlib import Path
from typing import Annotated

import typer

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
    explained,
    face_choice,
    say,
    sayer,
)

LISTED = 50  # problems that are printed; errors.csv has all


def study(
    folder: Annotated[
        Path, typer.Argument(help="Sessions: video, audio and .txt files, also in subfolders.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for all results.")],
    participants: Annotated[
        Path | None,
        typer.Option(
            help="CSV with the columns file, participant, task and any others; "
            "default: from names such as P03_checkout.mp4."
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
    no_faces: NoFaces = False,
    video: Annotated[
        bool, typer.Option("--video", help="Also write videos with face boxes, emotions and words.")
    ] = False,
    limit_errors: Annotated[
        int | None, typer.Option(min=0, help="Stop when more files than this have failed.")
    ] = None,
    time_limit: Annotated[
        float, typer.Option(min=0.01, help="Minutes after which a file counts as failed.")
    ] = 360.0,
    quiet: Quiet = False,
) -> None:
    """Analyse a folder of sessions; after an interruption the same command continues."""
    from multimodal_fer.study import run_study
    from multimodal_fer.study.workers.cluster import Cluster
    from multimodal_fer.study.workers.local import run_local

    if no_faces and video:
        raise typer.BadParameter("annotated videos show faces: give either --no-faces or --video")
    with explained("interrupted; finished results are kept; run the same command to continue"):
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
            face=face_choice(face),
            device=device,
            time_limit=60 * time_limit,
            say=sayer(quiet),
        )
    if outcome.problems:
        say(f"{len(outcome.problems)} problems, also listed in errors.csv:")
        for problem in outcome.problems[:LISTED]:
            say(f"  {problem.file}: {problem.reason}")
    print(outcome.index)
    if outcome.problems:
        raise typer.Exit(FAILED)
