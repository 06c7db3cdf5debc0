"""Processes that work at one thing at a time, so that a death is noticed and one knows of what.

The pools of the standard library fail as a whole where one process dies, and their processes outlive a parent
that was killed.
"""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from multiprocessing import connection
from typing import Any, NamedTuple, TypeVar

from multimodal_fer.errors import MultimodalFerError

TRIES = 2  # of a job whose process dies: the first death may have been of something else
PATIENCE = 5.0  # seconds for an idle process to end by itself
READY = "ready"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Job = TypeVar("Job")
Work = Callable[[Any], Any]
Start = Callable[[int, int], Any]  # of a process's number and how many there are


class PoolError(MultimodalFerError):
    """Workers that cannot be started, or whose engine is missing."""


class Died(NamedTuple):
    """The result of a job whose process died in every try."""

    how: str


def processors() -> list[int]:
    """Numbers of the processors that this process may use."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def take_share(number: int, workers: int) -> int:
    """Bind this process to its share of the processors, where the system can; returns how many these are.

    Without this each of several processes would start as many threads as there are processors, in FFmpeg,
    OpenMP and others alike, and they would hinder each other.
    """
    known = processors()
    mine = known[number % workers :: workers] or [known[number % len(known)]]
    if sys.platform == "linux" and workers > 1:
        os.sched_setaffinity(0, mine)
    os.environ.update(dict.fromkeys(THREADS, str(len(mine))))  # for what is loaded from here on
    return len(mine)


def run_in_processes(
    work: Work,
    jobs: Sequence[Job],
    workers: int,
    *,
    start: Start = take_share,
    tries: int = TRIES,
) -> Generator[tuple[Job, Any], None, None]:
    """Each job with what `work` returns for it, as they get done; `Died` where no process survives it.

    Parameters
    ----------
    work
        a function of a module, which other processes can import
    workers
        processes; 0 works in this one, which is simpler to debug and does not survive crashes
    start
        what each process does first; by default it takes its share of the processors
    tries
        of a job whose process dies

    Raises what `start` or `work` raises, and ends all processes: then, or where nobody asks for further
    results. `PoolError` where a process ends before it is ready.
    """
    if not workers:
        for job in jobs:
            yield job, work(job)
        return
    waiting = deque((job, 1) for job in jobs)
    workers = min(workers, len(jobs))
    crew: list[_Worker] = []
    try:
        crew.extend(_Worker(work, start, number, workers) for number in range(workers))
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
                job, done = worker.task
                answer = worker.take()
                if isinstance(answer, Exception):
                    raise answer
                again = isinstance(answer, Died) and done < tries
                if again:
                    waiting.append((job, done + 1))
                if isinstance(answer, Died):
                    crew.remove(worker)
                    if waiting:
                        crew.append(_Worker(work, start, worker.number, workers))
                elif worker.task is None and not waiting:
                    worker.end()  # its memory is worth more to those that still work
                    crew.remove(worker)
                if answer is not READY and not again:
                    yield job, answer
    finally:
        for worker in crew:
            worker.end()


class _Worker:
    """One process, seen from its parent."""

    def __init__(self, work: Work, start: Start, number: int, workers: int) -> None:
        # A fresh interpreter: a copy of a process with running threads may hang.
        context = multiprocessing.get_context("spawn")
        self.number = number
        self.task: tuple[Any, int] | None = None  # the job under way, and which try it is
        self.is_ready = False
        self.pipe, other = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(work, start, other, number, workers), daemon=True
        )
        self.process.start()
        other.close()  # only the process holds it now, so its end is noticed

    def give(self, job: Any, tries: int) -> None:
        self.task = job, tries
        with suppress(OSError):  # if it is dead, taking its answer tells
            self.pipe.send(job)

    def take(self) -> Any:
        """`READY`, an answer, an exception, or how the process died."""
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            self.pipe.close()
            how = _describe_end(self.process.exitcode or 0)
            if not self.is_ready:
                raise PoolError(
                    f"a worker process ended before it was ready ({how}); try fewer workers"
                ) from None
            return Died(how)
        if not self.is_ready:  # the first thing that a process says
            self.is_ready = True
            return answer if isinstance(answer, Exception) else READY
        self.task = None
        return answer

    def end(self) -> None:
        """At its ease where it waits for work, at once where it is amid some."""
        self.pipe.close()
        if self.is_ready and self.task is None:
            self.process.join(PATIENCE)
        self.process.kill()
        self.process.join()


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"{name}, as when memory runs out" if name == "SIGKILL" else name


def _serve(work: Work, start: Start, pipe: Any, number: int, workers: int) -> None:
    """What a worker process does until its parent ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches all: the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        start(number, workers)
    except MultimodalFerError as error:
        pipe.send(error)
        return
    pipe.send(READY)
    with suppress(EOFError, OSError):
        while True:
            pipe.send(_attempt(work, pipe.recv()))


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
