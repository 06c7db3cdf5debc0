"""Run a module as a command."""

import sys
from collections.abc import Callable

from multimodal_fer.errors import MultimodalFerError


def run_command(
    function: Callable[..., object], usage: str | None, count: int, more: bool = False
) -> None:
    """Call `function` with the arguments of the command line; print errors of this package as one sentence.

    Requires `count` arguments, or at least `count` with `more`; prints `usage` otherwise.
    """
    arguments = sys.argv[1:]
    if len(arguments) < count or (len(arguments) > count and not more):
        sys.exit(usage)
    try:
        function(*arguments)
    except MultimodalFerError as error:
        sys.exit(f"error: {error}")
