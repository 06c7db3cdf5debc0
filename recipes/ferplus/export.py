"""Turn a finished run into a weights folder, calibrated on the validation images.

python -m recipes.ferplus.export runs/compact runs/ferplus.npz weights/face-ferplus-seresnet
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from multimodal_fer.errors import DataError
from multimodal_fer.hub import save_model
from multimodal_fer.training import current_commit, load_checkpoint, run_command
from recipes.ferplus.config import TrainConfig
from recipes.ferplus.runs import CHECKPOINT, result_model, training_record
from recipes.ferplus.schemes import SCHEMES
from recipes.ferplus.train import load_examples
from recipes.ferplus.views import predict

ALLOWED_LOSS = 0.002  # of validation accuracy, for the sake of rare classes


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


def lift_rare(logits: Tensor, truth: Tensor, frequency: Tensor) -> float:
    """How far rare classes can be lifted at next to no cost: the share of log-frequency to take off.

    Logit adjustment (Menon et al. 2021, section 4) subtracts `share * log(frequency)` from the logits: at 1
    every class counts alike, which costs many common answers for a few rare ones. The largest share that
    loses no more than `ALLOWED_LOSS` of validation accuracy is taken.
    """
    shares = torch.arange(0, 1.01, 0.05)
    accuracies = [
        float(((logits - share * frequency.log()).argmax(1) == truth).float().mean())
        for share in shares
    ]
    fair = [
        float(share)
        for share, accuracy in zip(shares, accuracies, strict=True)
        if accuracy >= accuracies[0] - ALLOWED_LOSS
    ]
    return round(max(fair), 2)


def export(run: str, archive: str, folder: str) -> None:
    """Write what the finished run came to, whatever its score."""
    checkpoint = load_checkpoint(Path(run) / CHECKPOINT)
    config = TrainConfig(**checkpoint["config"])
    done = len(checkpoint["epochs"])
    if done != config.epochs and not config.patience:
        raise DataError(
            f"{run}: {done} of {config.epochs} epochs are done; finish the training first"
        )
    model = result_model(checkpoint)
    device = torch.device("cpu")
    scheme = SCHEMES[config.scheme]
    here = replace(config, data=archive)
    training = load_examples(here, "train", scheme, device)
    validation = load_examples(here, "valid", SCHEMES[scheme.measured_by], device)
    logits = predict(model, validation.images)
    frequency = training.targets.mean(0).clamp(min=1 / len(training.images))
    lifted = lift_rare(logits, validation.targets.argmax(1), frequency)
    adjustment = -lifted * frequency.log()
    with torch.no_grad():
        model.head.bias += adjustment  # type: ignore[operator]
    temperature = fit_temperature(logits + adjustment, validation.targets)
    model.config = replace(model.config, temperature=round(temperature, 4))
    about = {
        "modality": "face",
        "trained_on": f"FER2013 Training, {len(training.images):,} images, scheme {config.scheme}",
        "calibrated_on": f"FER2013 PublicTest, {len(validation.images):,} images",
        "licence": "research use; images: FER2013 challenge terms, labels: MIT (FER+)",
        "rare_classes_lifted": lifted,
        "training": training_record(checkpoint),
        "commit": current_commit(),
    }
    save_model(folder, config.model, model, about)
    print(f"rare classes lifted by {lifted:.2f}, temperature {temperature:.3f}; written: {folder}")


if __name__ == "__main__":
    run_command(export, __doc__, 3)
