"""Options that several commands share."""

from typing import Annotated

import typer

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
