"""The systems that can be trained on turns, with the inputs that each reads.

The TOML files in `systems` hold their training settings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from multimodal_fer.errors import WeightsError
from multimodal_fer.layers.output import Output
from multimodal_fer.layers.sequences import AttentiveStatistics, present
from multimodal_fer.models import build
from multimodal_fer.speech.whisper_tensors import load_encoder
from multimodal_fer.voice.network import SoundFeatures
from multimodal_fer.voice.whisper_encoder import WhisperVoice

WHISPER = "whisper-encoder"  # Whisper's first layers, fixed, with a head


class Batch(NamedTuple):
    """The inputs of B turns by name: padded values (B, ...) and lengths (B,)."""

    values: Mapping[str, Tensor]
    lengths: Mapping[str, Tensor]

    def both(self, name: str) -> tuple[Tensor, Tensor]:
        return self.values[name], self.lengths[name]


class System(NamedTuple):
    """A kind of network."""

    modalities: tuple[str, ...]  # turns that lack one of these are excluded
    reads: tuple[str, ...]  # inputs: samples, mfcc, prosody, tokens, faces
    predict: Callable[[Any, Batch], Output]


@dataclass(frozen=True)
class FaceTurnConfig:
    """The settings of `FaceTurn`."""

    labels: tuple[str, ...]
    size: int  # of the facial network's features of one crop
    width: int = 64
    dropout: float = 0.3
    temperature: float = 1.0


class FaceTurn(nn.Module):
    """A classifier of a turn's face crops: projection, attentive statistics pooling, linear layer.

    Its input are the features of a frozen facial network, (B, C, D) with C crops, and lengths (B,).
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
        crops_BCW = self.dropout(self.projection(faces_BCD))
        embedding_BD = self.pooling(crops_BCW, present(lengths_B, faces_BCD.shape[1]))
        return Output(self.head(self.dropout(embedding_BD)), embedding_BD)


def build_network(name: str, settings: Mapping[str, Any]) -> Any:
    """Build the untrained network of a system. Raises `WeightsError` for an unknown setting."""
    if name != "face":
        return build(network_name(name), settings)
    try:
        return FaceTurn(FaceTurnConfig(**settings))
    except TypeError as error:
        raise WeightsError(
            f"model 'face' cannot be built from {dict(settings)} ({error})"
        ) from None


def network_name(system: str) -> str:
    """Return the key of `multimodal_fer.models.MODELS` for a system."""
    return "whisper-voice" if system == WHISPER else system


def start_encoder(model: WhisperVoice) -> None:
    """Fill the encoder with Whisper tiny.en's, from the wheel of the extra `offline`, and keep it fixed."""
    model.encoder.load_state_dict(load_encoder(model.config.blocks, model.config.last_mlp))
    model.encoder.requires_grad_(False)


def _from_features(model: Any, batch: Batch) -> Output:
    """Predict with ARE from stored features, which it would otherwise compute in every epoch."""
    return model.classify(SoundFeatures(*batch.both("mfcc"), batch.values["prosody"]))


def _from_sound_and_words(model: Any, batch: Batch) -> Output:
    return model(*batch.both("mfcc"), batch.values["prosody"], *batch.both("tokens"))


def _single(name: str, modality: str) -> System:
    return System((modality,), (name,), lambda model, batch: model(*batch.both(name)))


VOICE = _single("samples", "voice")
WORDS = _single("tokens", "text")
DUAL = System(("voice", "text"), ("mfcc", "prosody", "tokens"), _from_sound_and_words)
SYSTEMS = {
    "face": _single("faces", "face"),
    "are": System(("voice",), ("mfcc", "prosody"), _from_features),
    "speech": VOICE,
    WHISPER: VOICE,
    "pretrained-voice": VOICE,
    "tre": WORDS,
    "words": WORDS,
    "pretrained-text": WORDS,
    "mdre": DUAL,
    "mdrea": DUAL,
}
