"""Several processes that train one network, and seeds."""

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
    """The processes that train together, seen from one of them."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this one writes files and speaks."""
        return self.rank == 0

    def share(self, picks: Tensor) -> Tensor:
        """This worker's part of a batch's numbers; all get equally many, so a rest is left out."""
        return picks[: len(picks) // self.count * self.count][self.rank :: self.count]

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model itself, or one that averages its gradients over the workers."""
        if self.count == 1:
            return model
        return nn.parallel.DistributedDataParallel(model)


@contextmanager
def workers(device: str) -> Iterator[Workers]:
    """Join the group that torchrun has started, one CUDA device each; without torchrun, work alone."""
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
