"""Export a finished run as a weights folder, calibrated on its validation split.

    python -m recipes.open.export runs/voice-open7 weights/voice-open7-whisper
    python -m recipes.open.export runs/text-sentences weights/text-open7-minilm
    python -m recipes.open.export runs/fusion weights/fusion-open7

The run's configuration names the data folder; `data=FOLDER` at the end names another.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.fusion.late_attention import pattern_name
from multimodal_fer.hub.loading import save_model
from multimodal_fer.layers.hierarchical import sum_fine_labels
from multimodal_fer.training.metrics import fit_temperature
from multimodal_fer.training.run import current_commit
from multimodal_fer.utils.command_line import run_command
from recipes.open.fusion import train as fusion_train
from recipes.open.runs import Trained, load_run, load_trained
from recipes.open.text import train as text_train
from recipes.open.text.calibration import calibrate_fine_labels, fine_logits
from recipes.open.text.corpora import labels_of_corpora, read_texts, targets_of
from recipes.open.voice import train as voice_train
from recipes.open.voice.prepare import load_speech

LICENCE = {
    "voice": "CC BY-NC-SA 4.0, as RAVDESS and nEMO are; started from Whisper tiny.en, MIT",
    "text": "research use; GoEmotions CC BY 4.0, Stack Overflow and EmoBank CC BY-SA, ISEAR research; "
    "started from MiniLM, Apache-2.0",
    "fusion": "research use, as its parts",
}


def voice_validation(
    trained: Trained, config: voice_train.VoiceTrainConfig
) -> tuple[Tensor, Tensor]:
    """Return logits and labels of the validation speakers."""
    speech = load_speech(config.data)
    part = voice_train.split_speakers(speech, config)["validation"]
    if not part.clips:
        raise DataError(f"{trained.name}: has no validation speakers; train with validation_fold=1")
    waveforms = [torch.from_numpy(speech.waveform(number)) for number in part.clips]
    return voice_train.predict_voices(trained.model, waveforms), part.labels


def text_validation(trained: Trained, config: text_train.TextTrainConfig) -> tuple[Tensor, Tensor]:
    """Return logits over the labels that each corpus has, and targets, of the validation texts."""
    samples = read_texts(config.data, config.corpora, "validation")
    model, head = trained.model, trained.model.head
    logits = fine_logits(model, trained.vocabulary, tuple(sample.text for sample in samples))
    logits = sum_fine_labels(logits, head.labels, list(head.finer.values()))
    logits = text_train.mask_missing(logits, torch.from_numpy(labels_of_corpora(samples)))
    return logits, torch.from_numpy(targets_of(samples))


def fusion_validation(
    trained: Trained, config: fusion_train.FusionTrainConfig
) -> tuple[Tensor, Tensor]:
    """Return logits and labels of validation samples."""
    logits, labels, _ = draw_fusion_samples(trained, config)
    return logits, labels


def draw_fusion_samples(
    trained: Trained, config: fusion_train.FusionTrainConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits (B, K), labels (B,) and present modalities (B, M) of validation samples."""
    _, validation = fusion_train.split_evidence(
        fusion_train.load_sets(config.evidence, "validation")
    )
    generator = torch.Generator().manual_seed(2)
    batch = validation.draw(40_000, config.prior, config, generator)
    with torch.no_grad():
        logits = trained.model(batch.evidence, batch.present).logits
    return logits, batch.labels, batch.present


def fit_pattern_temperatures(
    trained: Trained, config: fusion_train.FusionTrainConfig
) -> dict[str, float]:
    """Return a temperature for each pattern of at least two present modalities."""
    logits, labels, present = draw_fusion_samples(trained, config)
    temperatures = {}
    for pattern in present.unique(dim=0):
        pairs = zip(trained.model.modalities, pattern, strict=True)
        names = [name for name, is_present in pairs if is_present]
        rows = (present == pattern).all(1)
        if len(names) > 1:
            temperature = fit_temperature(logits[rows], labels[rows])
            temperatures[pattern_name(names)] = round(temperature, 4)
    return temperatures


KINDS: dict[str, tuple[type, Callable[..., tuple[Tensor, Tensor]]]] = {
    "voice": (voice_train.VoiceTrainConfig, voice_validation),
    "text": (text_train.TextTrainConfig, text_validation),
    "fusion": (fusion_train.FusionTrainConfig, fusion_validation),
}


def kind_of(config: dict[str, Any]) -> str:
    """Return which of the three trainings wrote a configuration."""
    return "fusion" if "evidence" in config else "voice" if "folds" in config else "text"


def export(run: str, folder: str, data: str = "") -> None:
    """Write the calibrated network of a finished run. Raises `DataError` for an unfinished one."""
    checkpoint = load_run(run)
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
    if kind == "text":
        model.config = calibrate_fine_labels(trained, config.data, config.corpora)
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
        about["parts"] = checkpoint["parts"]  # hashes of the weights that made the evidence
    name = checkpoint["config"].get("model", "late-attention")
    save_model(folder, name, model, about, trained.vocabulary)
    print(f"temperature {temperature:.3f}; written: {folder}")


def main(run: str, folder: str, *data: str) -> None:
    """Export, reading the data from another folder if `data=FOLDER` is given."""
    if any(not word.startswith("data=") for word in data):
        raise ConfigError(
            f"expected a run, a folder and data=FOLDER, found {' '.join(data)!r} as well"
        )
    export(run, folder, *(word.removeprefix("data=") for word in data[:1]))


if __name__ == "__main__":
    run_command(main, __doc__, 2, more=True)
