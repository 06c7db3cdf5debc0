"""Run workers on this machine, each in its own process with its own models."""

from collections.abc import Iterator, Sequence
from functools import partial

from multimodal_fer.study.workers.job import Reply, Setup, Worker, share_cores
from multimodal_fer.utils.process_pool import Died, run_in_processes

_worker: Worker | None = None  # None outside worker processes


def run_local(files: Sequence[str], setup: Setup, workers: int) -> Iterator[Reply]:
    """Analyse files in processes of this machine; see `Pool`."""
    start = partial(_begin, setup)
    replies = run_in_processes(
        _answer, files, workers, start=start, tries=1, limit=setup.time_limit
    )
    for file, reply in replies:
        if isinstance(reply, Died):
            reply = Reply(file, None, f"the worker process died on this file ({reply.how})")
        yield reply


def _begin(setup: Setup, number: int, workers: int) -> None:
    global _worker
    share_cores(number, workers)
    _worker = Worker(setup)


def _answer(file: str) -> Reply:
    assert _worker is not None
    return _worker.answer(file)
