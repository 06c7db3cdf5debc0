"""All settings of a training; every key of a TOML file in `systems` is a field."""

from dataclasses import dataclass, field
from typing import Any

from multimodal_fer.errors import ConfigError
from multimodal_fer.training.sound_augmentation import CORRUPTIONS
from recipes.iemocap.corpus.emotions import NUMBERS, TARGETS
from recipes.iemocap.corpus.protocols import PROTOCOLS
from recipes.iemocap.learning.systems import SYSTEMS

LOSSES = ("softmax", "sigmoid")
SCHEDULES = ("one-cycle", "constant")
TRANSCRIPTS = ("corpus", "whisper")
WORN = ("speech", "pretrained-voice")
ALL = -1  # no fold: every turn trains, for weights that are published
CHOICES = ("valid_uar", "valid_accuracy", "valid_log_likelihood")


@dataclass(frozen=True)
class TrainConfig:
    """What is trained, on which turns, and how."""

    data: str = "runs/iemocap"  # what prepare.py wrote
    run: str = "runs/iemocap-run"  # folder of the folds; of one fold while it is trained
    model: str = "speech"  # a key of SYSTEMS
    settings: dict[str, Any] = field(default_factory=dict)  # of the network, other than defaults
    protocol: str = "loso5"  # a key of PROTOCOLS
    target: str = "four"  # a set of labels, or dimensions
    fold: int = 0  # or ALL
    tags: bool = False  # leave marks such as [LAUGHTER] in the words: no recogniser writes them
    transcripts: str = "corpus"  # or whisper: as the package's own recogniser hears the turns
    speech_model: str = "auto"  # that recogniser's model, as `analyze` takes it
    engine: str = ""  # and its engine; empty for the one that fits the model
    vectors: str = "glove"  # the installed GloVe, a file of word vectors, or none
    smallest_count: int = 1  # a rarer word is unknown
    face_weights: str = (
        "face-ferplus-seresnet"  # the network that looks at faces; it does not learn
    )
    longest: float = 8.0  # seconds of a sound that training hears, from a random place; 0 is all
    wear: str = "none"  # a key of WEARS: rooms, noise, narrow bands over the sounds that train
    speed: float = 0.0  # sounds are played faster or slower, up to this
    loss: str = "softmax"  # or sigmoid, which asks each label by itself, as published
    smoothing: float = 0.0  # of the labels
    class_weights: float = 0.0  # errors on rare classes cost more: frequency ** -class_weights
    epochs: int = 30
    batch: int = 32
    steps: int = 0  # batches of an epoch, drawn with replacement; 0 takes every turn once
    learning_rate: float = 1e-3  # the highest of the schedule
    weight_decay: float = 1e-2
    clip_norm: float = 0.0  # longest gradient, where it is not zero
    clip_value: float = 0.0  # gradients are clamped to this, where it is not zero
    schedule: str = "one-cycle"  # or constant
    average_decay: float = 0.99  # running mean of the weights, per step; 0 is none
    keep: str = "best"  # or last
    choose: str = "valid_uar"  # the figure by which the best is chosen
    patience: int = 0  # stop after this many epochs without a better one; 0 is never
    seed: int = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        known = {
            "model": SYSTEMS,
            "protocol": PROTOCOLS,
            "target": TARGETS,
            "transcripts": TRANSCRIPTS,
            "wear": CORRUPTIONS,
            "loss": LOSSES,
            "schedule": SCHEDULES,
            "keep": ("last", "best"),
            "choose": CHOICES,
        }
        for key, values in known.items():
            if getattr(self, key) not in values:
                raise ConfigError(f"unknown {key} {getattr(self, key)!r}; known: {sorted(values)}")
        if (self.wear != "none" or self.speed) and self.model not in WORN:
            raise ConfigError(
                f"model {self.model!r} does not hear sounds as they are: wear and speed are for "
                f"{', '.join(WORN)}"
            )

    @property
    def score(self) -> str:
        """The figure that chooses: numbers have only one."""
        return "valid_ccc" if self.target == NUMBERS else self.choose
