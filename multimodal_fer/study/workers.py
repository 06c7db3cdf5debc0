"""Workers on this machine: one process each, with models of its own, fed over a pipe."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Any

from multimodal_fer.errors import MultimodalFerError
from multimodal_fer.study.job import Reply, Setup, Worker, WorkerError, share_cores

READY = "ready"
PATIENCE = 5.0  # seconds for a process to end by itself


def run_local(files: Sequence[str], setup: Setup, workers: int) -> Iterator[Reply]:
    """Work off files by processes of this machine; see `Pool`.

    Processes are spawned, never forked: a copy of a process with running threads may hang.
    """
    waiting = deque(files)
    team = [Member(setup, slot, workers) for slot in range(min(workers, len(files)))]
    try:
        while waiting or any(member.file for member in team):
            for connection in wait([member.connection for member in team]):
                member = next(one for one in team if one.connection is connection)
                reply = member.receive()
                if reply is not None:
                    yield reply
                if member.ended:
                    member.stop()
                    team.remove(member)
                    if waiting:
                        team.append(Member(setup, member.slot, workers))
                elif waiting:
                    member.give(waiting.popleft())
                elif member.file is None:
                    member.stop()  # its memory is worth more to those that still work
                    team.remove(member)
    finally:
        for member in team:
            member.stop()


class Member:
    """One process of the team, and the file that it works on."""

    def __init__(self, setup: Setup, slot: int, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.slot = slot
        self.file: str | None = None
        self.ready = self.ended = False
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, setup, slot, workers), daemon=True
        )
        self.process.start()
        theirs.close()  # else its end would never be seen

    def give(self, file: str) -> None:
        self.file = file
        with suppress(OSError):  # it died while idle: receiving says so
            self.connection.send(file)

    def receive(self) -> Reply | None:
        """What the process has to say; its death is a reply as well.

        Raises `MultimodalFerError` where it could not load its models.
        """
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            return self._died()
        if isinstance(message, MultimodalFerError):
            raise message
        file, self.file, self.ready = self.file, None, True
        return None if message == READY else message._replace(file=file)

    def _died(self) -> Reply | None:
        self.ended = True
        self.process.join()
        reason = _describe_end(self.process.exitcode or 0)
        if not self.ready:
            raise WorkerError(
                f"a worker process ended before it was ready ({reason}); try fewer workers"
            )
        if self.file is None:
            return None
        return Reply(self.file, None, f"the worker process died on it ({reason})")

    def stop(self) -> None:
        """End the process: at its ease where it waits for work, at once where it is amid some."""
        self.connection.close()
        if self.ready and self.file is None:
            self.process.join(PATIENCE)
        self.process.terminate()
        self.process.join()


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"{name}, as when memory runs out" if name == "SIGKILL" else name


def _serve(connection: Connection, setup: Setup, slot: int, workers: int) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that leads
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        share_cores(slot, workers)
        worker = Worker(setup)
    except MultimodalFerError as error:
        connection.send(error)
        return
    connection.send(READY)
    while (file := _next(connection)) is not None:
        connection.send(worker.answer(file))


def _next(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None


def _end_with_parent() -> None:
    """A run that is killed leaves no process behind that would go on for minutes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
