"""Optimisers and learning-rate schedules that the training configurations name.

`config` is a `train.TrainConfig`; `steps` are the batches of one epoch.
"""

from collections.abc import Callable
from typing import Any

from torch.optim import SGD, Adam, Optimizer
from torch.optim import lr_scheduler as schedulers


def make_sgd(groups: list[dict[str, Any]], config: Any) -> Optimizer:
    return SGD(
        groups,
        config.learning_rate,
        config.momentum,
        config.dampening,
        nesterov=config.nesterov,
    )


def make_adam(groups: list[dict[str, Any]], config: Any) -> Optimizer:
    return Adam(groups, config.learning_rate)


OPTIMIZERS = {"sgd": make_sgd, "adam": make_adam}


def one_cycle(optimizer: Optimizer, config: Any, steps: int) -> schedulers.LRScheduler:
    """Up for a quarter of the run, then down to nothing by a cosine (Smith and Topin 2018)."""
    return schedulers.OneCycleLR(
        optimizer, config.learning_rate, total_steps=steps * config.epochs, pct_start=0.25
    )


def by_epoch(factor: Callable[[int], float]):
    """A schedule whose factor of the learning rate depends on the epoch, counted from zero."""

    def make(optimizer: Optimizer, config: Any, steps: int) -> schedulers.LRScheduler:
        return schedulers.LambdaLR(optimizer, lambda step: factor(step // steps))

    return make


def barsoum(epoch: int) -> float:
    """Barsoum et al. 2016, as released: 0.05 for 20 epochs, 0.025 for 20, then 0.005."""
    return 1.0 if epoch < 20 else 0.5 if epoch < 40 else 0.1


def wujie(epoch: int) -> float:
    """WuJie1010's FER2013 systems, as released: times 0.9 every five epochs after epoch 80."""
    return 0.9 ** max(0, (epoch - 80) // 5)


def horseman(optimizer: Optimizer, config: Any, steps: int) -> schedulers.LRScheduler:
    """amineHorseman's system, as released: times 0.864 every 50 steps."""
    return schedulers.LambdaLR(optimizer, lambda step: 0.864 ** (step / 50))


def plateau(optimizer: Optimizer, config: Any, steps: int) -> schedulers.LRScheduler:
    """Arriaga et al. 2017, as released: a tenth after twelve epochs without a lower loss on PublicTest."""
    return schedulers.ReduceLROnPlateau(optimizer, factor=0.1, patience=12)


SCHEDULES = {
    "one-cycle": one_cycle,
    "constant": by_epoch(lambda epoch: 1.0),
    "barsoum": by_epoch(barsoum),
    "wujie": by_epoch(wujie),
    "horseman": horseman,
    "plateau": plateau,
}
