"""Choose the device and the precision of networks."""

import torch

PRECISIONS = ("auto", "float32", "bfloat16")


def choose_device(name: str) -> torch.device:
    """Return the device of a name: `cpu`, `cuda`, `cuda:1`, or `auto` for CUDA if available, else the CPU.

    Raises `ValueError` for any other name, and for CUDA if torch finds no CUDA device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.split(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {name!r}")
    if name != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"device is {name}, but torch finds no CUDA device here; use cpu or auto")
    return torch.device(name)


def mixed_precision(device: torch.device, precision: str = "auto") -> torch.autocast:
    """Return the context in which training computes logits; weights and losses stay float32.

    `auto` is bfloat16 on CUDA and float32 on a CPU. `bfloat16` speeds up CPUs that multiply it in hardware
    (AMX).
    """
    half = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16, enabled=half)
