"""Write scores of the voice or text network on labelled samples, clean and corrupted, for the fusion.

    python -m recipes.open.fusion.evidence voice weights/voice-open7-whisper runs/speech runs/evidence
    python -m recipes.open.fusion.evidence text weights/text-open7-minilm FOLDER runs/evidence

Writes `voice-PART.npz` or `text-PART.npz` for validation and test, to train and measure the fusion on.
Speakers are split as in the training of the voice network, so it was trained on none of these.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from multimodal_fer.errors import ConfigError
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.layers.sequences import pad
from multimodal_fer.media.quality import voice_quality
from multimodal_fer.training.evidence import EvidenceSet, log_scores_of
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import file_hash
from recipes.open.runs import Trained, config_of, load_trained
from recipes.open.text.corpora import read_texts, targets_of
from recipes.open.text.train import encode_texts
from recipes.open.voice.conditions import CONDITIONS as VOICE_CONDITIONS
from recipes.open.voice.prepare import load_speech
from recipes.open.voice.train import VoiceTrainConfig, split_speakers

BATCH = 64
PARTS = ("validation", "test")  # a network is overconfident on its training split
LETTERS = "abcdefghijklmnopqrstuvwxyz"
MISHEARD, MOSTLY_MISHEARD = 0.25, 0.6  # shares of the words that are recognised wrongly


def predict(
    samples: Sequence[Tensor], collate: Callable[[list[Tensor]], tuple[Tensor, Tensor]], model: Any
) -> Tensor:
    """Return log scores (N, L)."""
    scores = []
    with torch.inference_mode():
        for start in range(0, len(samples), BATCH):
            output = model(*collate(list(samples[start : start + BATCH])))
            scores.append(log_scores_of(output, model.config.temperature))
    return torch.cat(scores)


def in_white_noise(waveforms: list[Tensor]) -> list[Tensor]:
    """Add white noise of the same power as the sound."""
    generator = torch.Generator().manual_seed(1)
    return [
        (wave + wave.std() * torch.randn(wave.shape, generator=generator)).clamp(-1, 1)
        for wave in waveforms
    ]


def misheard(text: str, chance: random.Random, share: float = MISHEARD) -> str:
    """Simulate speech recognition errors: words missing, doubled or replaced by others of the text."""
    words = text.split()
    changed: list[str] = []
    for word in words:
        draw = chance.random()
        if draw >= share:
            changed.append(word)
        elif draw < share / 3:
            changed.append(chance.choice(words))
        elif draw < share / 2:
            changed += [word, word]
    return " ".join(changed) or text


def mistyped(text: str, chance: random.Random, share: float = 0.06) -> str:
    """Leave out or replace some letters."""
    return "".join(
        letter
        if chance.random() >= share or not letter.isalpha()
        else chance.choice(["", *LETTERS])
        for letter in text
    )


def first_words(text: str, chance: random.Random) -> str:
    """Return the first third of the words, like an utterance that was cut too early."""
    words = text.split()
    return " ".join(words[: max(1, len(words) // 3)])


def mostly_misheard(text: str, chance: random.Random) -> str:
    return misheard(text, chance, MOSTLY_MISHEARD)


VOICE_FUSION_CONDITIONS = VOICE_CONDITIONS | {"white noise": in_white_noise}
# Each with the confidence that a recogniser would give: the share of the words that are right.
TEXT_CONDITIONS: dict[str, tuple[Callable[[str, random.Random], str], float]] = {
    "clean": (lambda text, chance: text, 1.0),
    "misheard": (misheard, 1 - MISHEARD),
    "mostly misheard": (mostly_misheard, 1 - MOSTLY_MISHEARD),
    "mistyped": (mistyped, 1.0),
    "cut": (first_words, 1.0),
}


class PartPrediction(NamedTuple):
    """The output of a part for labelled samples in each condition."""

    outputs: list[Tensor]  # log scores (N, L)
    quality: list[Tensor]  # (N,)
    labels: Tensor
    conditions: tuple[str, ...]
    people: Tensor


def voice_evidence(trained: Trained, data: str, part: str) -> PartPrediction:
    config = config_of(trained, VoiceTrainConfig)
    if config.labels != "open7":
        raise ConfigError(
            f"{trained.name}: expected a network with the labels open7, found {config.labels}"
        )
    speech = load_speech(data)
    chosen = split_speakers(speech, config)[part]
    waveforms = [torch.from_numpy(speech.waveform(number)) for number in chosen.clips]
    outputs, quality = [], []
    for change in VOICE_FUSION_CONDITIONS.values():
        changed = change(waveforms)
        outputs.append(predict(changed, pad, trained.model))
        quality.append(torch.tensor([voice_quality(wave.numpy()) for wave in changed]))
    speakers = [speech.clips[number].speaker for number in chosen.clips]
    numbers = {speaker: number for number, speaker in enumerate(sorted(set(speakers)))}
    people = torch.tensor([numbers[speaker] for speaker in speakers])
    return PartPrediction(outputs, quality, chosen.labels, tuple(VOICE_FUSION_CONDITIONS), people)


def text_evidence(trained: Trained, data: str, part: str) -> PartPrediction:
    corpora = trained.training["corpora"]
    samples = [sample for sample in read_texts(data, corpora, part) if len(sample.labels) == 1]
    labels = torch.from_numpy(targets_of(samples)).argmax(1)
    outputs, quality = [], []
    for change, confidence in TEXT_CONDITIONS.values():
        chance = random.Random(1)
        texts = [change(sample.text, chance) for sample in samples]
        tokens = encode_texts(trained.model, trained.vocabulary, texts)
        outputs.append(predict(tokens, pad, trained.model))
        quality.append(torch.full((len(texts),), confidence))
    people = torch.arange(len(labels))
    return PartPrediction(outputs, quality, labels, tuple(TEXT_CONDITIONS), people)


MAKERS = {"voice": voice_evidence, "text": text_evidence}


def main(modality: str, name: str, data: str, folder: str) -> None:
    """Write the evidence of every split in every condition."""
    if modality not in MAKERS:
        raise ConfigError(f"modality {modality!r}: expected one of {', '.join(MAKERS)}")
    weights = find_weights(name)
    trained = load_trained(name)
    for part in PARTS:
        found = MAKERS[modality](trained, data, part)
        evidence = EvidenceSet(
            torch.stack(found.outputs),
            torch.stack(found.quality),
            found.labels,
            found.conditions,
            tuple(trained.model.config.labels),
            file_hash(weights / "model.safetensors"),
            found.people,
        )
        evidence.save(Path(folder) / f"{modality}-{part}.npz")
        shape = f"{len(found.labels)} samples in {len(found.conditions)} conditions"
        print(f"{part}: {shape}", flush=True)


if __name__ == "__main__":
    run_command(main, __doc__, 4)
