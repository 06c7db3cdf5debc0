"""Load facial networks from run folders and weights folders."""

from pathlib import Path
from typing import Any

from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.hub.loading import load_model
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.hub.weights_folder import read_config
from multimodal_fer.models import build
from multimodal_fer.training.run import CHECKPOINT, load_checkpoint, result_state, training_record
from recipes.ferplus.learning.config import TrainConfig
from recipes.ferplus.learning.schemes import SCHEMES


def load_any(name: str) -> tuple[str, FaceNetwork, dict[str, Any]]:
    """Load a weights folder or a run folder: its name, network and training record."""
    if (Path(name) / CHECKPOINT).is_file():
        checkpoint = load_checkpoint(Path(name) / CHECKPOINT)
        return Path(name).name, result_model(checkpoint), training_record(checkpoint)
    folder = find_weights(name)
    return folder.name, load_model(folder), read_config(folder).get("training", {})


def result_model(checkpoint: dict[str, Any]) -> FaceNetwork:
    """Return the resulting network of a run."""
    config = TrainConfig(**checkpoint["config"])
    model = build(config.model, {"labels": SCHEMES[config.scheme].labels} | config.settings)
    model.load_state_dict(result_state(checkpoint))
    return model.eval()
