"""One training step of each network, in a process that it may end; `test_training_step.py` starts it.

Every case is said before it begins and after it is over, so that whoever started the process knows where it
ended.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from multimodal_fer.models import build
from multimodal_fer.models.reference_outputs import reference_input

BATCH = 16  # smaller batches of narrow maps do not show what oneDNN gets wrong


def repeated(value: Any) -> Any:
    """The four golden examples, as often as a batch has room for."""
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
        print("is over", case, flush=True)
