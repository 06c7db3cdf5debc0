"""Run one training step of each network; `test_training_step.py` starts this in a process of its own.

The start and the end of each case are printed, so that the test knows which case ended the process.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from multimodal_fer.models import build
from multimodal_fer.models.reference_outputs import reference_input

BATCH = 16  # smaller batches do not show the fault of oneDNN


def repeated(value: Any) -> Any:
    """Repeat the four reference samples to fill the batch."""
    if isinstance(value, Tensor):
        return value.repeat(BATCH // len(value), *[1] * (value.ndim - 1))
    if isinstance(value, Mapping):
        return {name: repeated(part) for name, part in value.items()}
    return type(value)(*map(repeated, value))


def train_one_step(model: str, settings: Mapping[str, Any], precision: str) -> None:
    torch.manual_seed(0)
    network = build(model, settings).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)
    inputs = [repeated(value) for value in reference_input(network)]
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        logits = network(*inputs).logits
    logits.float().logsumexp(1).sum().backward()
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)
    optimizer.step()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case, *what in json.loads(sys.argv[1]):
        print("begins", case, flush=True)
        train_one_step(*what)
        print("ends", case, flush=True)
