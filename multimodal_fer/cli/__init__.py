"""The command `multimodal-fer`."""

from multimodal_fer.cli.commands import app

__all__ = ["app"]
