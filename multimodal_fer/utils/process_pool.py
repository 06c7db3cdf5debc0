"""Run jobs in worker processes, one job at a time each.

`concurrent.futures.ProcessPoolExecutor` fails as a whole when one process dies, reports neither the job nor
the exit code, cannot stop a running job before Python 3.14, and its processes outlive a killed parent.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from multiprocessing import connection
from typing import Any, NamedTuple, TypeVar

from multimodal_fer.errors import MultimodalFerError

TRIES = 2  # of a job whose process dies: the job may not have caused the first death
CHECK = 5.0  # seconds between checks of the time limit
PATIENCE = 5.0  # seconds for an idle process to end by itself
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

# Threads of OpenMP that wait for work shall sleep: on a busy machine they would take the time of others.
SLEEPING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}

Job = TypeVar("Job")
Work = Callable[[Any], Any]
Start = Callable[[int, int], Any]  # of the number of a process and the number of processes


class PoolError(MultimodalFerError):
    """Workers that cannot be started, or whose engine is missing."""


class Died(NamedTuple):
    """The result of a job whose process died in every try."""

    how: str


def processors() -> list[int]:
    """Return the numbers of the processors that this process may use."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def let_threads_sleep() -> None:
    """Set how the threads of libraries that are loaded later wait; settings of the user are kept."""
    for name, value in SLEEPING.items():
        os.environ.setdefault(name, value)


def take_share(number: int, workers: int) -> int:
    """Bind this process to its share of the processors, if the system can; return the size of the share.

    Otherwise FFmpeg, OpenMP and others would start one thread per processor in each process.
    """
    let_threads_sleep()
    known = processors()
    share = known[number % workers :: workers] or [known[number % len(known)]]
    if sys.platform == "linux" and workers > 1:
        os.sched_setaffinity(0, share)
    os.environ.update(dict.fromkeys(THREADS, str(len(share))))  # for libraries loaded later
    return len(share)


def run_in_processes(
    work: Work,
    jobs: Sequence[Job],
    workers: int,
    *,
    start: Start = take_share,
    tries: int = TRIES,
    limit: float | None = None,
) -> Generator[tuple[Job, Any], None, None]:
    """Yield each job with the result of `work`, in order of completion; `Died` if its process died.

    Parameters
    ----------
    work
        a function that other processes can import
    workers
        number of processes; 0 works in this process, for debugging
    start
        called first in each process; by default it takes its share of the processors
    tries
        of a job whose process dies
    limit
        seconds after which a process is ended that is still on the same job

    Raises what `start` or `work` raises, and `PoolError` if a process ends before it is ready. All processes
    are ended on an error and when the generator is closed.
    """
    if not workers:
        yield from ((job, work(job)) for job in jobs)
        return
    waiting = deque((job, 1) for job in jobs)
    workers = min(workers, len(jobs))
    pool: dict[Any, _Worker] = {}

    def launch(number: int) -> None:
        worker = _Worker(work, start, number, workers)
        pool[worker.pipe] = worker

    try:
        for number in range(workers):
            launch(number)
        while pool:
            for worker in pool.values():
                worker.end_if_overdue(limit)
            for pipe in connection.wait(list(pool), None if limit is None else min(limit, CHECK)):
                worker = pool[pipe]
                task, answer = worker.task, worker.receive()
                if isinstance(answer, Exception):
                    raise answer
                if isinstance(answer, Died):
                    del pool[pipe]
                    if task and task[1] < tries:
                        waiting.append((task[0], task[1] + 1))
                        task = None
                    if waiting:
                        launch(worker.number)
                elif waiting:
                    worker.give(waiting.popleft())
                else:
                    del pool[pipe]
                    worker.end(PATIENCE)  # frees its memory for the others
                if task:
                    yield task[0], answer
    finally:
        for worker in pool.values():
            worker.end()


class _Worker:
    """The parent's side of one process: starting while `task` is None, then always on a job."""

    def __init__(self, work: Work, start: Start, number: int, workers: int) -> None:
        # A forked copy of a process with running threads may hang.
        context = multiprocessing.get_context("spawn")
        self.number = number
        self.task: tuple[Any, int] | None = None  # the job and the number of this try
        self.since = 0.0  # of `time.monotonic` when the job was given
        self.overdue: float | None = None  # the limit that the job exceeded
        self.pipe, other = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(work, start, other, number, workers), daemon=True
        )
        self.process.start()
        other.close()  # so that the end of the process closes the pipe

    def give(self, task: tuple[Any, int]) -> None:
        self.task, self.since = task, time.monotonic()
        with suppress(OSError):  # `receive` reports a dead process
            self.pipe.send(task[0])

    def end_if_overdue(self, limit: float | None) -> None:
        """Kill the process if its job takes longer; `receive` reports it."""
        if limit is not None and self.task and time.monotonic() - self.since > limit:
            self.overdue = limit
            self.process.kill()

    def receive(self) -> Any:
        """Return an answer, an exception, or `Died`."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            self.pipe.close()
        how = _describe_exit(self.process.exitcode or 0)
        if self.overdue is not None:
            how = f"no answer within the time limit of {self.overdue / 60:.3g} min"
        if self.task:
            return Died(how)
        return PoolError(f"a worker process ended before it was ready ({how}); try fewer workers")

    def end(self, patience: float = 0.0) -> None:
        self.pipe.close()
        self.process.join(patience)
        self.process.kill()
        self.process.join()


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"{name}, as when memory runs out" if name == "SIGKILL" else name


def _serve(work: Work, start: Start, pipe: Any, number: int, workers: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches all processes; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        start(number, workers)
    except MultimodalFerError as error:
        return pipe.send(error)
    pipe.send(None)  # ready
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
    """End this process when its parent ends: a killed parent cannot end its children."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
