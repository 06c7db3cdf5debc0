"""What several commands share: options, and how mistakes are told."""

from collections.abc import Iterator
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
    str | None, typer.Option(help="faster-whisper or openai-whisper; default: what fits.")
]
Language = Annotated[
    str | None, typer.Option(help="Spoken language, such as en; default: detected.")
]
FrameRate = Annotated[float, typer.Option(help="Pictures per second to look at.")]
Face = Annotated[str, typer.Option(help="Whose face counts: largest, or a person's number.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


@contextmanager
def explained() -> Iterator[None]:
    """An error of ours is one sentence on stderr, and exit code 1."""
    try:
        yield
    except MultimodalFerError as error:
        say_error(error)
        raise typer.Exit(FAILED) from None


def say(line: str) -> None:
    errors.print(line, markup=False, soft_wrap=True)


def say_error(error: MultimodalFerError) -> None:
    errors.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
