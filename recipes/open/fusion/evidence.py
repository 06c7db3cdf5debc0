"""What the voice or the text network says of labelled examples, for the fusion: clean, and worse.

    python -m recipes.open.fusion.evidence voice weights/voice-open7-crnn runs/speech runs/evidence
    python -m recipes.open.fusion.evidence text weights/text-open7-words FOLDER runs/evidence

Writes `voice-PART.npz` or `text-PART.npz` for validation and test. Speakers are dealt into the parts as the
network's own training dealt them, so both are voices that it never heard.
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
from multimodal_fer.training.evidence import EvidenceSet, log_scores_of
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import file_hash
from recipes.open.runs import Trained, config_of, load_trained
from recipes.open.text.corpora import read_texts, targets_of
from recipes.open.text.train import encode_texts
from recipes.open.voice.evaluate import CONDITIONS as HEARD
from recipes.open.voice.prepare import load_speech
from recipes.open.voice.train import VoiceTrainConfig, split_speakers

BATCH = 64
PARTS = ("validation", "test")  # of what a network was trained on it is too sure
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def judge(
    examples: Sequence[Tensor], collate: Callable[[list[Tensor]], tuple[Tensor, Tensor]], model: Any
) -> tuple[Tensor, Tensor]:
    """Embeddings (N, D) and log scores (N, L)."""
    embeddings, scores = [], []
    with torch.inference_mode():
        for start in range(0, len(examples), BATCH):
            output = model(*collate(list(examples[start : start + BATCH])))
            embeddings.append(output.embedding.float())
            scores.append(log_scores_of(output, model.config.temperature))
    return torch.cat(embeddings), torch.cat(scores)


def misheard(text: str, chance: random.Random, share: float = 0.25) -> str:
    """As speech recognition mangles it: words missing, doubled or in another's place."""
    words = text.split()
    found: list[str] = []
    for word in words:
        draw = chance.random()
        if draw >= share:
            found.append(word)
        elif draw < share / 3:
            found.append(chance.choice(words))
        elif draw < share / 2:
            found += [word, word]
    return " ".join(found) or text


def mistyped(text: str, chance: random.Random, share: float = 0.06) -> str:
    """With letters left out or wrong."""
    typed = [
        letter
        if chance.random() >= share or not letter.isalpha()
        else chance.choice(["", *LETTERS])
        for letter in text
    ]
    return "".join(typed)


def first_words(text: str, chance: random.Random) -> str:
    """Cut off after a third, as an utterance at the wrong place."""
    words = text.split()
    return " ".join(words[: max(1, len(words) // 3)])


READ: dict[str, Callable[[str, random.Random], str]] = {
    "clean": lambda text, chance: text,
    "misheard": misheard,
    "mistyped": mistyped,
    "cut": first_words,
}


class PartPrediction(NamedTuple):
    """A part's examples, judged in each condition."""

    judged: list[tuple[Tensor, Tensor]]  # embeddings and log scores
    labels: Tensor
    conditions: tuple[str, ...]
    people: Tensor


def voice_evidence(trained: Trained, data: str, part: str) -> PartPrediction:
    config = config_of(trained, VoiceTrainConfig)
    if config.labels != "open7":
        raise ConfigError(f"{trained.name}: answers with {config.labels} labels, open7 are needed")
    speech = load_speech(data)
    chosen = split_speakers(speech, config)[part]
    waveforms = [torch.from_numpy(speech.waveform(number)) for number in chosen.clips]
    judged = [judge(change(waveforms), pad, trained.model) for change in HEARD.values()]
    speakers = [speech.clips[number].speaker for number in chosen.clips]
    numbers = {speaker: number for number, speaker in enumerate(sorted(set(speakers)))}
    people = torch.tensor([numbers[speaker] for speaker in speakers])
    return PartPrediction(judged, chosen.labels, tuple(HEARD), people)


def text_evidence(trained: Trained, data: str, part: str) -> PartPrediction:
    corpora = trained.training["corpora"]
    examples = [e for e in read_texts(data, corpora, part) if len(e.labels) == 1]
    labels = torch.from_numpy(targets_of(examples)).argmax(1)
    judged = []
    for change in READ.values():
        chance = random.Random(1)
        texts = [change(example.text, chance) for example in examples]
        tokens = encode_texts(trained.model, trained.vocabulary, texts)
        judged.append(judge(tokens, pad, trained.model))
    return PartPrediction(judged, labels, tuple(READ), torch.arange(len(labels)))


MAKERS = {"voice": voice_evidence, "text": text_evidence}


def main(modality: str, name: str, data: str, folder: str) -> None:
    """Judge every part in every condition, and write."""
    if modality not in MAKERS:
        raise ConfigError(f"modality {modality!r}: expected one of {', '.join(MAKERS)}")
    weights = find_weights(name)
    trained = load_trained(name)
    for part in PARTS:
        found = MAKERS[modality](trained, data, part)
        evidence = EvidenceSet(
            torch.stack([embedding for embedding, _ in found.judged]),
            torch.stack([scores for _, scores in found.judged]),
            found.labels,
            found.conditions,
            tuple(trained.model.config.labels),
            file_hash(weights / "model.safetensors"),
            found.people,
        )
        evidence.save(Path(folder) / f"{modality}-{part}.npz")
        print(
            f"{part}: {len(found.labels)} examples in {len(found.conditions)} conditions",
            flush=True,
        )


if __name__ == "__main__":
    run_command(main, __doc__, 4)
