"""Settings of trainings and commands.

Every key of a TOML file in `systems` is a field of `TrainConfig`. Other commands read their own dataclass
from `name=value` words.
"""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

from multimodal_fer.errors import ConfigError
from multimodal_fer.training.sound_augmentation import CORRUPTIONS
from recipes.iemocap.corpus.emotions import NUMBERS, TARGETS
from recipes.iemocap.corpus.protocols import PROTOCOLS
from recipes.iemocap.learning.systems import SYSTEMS, WHISPER

WAVEFORM_MODELS = ("speech", "pretrained-voice", WHISPER)
ALL = -1  # the fold in which every turn trains, for weights to be published
SWITCHES = {"1": True, "true": True, "0": False, "false": False}
KNOWN = {
    "model": SYSTEMS,
    "protocol": PROTOCOLS,
    "target": TARGETS,
    "transcripts": ("corpus", "whisper"),
    "wear": CORRUPTIONS,
    "loss": ("softmax", "sigmoid"),
    "schedule": ("one-cycle", "constant"),
    "keep": ("last", "best"),
    "choose": ("valid_uar", "valid_accuracy", "valid_log_likelihood"),
}
Settings = TypeVar("Settings")


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a training."""

    data: str = "runs/iemocap"  # the prepared release
    run: str = "runs/iemocap-run"  # folder of the folds; of one fold while it is trained
    model: str = "speech"  # a key of SYSTEMS
    settings: dict[str, Any] = field(default_factory=dict)  # of the network, other than defaults
    protocol: str = "loso5"  # a key of PROTOCOLS
    target: str = "four"  # a label set, or dimensions
    fold: int = 0  # or ALL
    tags: bool = False  # keep marks such as [LAUGHTER] in the words; recognisers write none
    transcripts: str = "corpus"  # or whisper: the words of the package's speech recogniser
    speech_model: str = "auto"  # of the recogniser, as for `analyze`
    engine: str = ""  # of the recogniser; empty for the one that fits the model
    vectors: str = "glove"  # the installed GloVe, a file of word vectors, or none
    smallest_count: int = 1  # rarer words are unknown words
    face_weights: str = "face-ferplus-seresnet"  # the frozen facial network
    longest: float = 8.0  # seconds of a sound in training, from a random position; 0 is all
    wear: str = "none"  # a key of CORRUPTIONS: augmentation of sounds by rooms, noise, narrow bands
    speed: float = 0.0  # largest relative change of a sound's speed in training
    loss: str = "softmax"  # or sigmoid: one binary loss per label, as published
    smoothing: float = 0.0  # of the labels
    class_weights: float = 0.0  # weights of the classes in the loss: frequency ** -class_weights
    epochs: int = 30
    batch: int = 32
    steps: int = 0  # batches of an epoch, drawn with replacement; 0 takes every turn once
    learning_rate: float = 1e-3  # the highest of the schedule
    weight_decay: float = 1e-2
    clip_norm: float = 0.0  # largest gradient norm; 0 does not clip
    clip_value: float = 0.0  # largest absolute gradient value; 0 does not clip
    schedule: str = "one-cycle"  # or constant
    average_decay: float = 0.99  # of the moving average of the weights, per step; 0 is none
    keep: str = "best"  # or last
    choose: str = "valid_uar"  # the figure that selects the best epoch
    patience: int = 0  # epochs without improvement before stopping; 0 never stops
    seed: int = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        for key, values in KNOWN.items():
            if getattr(self, key) not in values:
                raise ConfigError(f"unknown {key} {getattr(self, key)!r}; known: {sorted(values)}")
        if (self.wear != "none" or self.speed) and self.model not in WAVEFORM_MODELS:
            raise ConfigError(
                f"model {self.model!r} does not read waveforms: wear and speed are for "
                f"{', '.join(WAVEFORM_MODELS)}"
            )

    @property
    def score(self) -> str:
        """Return the figure that selects the epoch; dimensions have only one."""
        return "valid_ccc" if self.target == NUMBERS else self.choose


def read_settings(kind: type[Settings], words: Sequence[str]) -> Settings:
    """Make the dataclass `kind` from `name=value` words, each read by the type of its field's default.

    A tuple field takes texts separated by commas. Words with unknown names are collected in the field `rest`
    if `kind` has one. Raises `ConfigError` for any other unknown word or an invalid value.
    """
    known: dict[str, Any] = {
        field.name: field.default_factory() if field.default is MISSING else field.default  # type: ignore[misc]
        for field in fields(kind)  # type: ignore[arg-type]
    }
    values: dict[str, Any] = {}
    rest: list[str] = []
    for word in words:
        name, separator, text = word.partition("=")
        if separator and name in known:
            values[name] = _read(name, text, known[name])
        elif separator and "rest" in known:
            rest.append(word)
        else:
            names = ", ".join(f"{name}=..." for name in known)
            raise ConfigError(f"unknown setting {word!r}; known: {names}")
    return kind(**values, **({"rest": tuple(rest)} if rest else {}))


def _read(name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() not in SWITCHES:
            raise ConfigError(f"{name}: expected 1 or 0, found {text!r}")
        return SWITCHES[text.lower()]
    if isinstance(default, int):
        if not text.isdecimal():
            raise ConfigError(f"{name}: expected a number, found {text!r}")
        return int(text)
    if isinstance(default, tuple):
        return tuple(part for part in text.split(",") if part)
    return text


def split_words(words: Sequence[str], **defaults: str) -> tuple[dict[str, str], list[str]]:
    """Separate the options named in `defaults` from the other words of the command line."""
    values, rest = dict(defaults), []
    for word in words:
        name, separator, text = word.partition("=")
        if separator and name in values:
            values[name] = text
        else:
            rest.append(word)
    return values, rest
