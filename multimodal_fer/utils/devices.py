"""Where networks run."""

import torch

PRECISIONS = ("auto", "float32", "bfloat16")


def choose_device(name: str) -> torch.device:
    """`auto` takes a CUDA device where there is one; `cpu`, `cuda` and `cuda:1` are taken at their word.

    Raises `ValueError` for any other name, and for CUDA where torch finds none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.split(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {name!r}")
    if name != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"device is {name}, but torch finds no CUDA device here; use cpu or auto")
    return torch.device(name)


def mixed_precision(device: torch.device, precision: str = "auto") -> torch.autocast:
    """The context in which a training computes its logits.

    `auto` is bfloat16 on CUDA and float32 on a CPU; `bfloat16` is worth asking for on CPUs that multiply it
    in hardware (AMX). Weights and losses stay float32.
    """
    half = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16, enabled=half)
