"""ARE, the voice encoder of Yoon, Byun and Jung 2018 (arXiv 1810.04635).

Shapes: B utterances, N samples at 16 kHz, T frames, F values per frame, P prosody values, H hidden units,
D embedding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from multimodal_fer.labels import OPEN7
from multimodal_fer.layers.output import Output
from multimodal_fer.layers.recurrent import GRU, ScalarBiasLinear
from multimodal_fer.layers.sequences import check_lengths
from multimodal_fer.voice.mfcc import mfcc
from multimodal_fer.voice.network import SoundFeatures
from multimodal_fer.voice.prosody import prosody

PUBLISHED_FRAMES = 750  # 7.5 s; longer utterances are cut


@dataclass(frozen=True)
class VoiceConfig:
    """The settings of ARE that training and inference share."""

    labels: tuple[str, ...] = OPEN7  # names of the logits, in order
    units: int = 200  # of each GRU
    frame_size: int = 39  # MFCC values per frame
    prosody_size: int = 35  # prosody values per utterance
    voice_keep: float = 0.7  # share of MFCC values that dropout keeps
    temperature: float = 1.0  # divides the logits; fitted on validation data


class VoiceEncoder(nn.Module):
    """The last state over the MFCC frames, joined with the prosody: (B, H + P).

    Dropout acts on the frames only. The published system also drops outputs, which are not used here.
    """

    def __init__(self, config: VoiceConfig):
        super().__init__()
        self.size = config.units + config.prosody_size
        self.dropout = nn.Dropout(1 - config.voice_keep)
        self.gru = GRU(config.frame_size, config.units)

    def forward(self, mfcc_BTF: Tensor, frames_B: Tensor, prosody_BP: Tensor) -> Tensor:
        _, last_BH = self.gru(self.dropout(mfcc_BTF), frames_B)
        return torch.cat([last_BH, prosody_BP], dim=1)


class ARE(nn.Module):
    """Audio recurrent encoder (Yoon et al. 2018, section 3.1): 144,941 parameters for 4 labels."""

    def __init__(self, config: VoiceConfig):
        super().__init__()
        self.config = config
        self.voice = VoiceEncoder(config)
        self.head = ScalarBiasLinear(self.voice.size, len(config.labels))

    def forward(self, mfcc_BTF: Tensor, frames_B: Tensor, prosody_BP: Tensor) -> Output:
        """Classify features; the embedding is the last state and the prosody, (B, 235)."""
        embedding_BD = self.voice(mfcc_BTF, frames_B, prosody_BP)
        return Output(self.head(embedding_BD), embedding_BD)


class PublishedVoice(nn.Module):
    """ARE with the interface of `SpeechNetwork`: it computes its features, without normalisation."""

    config: VoiceConfig

    def __init__(self, config: VoiceConfig):
        super().__init__()
        self.config = config
        self.encoder = ARE(config)

    def forward(self, waveforms_BN: Tensor, lengths_B: Tensor) -> Output:
        return self.classify(self.extract_features(waveforms_BN, lengths_B))

    @torch.no_grad()
    def extract_features(self, waveforms_BN: Tensor, lengths_B: Tensor) -> SoundFeatures:
        """Return the MFCC of the first 7.5 s and the prosody of the whole waveform."""
        check_lengths(lengths_B, waveforms_BN.shape[1])
        frames_BTF, frames_B = mfcc(waveforms_BN, lengths_B)
        frames_BTF, frames_B = (
            frames_BTF[:, :PUBLISHED_FRAMES],
            frames_B.clamp(max=PUBLISHED_FRAMES),
        )
        return SoundFeatures(frames_BTF, frames_B, prosody(waveforms_BN, lengths_B))

    def classify(self, sound: SoundFeatures) -> Output:
        """Classify features; return logits and embeddings."""
        assert sound.prosody is not None
        return self.encoder(sound.frames, sound.lengths, sound.prosody)
