"""Turn a finished run into a weights folder, calibrated on the validation images.

python -m recipes.ferplus.export runs/compact runs/ferplus.npz weights/face-ferplus-seresnet
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from multimodal_fer.errors import DataError
from multimodal_fer.hub import save_model
from multimodal_fer.models import SEResNet, build
from multimodal_fer.training import current_commit, load_checkpoint, run_command
from recipes.ferplus.train import TrainConfig, load_examples, predict

AVERAGED_PREFIX = "module."  # torch's AveragedModel keeps the network under this name


def averaged_model(checkpoint: dict[str, Any]) -> SEResNet:
    """The network with the running mean of its weights, as trained so far."""
    state = {
        name.removeprefix(AVERAGED_PREFIX): value
        for name, value in checkpoint["average"].items()
        if name.startswith(AVERAGED_PREFIX)
    }
    model = build(checkpoint["config"]["model"], {})
    model.load_state_dict(state)
    return model.eval()


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The divisor of the logits with the lowest cross-entropy on validation data (Guo et al. 2017)."""
    log_temperature = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], lr=0.1, max_iter=100)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(logits / log_temperature.exp(), targets)
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(log_temperature.detach().exp())


def export(run: str, archive: str, folder: str) -> None:
    """Write the averaged weights of the last epoch, whatever its score."""
    checkpoint = load_checkpoint(Path(run) / "last.pt")
    config = TrainConfig(**checkpoint["config"])
    done = len(checkpoint["epochs"])
    if done != config.epochs:
        raise DataError(
            f"{run}: {done} of {config.epochs} epochs are done; finish the training first"
        )
    model = averaged_model(checkpoint)
    validation = load_examples(
        replace(config, data=archive), "valid", "majority", torch.device("cpu")
    )
    temperature = fit_temperature(predict(model, validation.images), validation.targets)
    model.config = replace(model.config, temperature=round(temperature, 4))
    about = {
        "modality": "face",
        "trained_on": "FER+ (FER2013 Training, 27,947 images)",
        "calibrated_on": f"FER2013 PublicTest, {len(validation.images)} images with a majority",
        "licence": "research use; images: FER2013 challenge terms, labels: MIT (FER+)",
        "recipe": "recipes/ferplus/compact.toml",
        "training": {
            name: getattr(config, name)
            for name in ("scheme", "epochs", "batch", "learning_rate", "weight_decay", "seed")
        },
        "commit": current_commit(),
    }
    save_model(folder, config.model, model, about)
    print(f"temperature {temperature:.3f}; written: {folder}")


if __name__ == "__main__":
    run_command(export, __doc__, 3)
