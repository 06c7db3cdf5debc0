"""Run the command `multimodal-fer` with `python -m multimodal_fer.cli`."""

from multimodal_fer.cli.commands import app

app()
