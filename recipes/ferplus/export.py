"""Export a finished run as a weights folder, calibrated on the validation images.

    python -m recipes.ferplus.export runs/compact runs/ferplus.npz weights/face-ferplus-seresnet
    python -m recipes.ferplus.export runs/compact runs/ferplus.npz weights/face-trial unfinished

`unfinished` also exports a run that was stopped early; the config says how many epochs were done.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from multimodal_fer.errors import DataError
from multimodal_fer.hub.loading import save_model
from multimodal_fer.training.metrics import fit_temperature
from multimodal_fer.training.run import CHECKPOINT, current_commit, load_checkpoint, training_record
from multimodal_fer.utils.command_line import run_command
from recipes.ferplus.learning.config import TrainConfig
from recipes.ferplus.learning.runs import result_model
from recipes.ferplus.learning.schemes import SCHEMES
from recipes.ferplus.learning.views import predict
from recipes.ferplus.starts.graph import terms_of
from recipes.ferplus.train import load_samples

TERMS = "research use; images: FER2013 challenge terms, labels: MIT (FER+)"
RARE = 0.03  # share of the training targets under which a class is rare
ALLOWED_LOSS = 0.002  # of validation accuracy, in favour of rare classes


def lift_rare(logits: Tensor, truth: Tensor, frequency: Tensor) -> tuple[float, Tensor]:
    """Return the share of the logit adjustment for rare classes, and the adjustment itself (K,).

    Logit adjustment (Menon et al. 2021, section 4) of classes under `RARE` only, as adjusting all classes
    would cost many frequent labels for a few rare ones. The share of `log(RARE / frequency)` is the
    largest, in steps of 0.05, that costs no more than `ALLOWED_LOSS` of validation accuracy.
    """
    full = (RARE / frequency).log().clamp(min=0)
    shares = [step / 20 for step in range(21)]
    accuracies = [((logits + s * full).argmax(1) == truth).float().mean().item() for s in shares]
    fair = [s for s, a in zip(shares, accuracies, strict=True) if a >= accuracies[0] - ALLOWED_LOSS]
    return max(fair), max(fair) * full


def export(run: str, archive: str, folder: str, stage: str = "finished") -> None:
    """Write the calibrated network of a run.

    Raises `DataError` for an unfinished run, unless `stage` is "unfinished".
    """
    if stage not in ("finished", "unfinished"):
        raise DataError(f"expected unfinished or nothing after the folder, found {stage!r}")
    checkpoint = load_checkpoint(Path(run) / CHECKPOINT)
    config = TrainConfig(**checkpoint["config"])
    done = len(checkpoint["epochs"])
    if done != config.epochs and not config.patience and stage == "finished":
        raise DataError(
            f"{run}: {done} of {config.epochs} epochs are done; finish the training first, or add the "
            "word unfinished"
        )
    model = result_model(checkpoint)
    device = torch.device("cpu")
    scheme = SCHEMES[config.scheme]
    here = replace(config, data=archive)
    training = load_samples(here, "train", scheme, device)
    validation = load_samples(here, "valid", SCHEMES[scheme.measured_by], device)
    logits = predict(model, validation.images)
    frequency = training.targets.mean(0).clamp(min=1 / len(training.images))
    # Rare classes were drawn frequency ** -balance times as often; this removes the resulting prior.
    adjustment = config.balance * frequency.log()
    lifted, lift = lift_rare(logits + adjustment, validation.targets.argmax(1), frequency)
    adjustment += lift
    with torch.no_grad():
        model.head.bias += adjustment  # type: ignore[operator]
    temperature = fit_temperature(logits + adjustment, validation.targets)
    model.config = replace(model.config, temperature=round(temperature, 4))
    about = {
        "modality": "face",
        "trained_on": f"FER2013 Training, {len(training.images):,} images, scheme {config.scheme}",
        "calibrated_on": f"FER2013 PublicTest, {len(validation.images):,} images",
        "licence": TERMS + terms_of(checkpoint.get("started_from", {})),
        "rare_classes_lifted": lifted,
        "training": training_record(checkpoint),
        "commit": current_commit(),
    }
    save_model(folder, config.model, model, about)
    print(f"rare classes lifted by {lifted:.2f}, temperature {temperature:.3f}; written: {folder}")


if __name__ == "__main__":
    run_command(export, __doc__, 3, more=True)
