"""Run folders and weights folders, read alike."""

from pathlib import Path
from typing import Any

from multimodal_fer.hub import find_weights, load_model, read_config
from multimodal_fer.models import FaceNetwork, build
from multimodal_fer.run import CHECKPOINT, result_state, training_record
from multimodal_fer.training import load_checkpoint
from recipes.ferplus.config import TrainConfig
from recipes.ferplus.schemes import SCHEMES


def load_any(name: str) -> tuple[str, FaceNetwork, dict[str, Any]]:
    """A weights folder or a run folder: its name, the network, and how it was trained."""
    if (Path(name) / CHECKPOINT).is_file():
        checkpoint = load_checkpoint(Path(name) / CHECKPOINT)
        return Path(name).name, result_model(checkpoint), training_record(checkpoint)
    folder = find_weights(name)
    return folder.name, load_model(folder), read_config(folder).get("training", {})


def result_model(checkpoint: dict[str, Any]) -> FaceNetwork:
    """The network that a run has come to."""
    config = TrainConfig(**checkpoint["config"])
    model = build(config.model, {"labels": SCHEMES[config.scheme].labels} | config.settings)
    model.load_state_dict(result_state(checkpoint))
    return model.eval()
