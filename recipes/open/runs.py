"""Load trained networks of this recipe from run folders and weights folders."""

from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from multimodal_fer.hub.loading import load_model, load_reader
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.hub.weights_folder import read_config
from multimodal_fer.models import build
from multimodal_fer.text.network import WordNetwork
from multimodal_fer.text.sentences.encoder import SentenceEncoder
from multimodal_fer.text.sentences.word_pieces import PAD, WordPieces
from multimodal_fer.text.vocabulary import Vocabulary
from multimodal_fer.training.config import current_names
from multimodal_fer.training.run import (
    CHECKPOINT,
    OF_THE_MACHINE,
    load_checkpoint,
    result_state,
    training_record,
)

Config = TypeVar("Config")


class Trained(NamedTuple):
    """A trained network with the record of its training."""

    name: str
    model: Any
    vocabulary: Vocabulary | WordPieces | None
    training: dict[str, Any]


def load_run(folder: str) -> dict[str, Any]:
    """Return the checkpoint of a run, its configuration under today's names."""
    checkpoint = load_checkpoint(Path(folder) / CHECKPOINT)
    return checkpoint | {"config": current_names(checkpoint["config"])}


def load_trained(name: str) -> Trained:
    """Load a weights folder or a run folder."""
    if (Path(name) / CHECKPOINT).is_file():
        checkpoint = load_run(name)
        model = build(checkpoint["config"].get("model", "late-attention"), checkpoint["settings"])
        model.load_state_dict(result_state(checkpoint))
        words = checkpoint.get("vocabulary")
        kind = WordPieces if words and words[0] == PAD else Vocabulary
        vocabulary = kind(tuple(words)) if words else None
        return Trained(Path(name).name, model.eval(), vocabulary, training_record(checkpoint))
    folder = find_weights(name)
    stored = current_names(read_config(folder).get("training", {}))
    training = {key: value for key, value in stored.items() if key not in OF_THE_MACHINE}
    model = load_model(folder)
    if isinstance(model, WordNetwork | SentenceEncoder):
        reader = load_reader(folder)
        return Trained(folder.name, reader.network, reader.vocabulary, training)
    return Trained(folder.name, model, None, training)


def config_of(trained: Trained, kind: type[Config]) -> Config:
    """Return the settings of a training from its record."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    settings = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in trained.training.items()
        if key in known
    }
    return kind(**settings)
