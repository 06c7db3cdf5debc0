"""`python -m multimodal_fer.cli` is the command `multimodal-fer`."""

from multimodal_fer.cli.commands import app

app()
