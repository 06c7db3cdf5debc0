"""A bundle: one network for each modality, and the network that fuses them."""

from collections.abc import Sequence
from dataclasses import dataclass

from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.fusion.late_attention import LateAttention
from multimodal_fer.text.network import Reader
from multimodal_fer.text.sentences.reader import SentenceReader
from multimodal_fer.voice.network import SpeechNetwork
from multimodal_fer.voice.whisper_encoder import WhisperVoice


@dataclass(frozen=True)
class Bundle:
    """Networks that belong together, and the labels that they predict together."""

    name: str
    digest: str  # sha256 of config.json, which itself pins the sha256 of every part
    labels: tuple[str, ...]
    unsure_below: float  # calibrated probability below which a prediction is marked as unsure
    face: FaceNetwork | None = None
    voice: SpeechNetwork | WhisperVoice | None = None
    text: Reader | SentenceReader | None = None
    fusion: LateAttention | None = None

    @property
    def part_labels(self) -> dict[str, tuple[str, ...]]:
        """Return the labels of each modality's network, in the order of its scores."""
        parts = {"face": self.face, "voice": self.voice, "text": self.text and self.text.network}
        return {name: tuple(part.config.labels) for name, part in parts.items() if part is not None}

    @property
    def version(self) -> str:
        """Return the name and the first digits of the digest, as every `Analysis` holds them."""
        return f"{self.name}@{self.digest[:12]}"


def missing_parts(bundle: Bundle, present: Sequence[str]) -> list[str]:
    """Return a warning about the present modalities that the bundle has no network for."""
    missing = [name for name in present if name not in bundle.part_labels]
    if not missing:
        return []
    names = " and ".join(missing)
    return [f"the bundle {bundle.name} has no part for {names}, which was not analysed"]
