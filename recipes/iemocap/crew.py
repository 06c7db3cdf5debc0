"""Processes that work at one thing at a time, so that a death is noticed and one knows of what.

The pools of the standard library fail as a whole where one process dies, and their processes outlive a parent
that was killed.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from multiprocessing import connection
from typing import Any, NamedTuple, TypeVar

from multimodal_fer.errors import MultimodalFerError

TRIES = 2  # of a job whose process dies: the first death may have been of something else
READY = "ready"

Job = TypeVar("Job")
Work = Callable[[Any], Any]


class Died(NamedTuple):
    """The result of a job whose process died in every try."""

    how: str


def usable_processors() -> list[int]:
    """Numbers of the processors that this process may use; none where the system does not say."""
    known = getattr(os, "sched_getaffinity", None)
    return sorted(known(0)) if known else []


def run_all(
    work: Work, jobs: Sequence[Job], workers: int
) -> Generator[tuple[Job, Any], None, None]:
    """Each job with what `work` returns for it, as they get done; `Died` where no process survives it.

    Parameters
    ----------
    work : a function of a module, which other processes can import
    workers : processes; 0 works in this one, which is simpler to debug and does not survive crashes

    Raises what `work` raises, and ends all processes: then, or where nobody asks for further results.
    """
    if not workers:
        for job in jobs:
            yield job, work(job)
        return
    workers = min(workers, len(jobs))
    waiting = deque((job, 1) for job in jobs)
    crew: list[_Worker] = []
    try:
        for number in range(workers):
            crew.append(_Worker(work, number, workers))
        while True:
            for worker in crew:
                if worker.task is None and waiting:
                    worker.give(*waiting.popleft())
            busy: dict[Any, _Worker] = {worker.pipe: worker for worker in crew if worker.task}
            if not busy:
                return
            for pipe in connection.wait(list(busy)):
                worker = busy[pipe]
                assert worker.task
                job, tries = worker.task
                answer = worker.take()
                if isinstance(answer, Exception):
                    raise answer
                if isinstance(answer, Died):
                    crew[worker.number] = _Worker(work, worker.number, workers)
                    if tries < TRIES:
                        waiting.append((job, tries + 1))
                        continue
                if answer is not READY:
                    yield job, answer
    finally:
        for worker in crew:
            worker.end()


class _Worker:
    """One process, seen from its parent."""

    def __init__(self, work: Work, number: int, workers: int) -> None:
        # A fresh interpreter: what is open here, threads among them, is not copied.
        context = multiprocessing.get_context("spawn")
        self.number = number
        self.task: tuple[Any, int] | None = None  # the job under way, and which try it is
        self.is_ready = False
        self.pipe, other = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(work, other, number, workers), daemon=True
        )
        self.process.start()
        other.close()  # only the process holds it now, so its end is noticed

    def give(self, job: Any, tries: int) -> None:
        self.task = job, tries
        with contextlib.suppress(OSError):  # if it is dead, taking its answer tells
            self.pipe.send(job)

    def take(self) -> Any:
        """`READY`, an answer, an exception, or how the process died."""
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self.end()
            if not self.is_ready:
                raise MultimodalFerError(
                    "a worker process could not start; what it said stands above. Go on without "
                    "processes: workers=0"
                ) from None
            return Died(f"exit code {self.process.exitcode}")
        if not self.is_ready:  # the first thing that a process says
            self.is_ready = True
            return READY
        self.task = None
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(work: Work, pipe: Any, number: int, workers: int) -> None:
    """What a worker process does until its parent ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches all: the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"  # for libraries that are loaded from here on
    processors = usable_processors()
    if len(processors) >= workers:
        # FFmpeg starts as many threads as it sees processors.
        os.sched_setaffinity(0, processors[number::workers])
    pipe.send(READY)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(_attempt(work, job))


def _attempt(work: Work, job: Any) -> Any:
    try:
        return work(job)
    except MultimodalFerError as error:
        return error
    except Exception:
        return RuntimeError(f"in a worker process:\n{traceback.format_exc()}")


def _end_with_parent() -> None:
    """A parent that is killed cannot say goodbye; its children must not go on writing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
