"""The voice network, developed step by step from ARE (`recurrent.py`); each step is a setting.

Shapes: B waveforms, N samples at 16 kHz, T frames, F values of a frame, P values of a whole utterance,
C channels, H values per frame after the recurrent layer, D embedding.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from multimodal_fer.labels import OPEN7
from multimodal_fer.layers.output import Output
from multimodal_fer.layers.sequences import AttentiveStatistics, check_lengths, present, run_gru
from multimodal_fer.voice.log_mel import log_mel
from multimodal_fer.voice.mfcc import MFCC_SIZE, mfcc
from multimodal_fer.voice.prosody import PROSODY_SIZE, prosody

FRONTS = ("mfcc", "log-mel")
POOLINGS = ("last", "attention")


@dataclass(frozen=True)
class SpeechConfig:
    """The settings that training and inference share; stored as `config.json`."""

    labels: tuple[str, ...] = OPEN7  # names of the logits, in order
    front: str = "log-mel"  # log mel energies and convolutions; or "mfcc", without convolutions
    bands: int = 64  # of log-mel
    # Of the convolutions, each of which halves both time and frequency.
    channels: tuple[int, ...] = (32, 64, 96, 128)
    normalise: bool = (
        True  # subtract each value's mean over the utterance, an effect of the microphone
    )
    prosody: bool = False  # add 35 values of the whole utterance to the pooled frames
    units: int = 128  # of the recurrent layer, in each direction
    bidirectional: bool = True
    pooling: str = "attention"  # attentive statistics; or "last", the last state
    dropout: float = 0.3
    temperature: float = 1.0  # divides the logits; fitted on validation data

    def __post_init__(self) -> None:
        for name, known in (("front", FRONTS), ("pooling", POOLINGS)):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")


class SoundFeatures(NamedTuple):
    """Features of B waveforms."""

    frames: Tensor  # (B, T, F), zero in the padding
    lengths: Tensor  # (B,), frames of each waveform
    prosody: Tensor | None  # (B, P), or None if the network does not use it


class ConvolutionBlock(nn.Module):
    """A convolution over time and frequency that halves both; (B, C, T, F) in and out.

    The first block uses a stride and the others pool before the normalisation, 2.8 times as fast as
    pooling after it, because full-size maps take most of the time.
    """

    def __init__(self, inputs: int, outputs: int, first: bool = False):
        super().__init__()
        size, step = (4, 2) if first else (3, 1)
        self.convolution = nn.Conv2d(inputs, outputs, size, step, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.pooled = not first

    def forward(self, map_BCTF: Tensor) -> Tensor:
        map_BCTF = self.convolution(map_BCTF)
        if self.pooled:
            map_BCTF = functional.max_pool2d(map_BCTF, 2)
        return self.norm(map_BCTF).relu()


class SpeechNetwork(nn.Module):
    """The voice encoder: convolutions over log mel energies, a recurrent layer, attentive statistics.

    `forward` takes mono 16 kHz waveforms in [-1, 1] (B, N) and their lengths in samples (B,). It consists
    of `extract_features` and `classify`, so that training can change the features in between. Padding does
    not change the output. Raises `ValueError` for a length of zero; leave the network out if there is no
    voice.
    """

    config: SpeechConfig

    def __init__(self, config: SpeechConfig):
        super().__init__()
        self.config = config
        size = config.bands if config.front == "log-mel" else MFCC_SIZE
        self.scale = nn.BatchNorm1d(size) if config.normalise else None
        blocks, inputs = [], 1
        for width in config.channels if config.front == "log-mel" else ():
            blocks.append(ConvolutionBlock(inputs, width, first=not blocks))
            inputs, size = width, size // 2
        # With channels last, convolutions run twice as fast on a CPU.
        self.blocks = nn.ModuleList(blocks).to(memory_format=torch.channels_last)
        size *= inputs
        self.recurrent = nn.GRU(
            size, config.units, batch_first=True, bidirectional=config.bidirectional
        )
        size = config.units * (2 if config.bidirectional else 1)
        self.pooling = AttentiveStatistics(size) if config.pooling == "attention" else None
        size = self.pooling.outputs if self.pooling else size
        self.prosody_scale = nn.BatchNorm1d(PROSODY_SIZE) if config.prosody else None
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(size + (PROSODY_SIZE if config.prosody else 0), len(config.labels))

    def forward(self, waveforms_BN: Tensor, lengths_B: Tensor) -> Output:
        return self.classify(self.extract_features(waveforms_BN, lengths_B))

    @torch.no_grad()
    def extract_features(self, waveforms_BN: Tensor, lengths_B: Tensor) -> SoundFeatures:
        """Return the features for `classify`; they have no parameters and need no gradient."""
        check_lengths(lengths_B, waveforms_BN.shape[1])
        if self.config.front == "mfcc":
            frames_BTF, frames_B = mfcc(waveforms_BN, lengths_B)
        else:
            frames_BTF, frames_B = log_mel(waveforms_BN, lengths_B, self.config.bands)
        whole_BP = prosody(waveforms_BN, lengths_B) if self.config.prosody else None
        return SoundFeatures(frames_BTF, frames_B, whole_BP)

    def classify(self, sound: SoundFeatures) -> Output:
        """Classify features; return logits and embeddings."""
        frames_BTH, lengths_B = self._convolve(self._normalise(sound), sound.lengths)
        embedding_BD = self.dropout(self._pool(self.dropout(frames_BTH), lengths_B))
        if self.prosody_scale is not None:
            assert sound.prosody is not None
            embedding_BD = torch.cat([embedding_BD, self.prosody_scale(sound.prosody)], dim=1)
        return Output(self.head(embedding_BD), embedding_BD)

    def _normalise(self, sound: SoundFeatures) -> Tensor:
        """Subtract each utterance's mean and scale all frames alike, (B, T, F); zero in the padding."""
        if self.scale is None:
            return sound.frames
        present_BT1 = present(sound.lengths, sound.frames.shape[1]).unsqueeze(2)
        frames_BTF = sound.frames.masked_fill(~present_BT1, 0.0)
        mean_B1F = frames_BTF.sum(1, keepdim=True) / sound.lengths.view(-1, 1, 1)
        centred_BTF = frames_BTF - mean_B1F
        if not self.training:
            scaled_BTF = self.scale(centred_BTF.transpose(1, 2)).transpose(1, 2)
            return scaled_BTF.masked_fill(~present_BT1, 0.0)
        # Statistics without padding, which must not change the scale.
        scaled_NF = self.scale(centred_BTF[present_BT1.squeeze(2)])
        return torch.zeros_like(centred_BTF).masked_scatter(present_BT1, scaled_NF)

    def _convolve(self, frames_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, T / 2**blocks, C · F / 2**blocks), with zeros in the padding, and the lengths."""
        shortest = 1 << len(self.blocks)
        if frames_BTF.shape[1] < shortest:
            missing = shortest - frames_BTF.shape[1]
            frames_BTF = functional.pad(frames_BTF, (0, 0, 0, missing))
        lengths_B = lengths_B.clamp(min=shortest)  # the shortest sounds are padded with silence
        map_BCTF = frames_BTF.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            map_BCTF = block(map_BCTF)
            lengths_B = lengths_B // 2
            present_BT = present(lengths_B, map_BCTF.shape[2])
            map_BCTF = map_BCTF * present_BT[:, None, :, None]
        return map_BCTF.transpose(1, 2).flatten(2), lengths_B

    def _pool(self, frames_BTH: Tensor, lengths_B: Tensor) -> Tensor:
        """Run the recurrent layer and return one embedding per waveform (B, D)."""
        outputs_BTH, last_BH = run_gru(self.recurrent, frames_BTH, lengths_B)
        if self.pooling is None:
            return last_BH
        return self.pooling(outputs_BTH, present(lengths_B, outputs_BTH.shape[1]))
