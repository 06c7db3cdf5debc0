"""Keep the moments of all clips under a few augmentations, so that heads can be trained in seconds.

The encoder of `WhisperVoice` stays as Whisper has it, so its moments need to be computed once for each
version of a clip (`VERSIONS`): as published; as people record, with random margins and speed, and by chance
noise, other voices, a room, a narrow band, or a codec; cut close to the speech; and by telephone. Nothing is
written twice.
"""

import json
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from multimodal_fer.errors import ConfigError
from multimodal_fer.layers.sequences import pad
from multimodal_fer.models import build
from multimodal_fer.speech.whisper_tensors import load_encoder
from multimodal_fer.training.sound_augmentation import CORRUPTIONS, corrupt, narrow, speed_up
from multimodal_fer.types import SAMPLE_RATE, Span
from multimodal_fer.utils.files import replacing, write_json
from multimodal_fer.voice.whisper_encoder import WhisperVoice
from recipes.open.voice.conditions import recode
from recipes.open.voice.margins import vary_margins
from recipes.open.voice.prepare import Speech

VERSIONS = ("published", "recorded", "close", "telephone")
MARGIN = 1.2  # seconds of silence around speech, at most
CLOSE_MARGIN = 0.5  # the same in the versions "close" and "telephone"
TELEPHONE_LOW, TELEPHONE_HIGH = (200.0, 400.0), (3000.0, 4000.0)  # hertz of the band's edges
SPEED = 0.1
RECODED = 0.1  # share of the clips
LONGEST = 8 * SAMPLE_RATE
BATCH = 16


def frozen_network(settings: dict[str, Any]) -> WhisperVoice:
    """Return a network whose encoder is Whisper's and whose head is untrained."""
    network: WhisperVoice = build("whisper-voice", settings)
    config = network.config
    network.encoder.load_state_dict(load_encoder(config.blocks, config.last_mlp))
    return network.eval()


def load_moments(folder: str, versions: int, speech: Speech, network: WhisperVoice) -> Tensor:
    """Return the moments (V, N, F) of all clips, float16, of which missing ones are computed and kept.

    The first `versions` of `VERSIONS` are used. One is computed again if the clips or the encoder's settings
    differ from those it was made from.
    """
    if versions > len(VERSIONS):
        raise ConfigError(
            f"a clip has at most {len(VERSIONS)} versions, found versions = {versions}"
        )
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    config = network.config
    made_from = {
        "clips": len(speech.clips),
        "samples": int(speech.edges[-1]),
        "encoder": [config.width, config.blocks, config.last_mlp],
    }
    found = []
    for version in range(versions):
        path = root / f"moments-{version}.npy"
        about = path.with_suffix(".json")
        if not about.is_file() or json.loads(about.read_text(encoding="utf-8")) != made_from:
            moments = compute_moments(version, speech, network)
            with replacing(path) as temporary, temporary.open("wb") as file:
                numpy.save(file, moments.numpy())
            write_json(about, made_from)  # written last: it marks a complete file
            print(f"written: {path}", flush=True)
        found.append(torch.from_numpy(numpy.load(path, allow_pickle=False)))
    return torch.stack(found)


@torch.inference_mode()
def compute_moments(version: int, speech: Speech, network: WhisperVoice) -> Tensor:
    """Return the moments (N, F) of all clips in one version, float16."""
    generator = torch.Generator().manual_seed(version)
    sizes = numpy.diff(speech.edges).tolist()
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    moments = torch.zeros(len(order), network.size, dtype=torch.float16)
    for start in range(0, len(order), BATCH):
        picks = order[start : start + BATCH]
        waveforms = [torch.from_numpy(speech.waveform(pick)) for pick in picks]
        spans = [tuple(speech.spans[pick].tolist()) for pick in picks]
        padded, lengths = make_version(VERSIONS[version], waveforms, spans, generator)
        sound = network.extract_features(padded, lengths)
        moments[picks] = network.describe(sound).half()
    return moments


def make_version(
    version: str,
    waveforms: list[Tensor],
    spans: list[Span],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return a version of a batch of clips, padded (B, N), and their lengths (B,)."""
    clips = list(zip(waveforms, spans, strict=True))
    if version == "recorded":
        padded, lengths = pad([vary(waveform, span, generator) for waveform, span in clips])
        return corrupt(padded, lengths, CORRUPTIONS["recorded"], generator), lengths
    if version != "published":
        waveforms = [vary_margins(wave, span, CLOSE_MARGIN, generator) for wave, span in clips]
    padded, lengths = pad(waveforms)
    if version == "telephone":
        edges = torch.rand(2, len(clips), 1, generator=generator)
        low, high = (
            edge * (last - first) + first
            for edge, (first, last) in zip(edges, (TELEPHONE_LOW, TELEPHONE_HIGH), strict=True)
        )
        padded = narrow(padded, low, high)
    return padded, lengths


def vary(waveform: Tensor, span: Span, generator: torch.Generator) -> Tensor:
    """Return a clip with random margins and speed, by chance through a codec."""
    waveform = vary_margins(waveform, span, MARGIN, generator)
    factor = 1 + SPEED * (2 * torch.rand(1, generator=generator).item() - 1)
    waveform = speed_up(waveform, factor)[:LONGEST]
    if torch.rand(1, generator=generator).item() < RECODED:
        waveform = recode(waveform)
    return waveform
