"""Networks that belong together, one a modality, and what joins them."""

from collections.abc import Sequence
from dataclasses import dataclass

from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.fusion.late_attention import LateAttention
from multimodal_fer.text.network import Reader
from multimodal_fer.voice.network import SpeechNetwork
from multimodal_fer.voice.whisper_encoder import WhisperVoice


@dataclass(frozen=True)
class Bundle:
    """Parts that belong together, and the labels that they answer with."""

    name: str
    digest: str  # sha256 of config.json, which itself pins the sha256 of every part
    labels: tuple[str, ...]
    unsure_below: float  # calibrated probability under which an answer is marked as unsure
    face: FaceNetwork | None = None
    voice: SpeechNetwork | WhisperVoice | None = None
    text: Reader | None = None
    fusion: LateAttention | None = None

    @property
    def part_labels(self) -> dict[str, tuple[str, ...]]:
        """The labels of each modality's part, in the order of its scores."""
        parts = {"face": self.face, "voice": self.voice, "text": self.text and self.text.network}
        return {name: tuple(part.config.labels) for name, part in parts.items() if part is not None}

    @property
    def version(self) -> str:
        """Name and content, as it stands in every answer."""
        return f"{self.name}@{self.digest[:12]}"


def missing_parts(bundle: Bundle, present: Sequence[str]) -> list[str]:
    """What was there to be judged, but the bundle has no part for."""
    parts = {"face": bundle.face, "voice": bundle.voice, "text": bundle.text}
    missing = [name for name in present if parts.get(name) is None]
    if not missing:
        return []
    return [f"the bundle {bundle.name} has no part for {' and '.join(missing)}: not judged"]
