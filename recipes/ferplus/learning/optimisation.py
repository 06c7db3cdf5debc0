"""Optimisers and learning-rate schedules by name.

`config` is a `TrainConfig`; `steps` is the number of batches of an epoch.
"""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim import lr_scheduler as schedulers

from multimodal_fer.errors import ConfigError
from multimodal_fer.training.run import decayed_apart


def make_sgd(groups: list[dict[str, Any]], config: Any) -> Optimizer:
    rates = config.learning_rate, config.momentum, config.dampening
    return SGD(groups, *rates, nesterov=config.nesterov)


def make_adam(groups: list[dict[str, Any]], config: Any) -> Optimizer:
    return Adam(groups, config.learning_rate)


def make_adamw(groups: list[dict[str, Any]], config: Any) -> Optimizer:
    return AdamW(groups, config.learning_rate)


OPTIMIZERS = {"sgd": make_sgd, "adam": make_adam, "adamw": make_adamw}


def freeze(model: nn.Module, parts: tuple[str, ...]) -> None:
    """Exclude parts of a network from training. Raises `ConfigError` for a part that it does not have."""
    for name in parts:
        try:
            part = model.get_submodule(name)
        except AttributeError:
            known = ", ".join(name for name, _ in model.named_modules() if name.count(".") < 2)
            raise ConfigError(f"frozen: the network has no part {name!r}; known: {known}") from None
        part.requires_grad_(False)


def parameter_groups(model: nn.Module, config: Any) -> list[dict[str, Any]]:
    """Return groups of trainable parameters with their rates; kernels decay, biases do not.

    With `early_rate` below 1, the rate grows from layer to layer by a constant factor, from `early_rate`
    times the learning rate for the first to the learning rate for the last.
    """
    if config.early_rate == 1:
        return [
            group | {"params": kept}
            for group in decayed_apart(model, config.weight_decay)
            if (kept := [parameter for parameter in group["params"] if parameter.requires_grad])
        ]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    last = max(len(parameters) - 1, 1)
    return [
        {
            "params": [parameter],
            "lr": config.learning_rate * config.early_rate ** (1 - place / last),
            "weight_decay": config.weight_decay if parameter.ndim > 1 else 0.0,
        }
        for place, parameter in enumerate(parameters)
    ]


def one_cycle(optimizer: Optimizer, config: Any, steps: int) -> schedulers.LRScheduler:
    """Rise for a quarter of the run, then fall to zero by a cosine (Smith and Topin 2018)."""
    rates = [group["lr"] for group in optimizer.param_groups]
    return schedulers.OneCycleLR(
        optimizer, rates, total_steps=steps * config.epochs, pct_start=0.25
    )


def by_epoch(factor: Callable[[int], float]):
    """Return a schedule whose factor depends on the epoch, counted from zero."""

    def make(optimizer: Optimizer, config: Any, steps: int) -> schedulers.LRScheduler:
        return schedulers.LambdaLR(optimizer, lambda step: factor(step // steps))

    return make


def barsoum(epoch: int) -> float:
    """Follow Barsoum et al. 2016 as released: 0.05 for 20 epochs, 0.025 for 20, then 0.005."""
    return 1.0 if epoch < 20 else 0.5 if epoch < 40 else 0.1


def wujie(epoch: int) -> float:
    """Follow WuJie1010's FER2013 systems as released: times 0.9 every five epochs after epoch 80."""
    return 0.9 ** max(0, (epoch - 80) // 5)


def horseman(optimizer: Optimizer, config: Any, steps: int) -> schedulers.LRScheduler:
    """Follow amineHorseman's system as released: times 0.864 every 50 steps."""
    return schedulers.LambdaLR(optimizer, lambda step: 0.864 ** (step / 50))


def plateau(optimizer: Optimizer, config: Any, steps: int) -> schedulers.LRScheduler:
    """Follow Arriaga et al. 2017 as released: a tenth after 12 epochs without a lower loss on PublicTest."""
    return schedulers.ReduceLROnPlateau(optimizer, factor=0.1, patience=12)


SCHEDULES = {
    "one-cycle": one_cycle,
    "constant": by_epoch(lambda epoch: 1.0),
    "barsoum": by_epoch(barsoum),
    "wujie": by_epoch(wujie),
    "horseman": horseman,
    "plateau": plateau,
}
