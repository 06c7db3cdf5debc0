"""Share options and error messages between commands."""

import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from multimodal_fer.errors import MultimodalFerError

FAILED, INTERRUPTED = 1, 130

errors = Console(stderr=True, highlight=False, markup=False, emoji=False)
CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]"
)  # would steer a terminal, or fail

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
    """Print an error of this package, or `interrupted` after Ctrl+C, on stderr and exit.

    A second Ctrl+C ends the process at once.
    """
    if interrupted:
        end_at_second_interrupt()
    try:
        yield
    except MultimodalFerError as error:
        say_error(error)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        if not interrupted:
            raise
        say(interrupted)
        leave(INTERRUPTED)


def leave(code: int) -> NoReturn:
    """End the process without the teardown of the interpreter.

    After Ctrl+C a decoder or a network may have stopped anywhere; tearing down native libraries in that
    state can end the process with SIGABRT instead of its exit code. Files are complete before this.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.flush()
    os._exit(code)


def end_at_second_interrupt() -> None:
    """Let the first Ctrl+C raise `KeyboardInterrupt`, and the second one end the process."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return  # ignored, as in background jobs, or handled by the caller

    def end(*_: object) -> None:
        os._exit(INTERRUPTED)

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, end)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)


def use_any_encoding() -> None:
    """Let stdout and stderr replace characters that a redirected output cannot hold, such as emoji."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]


def print_json(text: str) -> None:
    """Print JSON; characters that the output cannot hold are written as JSON escapes."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], text)
    print(text, end="", flush=True)


def visible(text: str) -> str:
    """Return a text without characters that would steer a terminal."""
    return CONTROL.sub("\ufffd", text)


def say(line: str) -> None:
    """Print a line on stderr."""
    errors.print(visible(line), soft_wrap=True)


def sayer(quiet: bool) -> Callable[[str], None]:
    """Return `say`, or a function that prints nothing."""
    return (lambda _: None) if quiet else say


def say_error(error: Exception | str) -> None:
    """Print an error on stderr."""
    errors.print(visible(f"error: {error}"), style="red", soft_wrap=True)


def unexpected(error: Exception) -> str:
    """Return a sentence about an error that is not one of this package's, such as too little memory."""
    if isinstance(error, MemoryError):
        return (
            "there is not enough memory for this file; close other programs or use another computer"
        )
    return f"unexpected {type(error).__name__}: {error}; please report it"


def face_choice(face: str) -> str | int:
    """Return the number of a face as `int`; other values are checked by `Analyzer`."""
    return int(face) if face.isdecimal() else face
