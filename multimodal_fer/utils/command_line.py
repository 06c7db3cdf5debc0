"""Modules run as commands: their words, and mistakes told in one sentence."""

import sys
from collections.abc import Callable

from multimodal_fer.errors import MultimodalFerError


def run_command(
    function: Callable[..., object], usage: str | None, count: int, more: bool = False
) -> None:
    """Call `function` with the words of the command line; a user's mistake ends in one sentence.

    It takes `count` words, or with `more` at least as many.
    """
    arguments = sys.argv[1:]
    if len(arguments) < count or (len(arguments) > count and not more):
        sys.exit(usage)
    try:
        function(*arguments)
    except MultimodalFerError as error:
        sys.exit(f"error: {error}")
