"""Processes that train one network together, and random seeds."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor, distributed, nn

from multimodal_fer.utils.devices import choose_device


@dataclass(frozen=True)
class Workers:
    """One of `count` processes that train one network."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Return if this is the process that writes files and prints."""
        return self.rank == 0

    def share(self, picks: Tensor) -> Tensor:
        """Return this worker's share of a batch; shares are equal, so a remainder is left out."""
        return picks[: len(picks) // self.count * self.count][self.rank :: self.count]

    def parallel(self, model: nn.Module) -> nn.Module:
        """Return the model, wrapped to average its gradients if there are several workers."""
        if self.count == 1:
            return model
        return nn.parallel.DistributedDataParallel(model)


@contextmanager
def workers(device: str) -> Iterator[Workers]:
    """Join the process group of torchrun, one CUDA device each; without torchrun, yield a group of one."""
    chosen = choose_device(device)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield Workers(0, 1, chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Workers(distributed.get_rank(), distributed.get_world_size(), chosen)
    finally:
        distributed.destroy_process_group()


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch (every device)."""
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)
