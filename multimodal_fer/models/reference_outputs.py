"""Reference inputs from formulas, to verify weights without any data.

The outputs of each network for its reference input are stored beside its weights (`golden.json`).
"""

from typing import Any

import torch
from torch import Tensor

from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.face.yunet import YuNet
from multimodal_fer.fusion.late_attention import Evidence, LateAttention
from multimodal_fer.fusion.recurrent import MDRE, MDREA, DualConfig
from multimodal_fer.text.network import WordNetwork
from multimodal_fer.text.pretrained import PretrainedText
from multimodal_fer.text.recurrent import TRE
from multimodal_fer.text.sentences.encoder import SentenceEncoder
from multimodal_fer.types import SAMPLE_RATE

COUNT = 4  # samples of a reference input


@torch.inference_mode()
def reference_logits(model: Any) -> Tensor:
    """Return the logits of a network for its reference input, (4, K); a detector's are (4, cells, 16)."""
    return model(*reference_input(model)).logits


def reference_input(model: Any) -> tuple[Any, ...]:
    """Return the arguments of `model.forward`."""
    if isinstance(model, FaceNetwork):
        return (reference_images(model.config.input_size),)
    if isinstance(model, YuNet):
        return (reference_images(32).unsqueeze(3).expand(-1, -1, -1, 3),)
    if isinstance(model, WordNetwork | TRE | SentenceEncoder):
        return reference_tokens(model.config.vocabulary_size)
    if isinstance(model, PretrainedText):
        return reference_tokens(model.backbone.config.vocab_size)
    if isinstance(model, MDRE | MDREA):
        tokens = reference_tokens(model.config.vocabulary_size)
        return *reference_features(model.config), *tokens
    if isinstance(model, LateAttention):
        return reference_evidence(model)
    return reference_sounds()


def reference_images(size: int) -> Tensor:
    """Return four grey images (4, size, size) uint8."""
    rows = torch.arange(size).view(1, -1, 1)
    columns = torch.arange(size).view(1, 1, -1)
    number = torch.arange(1, COUNT + 1).view(-1, 1, 1)
    return ((rows * number * 7 + columns * columns * 3 + rows * columns * number) % 256).byte()


def reference_sounds() -> tuple[Tensor, Tensor]:
    """Return four gliding tones with overtones (4, N) in [-1, 1], and their lengths (4,)."""
    time = torch.arange(SAMPLE_RATE, dtype=torch.float64) / SAMPLE_RATE
    number = torch.arange(1, COUNT + 1, dtype=torch.float64).view(-1, 1)
    phase = 2 * torch.pi * (100 * number * time + 30 * number * time.square())
    sounds = torch.stack([torch.sin(tone * phase) / tone for tone in range(1, 6)]).sum(0)
    lengths = torch.tensor([SAMPLE_RATE, SAMPLE_RATE // 2, SAMPLE_RATE // 3, SAMPLE_RATE // 5])
    return (0.1 * sounds).float(), lengths


def reference_tokens(vocabulary_size: int) -> tuple[Tensor, Tensor]:
    """Return four rows of token numbers (4, 12), and their lengths (4,)."""
    place = torch.arange(12) * torch.arange(1, COUNT + 1).view(-1, 1) * 37
    return 1 + place % (vocabulary_size - 1), torch.tensor([12, 7, 3, 1])


def reference_features(config: DualConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Return frames (4, 20, F), their lengths (4,) and prosody (4, P), all as waves."""
    number = torch.arange(1, COUNT + 1).view(-1, 1, 1)
    places = torch.arange(20).view(-1, 1) + torch.arange(config.frame_size)
    prosody = torch.arange(config.prosody_size) * torch.arange(1, COUNT + 1).view(-1, 1)
    frames = torch.tensor([20, 13, 5, 1])
    return torch.sin(places * number * 0.3).float(), frames, torch.cos(prosody * 0.2).float()


def reference_evidence(model: LateAttention) -> tuple[dict[str, Evidence], Tensor]:
    """Return evidence of every part, and four patterns of present modalities (4, M)."""

    def waves(size: int, shift: int) -> Tensor:
        place = torch.arange(size) + shift * torch.arange(1, COUNT + 1).view(-1, 1)
        return torch.sin(place * 0.7).float()

    evidence = {
        name: Evidence(
            waves(len(model.config.part_labels[name]), shift).log_softmax(1),
            torch.linspace(0, 1, COUNT),
        )
        for shift, name in enumerate(model.modalities, start=1)
    }
    numbers = torch.arange(1, COUNT + 1).view(-1, 1)
    places = torch.arange(len(model.modalities))
    return evidence, ((numbers >> places) & 1) | (numbers == COUNT)
