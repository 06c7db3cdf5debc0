"""The systems that can be trained on turns: what each reads of a turn, and how its network is asked.

The TOML files in `systems` are their trainings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from multimodal_fer.errors import WeightsError
from multimodal_fer.layers.output import Output
from multimodal_fer.layers.sequences import AttentiveStatistics, present
from multimodal_fer.models import build
from multimodal_fer.voice.network import Sound


class Batch(NamedTuple):
    """What B turns hold, by name: values (B, ...), padded, and how many of them are real (B,)."""

    values: Mapping[str, Tensor]
    lengths: Mapping[str, Tensor]

    def both(self, name: str) -> tuple[Tensor, Tensor]:
        return self.values[name], self.lengths[name]


class System(NamedTuple):
    """A kind of network."""

    modalities: tuple[str, ...]  # a turn that lacks one of these is not judged
    reads: tuple[str, ...]  # of a turn: samples, mfcc, prosody, tokens, faces
    judge: Callable[[Any, Batch], Output]


@dataclass(frozen=True)
class FaceTurnConfig:
    """Everything that inference has to agree on with training."""

    labels: tuple[str, ...]
    size: int  # of what the facial network says of a picture
    width: int = 64
    dropout: float = 0.3
    temperature: float = 1.0


class FaceTurn(nn.Module):
    """Many pictures of one face: each projected, pooled by attentive statistics, classified.

    Reads what a frozen facial network says of each picture, (B, C, D) with real pictures (B,).
    """

    def __init__(self, config: FaceTurnConfig):
        super().__init__()
        self.config = config
        self.projection = nn.Sequential(
            nn.LayerNorm(config.size), nn.Linear(config.size, config.width), nn.ReLU()
        )
        self.pooling = AttentiveStatistics(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(self.pooling.outputs, len(config.labels))

    def forward(self, faces_BCD: Tensor, lengths_B: Tensor) -> Output:
        pictures_BCW = self.dropout(self.projection(faces_BCD))
        embedding_BD = self.pooling(pictures_BCW, present(lengths_B, faces_BCD.shape[1]))
        return Output(self.head(self.dropout(embedding_BD)), embedding_BD)


def build_network(name: str, settings: Mapping[str, Any]) -> Any:
    """Make the untrained network of a system. Raises `WeightsError` for an unknown setting."""
    if name != "face":
        return build(name, settings)
    try:
        return FaceTurn(FaceTurnConfig(**settings))
    except TypeError as error:
        raise WeightsError(
            f"model 'face' cannot be built from {dict(settings)} ({error})"
        ) from None


def _hear_features(model: Any, batch: Batch) -> Output:
    """ARE, which could make the same features itself, but anew in every epoch."""
    return model.judge(Sound(*batch.both("mfcc"), batch.values["prosody"]))


def _hear_and_read(model: Any, batch: Batch) -> Output:
    return model(*batch.both("mfcc"), batch.values["prosody"], *batch.both("tokens"))


def _hear(model: Any, batch: Batch) -> Output:
    return model(*batch.both("samples"))


def _read(model: Any, batch: Batch) -> Output:
    return model(*batch.both("tokens"))


def _look(model: Any, batch: Batch) -> Output:
    return model(*batch.both("faces"))


VOICE_AND_TEXT = ("voice", "text")
DUAL = ("mfcc", "prosody", "tokens")

SYSTEMS = {
    "face": System(("face",), ("faces",), _look),
    "are": System(("voice",), ("mfcc", "prosody"), _hear_features),
    "speech": System(("voice",), ("samples",), _hear),
    "pretrained-voice": System(("voice",), ("samples",), _hear),
    "tre": System(("text",), ("tokens",), _read),
    "words": System(("text",), ("tokens",), _read),
    "pretrained-text": System(("text",), ("tokens",), _read),
    "mdre": System(VOICE_AND_TEXT, DUAL, _hear_and_read),
    "mdrea": System(VOICE_AND_TEXT, DUAL, _hear_and_read),
}
