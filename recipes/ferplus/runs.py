"""Run folders: what a training has come to, and whether it may be continued."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from multimodal_fer.errors import ConfigError
from multimodal_fer.hub import find_weights, load_model, read_config
from multimodal_fer.models import FaceNetwork, build
from multimodal_fer.training import load_checkpoint
from recipes.ferplus.config import TrainConfig
from recipes.ferplus.schemes import SCHEMES

CHECKPOINT = "last.pt"


def load_any(name: str) -> tuple[str, FaceNetwork, dict[str, Any]]:
    """A weights folder or a run folder: its name, the network, and how it was trained."""
    if (Path(name) / CHECKPOINT).is_file():
        checkpoint = load_checkpoint(Path(name) / CHECKPOINT)
        return Path(name).name, result_model(checkpoint), training_record(checkpoint)
    folder = find_weights(name)
    return folder.name, load_model(folder), read_config(folder).get("training", {})


def check_same_run(config: TrainConfig, started: dict[str, Any], run: Path) -> None:
    """Refuse to continue a run with other settings: its figures would belong to neither."""
    free = {"data", "run", "device"}  # may move between sittings
    changed = {
        key: (value, now)
        for key, now in asdict(config).items()
        if key not in free and (value := started.get(key)) != now
    }
    if changed:
        listed = ", ".join(f"{key} was {a!r}, now {b!r}" for key, (a, b) in changed.items())
        raise ConfigError(f"{run}: was started with other settings ({listed}); use another folder")


def result_model(checkpoint: dict[str, Any]) -> FaceNetwork:
    """The network that a run has come to: its last averaged weights, or its best."""
    config = TrainConfig(**checkpoint["config"])
    model = build(config.model, {"labels": SCHEMES[config.scheme].labels} | config.settings)
    state = checkpoint["best"]
    if config.keep == "last":
        prefix = "module."  # torch's AveragedModel keeps the network under this name
        state = {
            name.removeprefix(prefix): value
            for name, value in checkpoint["average"].items()
            if name.startswith(prefix)
        }
    model.load_state_dict(state)
    return model.eval()


def training_record(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What a result has to say of its training: the settings, and how far it went."""
    config, epochs = checkpoint["config"], checkpoint["epochs"]
    settings = {key: config[key] for key in config if key not in ("data", "run", "device", "limit")}
    minutes = sum(row["seconds"] for row in epochs) / 60
    return settings | {
        "epochs_done": len(epochs),
        "minutes": round(minutes),
        "started_from": checkpoint.get("started_from", {}),
    }
