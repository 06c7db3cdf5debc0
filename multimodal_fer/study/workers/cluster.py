"""Run workers on a Ray cluster or on Ray on this machine, each in its own actor with its own models."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

from multimodal_fer.errors import MultimodalFerError
from multimodal_fer.study.workers.job import Reply, Setup, Worker, share_cores
from multimodal_fer.utils.process_pool import PoolError, processors

LOCAL = "local"
WAITING = 120  # seconds that an actor waits for its cores


class Actor:
    """A worker in a Ray actor; it loads its models in `prepare`, so that errors can be returned."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.worker: Worker | None = None

    def place(self) -> tuple[str, int]:
        """Return the machine's identifier and the number of its cores."""
        import ray  # type: ignore[import-not-found]

        return ray.get_runtime_context().get_node_id(), len(processors())

    def prepare(self, slot: int, beside: int) -> MultimodalFerError | None:
        try:
            share_cores(slot, beside)
            self.worker = Worker(self.setup)
        except MultimodalFerError as error:
            return error
        return None

    def answer(self, file: str) -> Reply:
        assert self.worker is not None
        return self.worker.answer(file)


class Cluster:
    """Analyse files in Ray actors; see `Pool`.

    Parameters
    ----------
    address : "local" starts Ray on this machine for this run; "auto" or HOST:PORT joins a running cluster.
        Each machine of a cluster needs this package and the sessions under the same path
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def __call__(self, files: Sequence[str], setup: Setup, workers: int) -> Iterator[Reply]:
        ray = _import_ray()
        joined = ray.is_initialized()
        if not joined:
            _start(ray, self.address)
        try:
            yield from _analyse(ray, files, setup, workers)
        finally:
            if not joined:
                ray.shutdown()


def _import_ray() -> Any:
    try:
        import ray  # type: ignore[import-not-found]
    except ImportError:
        raise PoolError("Ray is not installed; pip install 'multimodal_fer[ray]'") from None
    return ray


def _start(ray: Any, address: str) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray sends usage statistics by default
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        settings["include_dashboard"] = False
    try:
        ray.init(address=address, **settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise PoolError(
            f"no Ray cluster answers at {address} ({error}); start one, or use --cluster local"
        ) from None


class Member(NamedTuple):
    """An actor, its machine, its number among the actors there, and the file it works on."""

    actor: Any
    node: str
    slot: int
    file: str | None = None


class Team:
    """The actors of one run, each with its own share of the cluster."""

    def __init__(self, ray: Any, setup: Setup, workers: int) -> None:
        self.ray, self.setup = ray, setup
        self.share = _share(ray.cluster_resources(), workers, setup.device)
        self.busy: dict[Any, Member] = {}
        self.taken: set[tuple[str, int]] = set()

    def start_actor(self) -> None:
        """Start an actor; on a busy cluster the run goes on with those that have room."""
        actor = self.ray.remote(**self.share)(Actor).remote(self.setup)
        try:
            node, cores = self.ray.get(actor.place.remote(), timeout=WAITING)
        except self.ray.exceptions.GetTimeoutError:
            self.ray.kill(actor)  # it waits for cores that others use
            if self.busy:
                return
            raise PoolError(
                f"the cluster has no room for a worker with {self.share} within {WAITING} s; wait for "
                "other work to end, or give more --workers, which need fewer cores each"
            ) from None
        except self.ray.exceptions.RayError as error:
            raise _not_started(error) from None
        slot = next(slot for slot in count() if (node, slot) not in self.taken)
        self.taken.add((node, slot))
        beside = max(1, round(cores / max(self.share["num_cpus"], 1.0)))
        self.busy[actor.prepare.remote(slot, beside)] = Member(actor, node, slot)

    def assign(self, member: Member, file: str) -> None:
        self.busy[member.actor.answer.remote(file)] = member._replace(file=file)

    def next(self) -> tuple[Member, Any]:
        """Wait for an actor, and return it with its reply or the error that ended it."""
        done = self.ray.wait(list(self.busy), num_returns=1)[0][0]
        member = self.busy.pop(done)
        try:
            return member, self.ray.get(done)
        except self.ray.exceptions.RayError as error:
            self.taken.remove((member.node, member.slot))
            return member, error


def _analyse(ray: Any, files: Sequence[str], setup: Setup, workers: int) -> Iterator[Reply]:
    waiting = deque(files)
    team = Team(ray, setup, workers)
    for _ in range(min(workers, len(files))):
        team.start_actor()
    while team.busy:
        member, reply = team.next()
        if isinstance(reply, MultimodalFerError):
            raise reply
        if isinstance(reply, Exception):
            if member.file is None:
                raise _not_started(reply)
            yield Reply(member.file, None, f"the worker died on this file ({type(reply).__name__})")
            if waiting:
                team.start_actor()
            continue
        if reply is not None:
            yield reply
        if waiting:
            team.assign(member, waiting.popleft())


def _not_started(error: Exception) -> PoolError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return PoolError(f"a Ray actor ended before it was ready ({reason}); try fewer workers")


def _share(resources: dict[str, float], workers: int, device: str) -> dict[str, float]:
    """Return the cores of each actor, and its share of the GPUs unless the device is the CPU."""
    cores, devices = resources.get("CPU", 1.0) / workers, resources.get("GPU", 0.0) / workers
    share = {"num_cpus": float(int(cores)) if cores >= 1 else cores}
    if devices and device != "cpu":
        share["num_gpus"] = 1.0 if devices >= 1 else devices
    return share
