"""Share options and error messages between commands."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from multimodal_fer.errors import MultimodalFerError

FAILED, INTERRUPTED = 1, 130

errors = Console(stderr=True, highlight=False)

Bundle = Annotated[
    str, typer.Option(help="Weights: name or folder of a bundle, or OWNER/NAME of a published one.")
]
SpeechModel = Annotated[
    str,
    typer.Option(help="auto (installed, never a download), none, a Whisper name, folder or file."),
]
Engine = Annotated[
    str | None, typer.Option(help="faster-whisper or openai-whisper; default: by the speech model.")
]
Language = Annotated[
    str | None, typer.Option(help="Spoken language, such as en; default: detected.")
]
FrameRate = Annotated[float, typer.Option(help="Frames per second to analyse.")]
Face = Annotated[str, typer.Option(help="Face to analyse: largest, or the number of a face.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
NoFaces = Annotated[
    bool,
    typer.Option("--no-faces", help="No pictures of faces in reports, no face boxes in videos."),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no warnings on stderr.")
]


@contextmanager
def explained(interrupted: str = "") -> Iterator[None]:
    """Print an error of this package, or `interrupted` after Ctrl+C, on stderr and exit."""
    try:
        yield
    except MultimodalFerError as error:
        say_error(error)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        if not interrupted:
            raise
        say(interrupted)
        raise typer.Exit(INTERRUPTED) from None


def say(line: str) -> None:
    """Print a line on stderr."""
    errors.print(line, markup=False, soft_wrap=True)


def sayer(quiet: bool) -> Callable[[str], None]:
    """Return `say`, or a function that prints nothing."""
    return (lambda _: None) if quiet else say


def say_error(error: MultimodalFerError) -> None:
    """Print an error on stderr."""
    errors.print(f"error: {error}", style="red", markup=False, soft_wrap=True)


def face_choice(face: str) -> str | int:
    """Return the number of a face as `int`; other values are checked by `Analyzer`."""
    return int(face) if face.isdecimal() else face
