"""Turn a finished run into a weights folder, calibrated on its validation part.

    python -m recipes.open.export runs/voice-open7 weights/voice-open7-crnn
    python -m recipes.open.export runs/text-open7 weights/text-open7-words
    python -m recipes.open.export runs/fusion weights/fusion-open7

The run's configuration says where its data lie; `data=FOLDER` at the end names another place.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multimodal_fer.errors import DataError, MultimodalFerError
from multimodal_fer.fusion.late_attention import pattern_name
from multimodal_fer.hub.loading import save_model
from multimodal_fer.training.metrics import fit_temperature
from multimodal_fer.training.run import CHECKPOINT, current_commit, load_checkpoint
from recipes.open.fusion import train as fusion_train
from recipes.open.runs import Trained, load_trained
from recipes.open.text import train as text_train
from recipes.open.text.corpora import asked_labels, read_texts, targets_of
from recipes.open.voice import train as voice_train
from recipes.open.voice.prepare import load_speech

LICENCE = {
    "voice": "CC BY-NC-SA 4.0, as RAVDESS and nEMO are",
    "text": "research use; GoEmotions CC BY 4.0, Stack Overflow CC BY-SA, ISEAR research",
    "fusion": "research use, as its parts",
}


def voice_validation(
    trained: Trained, config: voice_train.VoiceTrainConfig
) -> tuple[Tensor, Tensor]:
    """Logits and labels of the validation speakers."""
    speech = load_speech(config.data)
    part = voice_train.split_speakers(speech, config)["validation"]
    if not part.clips:
        raise DataError(f"{trained.name}: has no validation speakers; train with validation_fold=1")
    waveforms = [torch.from_numpy(speech.waveform(number)) for number in part.clips]
    return voice_train.predict_voices(trained.model, waveforms), part.labels


def text_validation(trained: Trained, config: text_train.TextTrainConfig) -> tuple[Tensor, Tensor]:
    examples = read_texts(config.data, config.corpora, "validation")
    texts = [example.text for example in examples]
    tokens = text_train.encode_texts(trained.model, trained.vocabulary, texts)
    logits = text_train.predict_texts(trained.model, tokens)
    logits = text_train.among_asked(logits, torch.from_numpy(asked_labels(examples)))
    return logits, torch.from_numpy(targets_of(examples))


def fusion_validation(
    trained: Trained, config: fusion_train.FusionTrainConfig
) -> tuple[Tensor, Tensor]:
    logits, labels, _ = fusion_draws(trained, config)
    return logits, labels


def fusion_draws(
    trained: Trained, config: fusion_train.FusionTrainConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits (B, K), labels (B,) and present modalities (B, M) of validation samples."""
    _, validation = fusion_train.split_evidence(
        fusion_train.load_sets(config.evidence, "validation")
    )
    generator = torch.Generator().manual_seed(2)
    labels = fusion_train.draw_labels(40_000, config.prior, generator)
    batch = validation.draw(labels, config, generator)
    with torch.no_grad():
        return trained.model(batch.evidence, batch.present).logits, labels, batch.present


def fit_pattern_temperatures(
    trained: Trained, config: fusion_train.FusionTrainConfig
) -> dict[str, float]:
    """Return a temperature for each pattern of at least two present modalities."""
    logits, labels, present = fusion_draws(trained, config)
    found = {}
    for pattern in present.unique(dim=0):
        names = [
            name for name, there in zip(trained.model.modalities, pattern, strict=True) if there
        ]
        rows = (present == pattern).all(1)
        if len(names) > 1:
            found[pattern_name(names)] = round(fit_temperature(logits[rows], labels[rows]), 4)
    return found


KINDS: dict[str, tuple[Any, Any]] = {
    "voice": (voice_train.VoiceTrainConfig, voice_validation),
    "text": (text_train.TextTrainConfig, text_validation),
    "fusion": (fusion_train.FusionTrainConfig, fusion_validation),
}


def kind_of(config: dict[str, Any]) -> str:
    """Which of the three trainings wrote a configuration."""
    return "fusion" if "evidence" in config else "voice" if "wear" in config else "text"


def export(run: str, folder: str, data: str = "") -> None:
    """Write what the finished run came to, whatever its score."""
    checkpoint = load_checkpoint(Path(run) / CHECKPOINT)
    done, of = len(checkpoint["epochs"]), checkpoint["config"]["epochs"]
    if done != of and not checkpoint["config"]["patience"]:
        raise DataError(f"{run}: {done} of {of} epochs are done; finish the training first")
    kind = kind_of(checkpoint["config"])
    make_config, validate = KINDS[kind]
    config = make_config(**checkpoint["config"])
    if data:
        config = replace(config, **{"evidence" if kind == "fusion" else "data": data})
    trained = load_trained(run)
    temperature = fit_temperature(*validate(trained, config))
    model = trained.model
    model.config = replace(model.config, temperature=round(temperature, 4))
    if kind == "fusion":
        by_pattern = fit_pattern_temperatures(trained, config)
        model.config = replace(model.config, pattern_temperatures=by_pattern)
    about = {
        "modality": kind,
        "licence": LICENCE[kind],
        "training": trained.training,
        "commit": current_commit(),
    }
    if kind == "fusion":
        about["parts"] = checkpoint["parts"]  # the evidence is of these weights
    name = checkpoint["config"].get("model", "late-attention")
    save_model(folder, name, model, about, trained.vocabulary)
    print(f"temperature {temperature:.3f}; written: {folder}")


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if not word.startswith("data=")]
    places = [word.removeprefix("data=") for word in sys.argv[1:] if word.startswith("data=")]
    if len(words) != 2:
        sys.exit(__doc__)
    try:
        export(*words, *places[:1])
    except MultimodalFerError as error:
        sys.exit(f"error: {error}")
