"""Optimisers and learning-rate schedules by name.

`config` is a `TrainConfig`; `steps` is the number of batches of an epoch.
"""

from collections.abc import Callable
from typing import Any

from torch.optim import SGD, Adam, Optimizer
from torch.optim import lr_scheduler as schedulers


def make_sgd(groups: list[dict[str, Any]], config: Any) -> Optimizer:
    rates = config.learning_rate, config.momentum, config.dampening
    return SGD(groups, *rates, nesterov=config.nesterov)


def make_adam(groups: list[dict[str, Any]], config: Any) -> Optimizer:
    return Adam(groups, config.learning_rate)


OPTIMIZERS = {"sgd": make_sgd, "adam": make_adam}


def one_cycle(optimizer: Optimizer, config: Any, steps: int) -> schedulers.LRScheduler:
    """Rise for a quarter of the run, then fall to zero by a cosine (Smith and Topin 2018)."""
    return schedulers.OneCycleLR(
        optimizer, config.learning_rate, total_steps=steps * config.epochs, pct_start=0.25
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
