"""Measure heads on Whisper's fixed encoder over folds of speakers and across corpora.

Each is measured without and with the speaker's own reference.

    python -m recipes.open.voice.folds runs/speech [versions=2]

For RAVDESS, five folds of pairs of speakers, its eight labels; for nEMO, each of nine speakers left out, its
six labels; then each corpus against the other with the six labels of both (calm counts as neutral). Each
trained head judges the clips as published: without any reference; with one of 5, 10 or 30 utterances in a
balanced mixture, with 70 % neutral, or with one emotion never heard; and with all of the speaker's clips.
Writes `results/voice-folds.json`.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from multimodal_fer.errors import ConfigError
from multimodal_fer.labels import OPEN7, SPEECH_TO_OPEN7
from multimodal_fer.training.config import load_config
from multimodal_fer.training.metrics import classification_report
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import write_json
from multimodal_fer.voice.reference import reference_of
from multimodal_fer.voice.whisper_encoder import WhisperVoice, WhisperVoiceConfig
from recipes.open.voice.corpora import Clip, deal_speakers
from recipes.open.voice.head import head_config, train_head
from recipes.open.voice.moments import frozen_network, load_moments
from recipes.open.voice.prepare import load_speech
from recipes.open.voice.references import MIXTURES, by_speaker, mixture_weights
from recipes.open.voice.train import VoiceTrainConfig

RESULTS = Path(__file__).parent.parent / "results"
SETTINGS = Path(__file__).with_name("voice.toml")
STEPS = 150  # of a training
COUNTS = (5, 10, 30)  # utterances of a reference
FOLDS = {"ravdess": 5}  # others: each speaker is left out once


class Protocol(NamedTuple):
    """The clips of a training and of its test, by number, and the label of each clip."""

    train: list[int]
    test: list[int]
    labels: tuple[str, ...]
    label_of: dict[int, int]


def fold_protocols(clips: Sequence[Clip], corpus: str) -> list[Protocol]:
    """Return the folds of a corpus with its own labels."""
    own = {number: clip for number, clip in enumerate(clips) if clip.corpus == corpus}
    labels = tuple(sorted({clip.label for clip in own.values()}))
    speakers = sorted({clip.speaker for clip in own.values()})
    fold_of = {speaker: number for number, speaker in enumerate(speakers)}
    if corpus in FOLDS:
        fold_of = deal_speakers(list(own.values()), FOLDS[corpus])
    label_of = {number: labels.index(clip.label) for number, clip in own.items()}
    return [
        Protocol(
            [number for number, clip in own.items() if fold_of[clip.speaker] != fold],
            [number for number, clip in own.items() if fold_of[clip.speaker] == fold],
            labels,
            label_of,
        )
        for fold in sorted(set(fold_of.values()))
    ]


def cross_protocol(clips: Sequence[Clip], train: str, test: str) -> Protocol:
    """Return the training on one corpus and the test on another, with the labels that both have."""

    def label(clip: Clip) -> str:
        return clip.label if clip.label in OPEN7 else SPEECH_TO_OPEN7[clip.label]

    both = [{label(clip) for clip in clips if clip.corpus == name} for name in (train, test)]
    labels = tuple(name for name in OPEN7 if name in both[0] & both[1])
    kept = {
        number: labels.index(label(clip))
        for number, clip in enumerate(clips)
        if label(clip) in labels
    }
    return Protocol(
        [number for number in kept if clips[number].corpus == train],
        [number for number in kept if clips[number].corpus == test],
        labels,
        kept,
    )


def measure(
    protocol: Protocol, moments_VNF: Tensor, clips: Sequence[Clip], config: VoiceTrainConfig
) -> dict[str, float]:
    """Train one head and return its UAR on the test clips for each kind of reference."""
    torch.manual_seed(config.seed)
    settings = WhisperVoiceConfig(**{**config.settings, "labels": protocol.labels, "prior": ()})
    neutral = protocol.labels.index("neutral") if "neutral" in protocol.labels else -1

    def labels_of(numbers: list[int]) -> Tensor:
        return torch.tensor([protocol.label_of[number] for number in numbers])

    train, test = protocol.train, protocol.test
    model = train_head(
        WhisperVoice(settings),
        moments_VNF[:, train],
        labels_of(train),
        [clips[number].speaker for number in train],
        neutral,
        head_config(config, len(train), STEPS),
    )
    groups = by_speaker(
        moments_VNF[:1, test], labels_of(test), [clips[number].speaker for number in test]
    )
    truth = torch.cat([group.labels for group in groups]).numpy()
    figures = {}
    for kind, scores in judge(
        model, [(g.moments[0].float(), g.labels) for g in groups], neutral
    ).items():
        figures[kind] = classification_report(scores, truth, protocol.labels)["uar"]
    return figures


@torch.inference_mode()
def judge(
    model: WhisperVoice, speakers: Sequence[tuple[Tensor, Tensor]], neutral: int
) -> dict[str, numpy.ndarray]:
    """Return the scores (N, K) of the clips of all speakers, by kind of reference."""
    generator = torch.Generator().manual_seed(1)
    found: dict[str, list[Tensor]] = {}
    for moments_NF, labels_N in speakers:
        alone = model.judge(moments_NF).logits
        scores_NK = (alone / model.config.temperature).softmax(1)
        found.setdefault("none", []).append(alone)
        everything = reference_of(moments_NF, scores_NK)
        found.setdefault("all", []).append(model.judge(moments_NF, everything).logits)
        for mixture in MIXTURES:
            weights = mixture_weights(labels_N, mixture, neutral, generator)
            weights = weights.expand(len(moments_NF), -1).contiguous()
            for count in COUNTS:
                picks = torch.multinomial(weights, count - 1, True, generator=generator)
                heard = torch.eye(len(moments_NF))  # the clip itself and others
                heard.scatter_add_(1, picks, torch.ones(picks.shape))
                reference = reference_of(moments_NF, scores_NK, heard)
                logits = model.judge(moments_NF, reference).logits
                found.setdefault(f"{count} {mixture}", []).append(logits)
    temperature = model.config.temperature
    return {
        kind: (torch.cat(parts) / temperature).softmax(1).numpy() for kind, parts in found.items()
    }


def spread(folds: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation over the folds, by kind of reference."""
    return {
        kind: {
            "mean": statistics.mean(values),
            "deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
        }
        for kind in folds[0]
        for values in [[fold[kind] for fold in folds]]
    }


def main(data: str, *changes: str) -> None:
    """Measure all protocols, write and print the result."""
    config = load_config(VoiceTrainConfig, str(SETTINGS), list(changes))
    if not config.versions:
        raise ConfigError("folds are of heads on kept moments: set versions to at least 1")
    speech = load_speech(data)
    network = frozen_network(config.settings)
    moments = load_moments(f"{data}/moments", config.versions, speech, network)
    corpora = sorted({clip.corpus for clip in speech.clips})
    protocols = {name: fold_protocols(speech.clips, name) for name in corpora}
    for train in corpora:
        for test in corpora:
            if train != test:
                protocols[f"{train} to {test}"] = [cross_protocol(speech.clips, train, test)]
    result: dict[str, Any] = {
        "name": "voice-folds",
        **provenance(" ".join(["python -m recipes.open.voice.folds runs/speech", *changes])),
        "settings": {key: value for key, value in asdict(config).items() if key != "run"},
        "steps": STEPS,
        "protocols": {},
    }
    for name, folds in protocols.items():
        figures = [measure(fold, moments, speech.clips, config) for fold in folds]
        result["protocols"][name] = {"summary": spread(figures), "folds": figures}
        shown = ", ".join(
            f"{kind} {value['mean']:.3f} ± {value['deviation']:.3f}"
            for kind, value in result["protocols"][name]["summary"].items()
        )
        print(f"{name} ({len(folds)}): {shown}", flush=True)
        RESULTS.mkdir(exist_ok=True)
        write_json(RESULTS / "voice-folds.json", result)


if __name__ == "__main__":
    run_command(main, __doc__, 1, more=True)
