"""Measure voice networks on held-out speakers, on clean and on corrupted sound.

    python -m recipes.open.voice.evaluate ravdess runs/speech runs/ravdess-0 runs/ravdess-1 ...
    python -m recipes.open.voice.evaluate voice-open7-whisper runs/speech weights/voice-open7-whisper

Each run or weights folder is measured on its own test fold. The result holds the mean and standard deviation
over the folds, and the figures of each corpus, gender and speaker. Corruptions of the test sound: `babble`,
three other voices at 10 dB; `room`, 0.5 s of reverberation and pink noise at 20 dB; `telephone`, 300 to 3400
Hz; `codec`, Opus at 24 kbit/s. Writes `results/NAME.json`.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from multimodal_fer.errors import DataError
from multimodal_fer.training.metrics import classification_report
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import write_json
from multimodal_fer.voice.whisper_encoder import WhisperVoice
from recipes.open.runs import config_of, load_trained
from recipes.open.voice.conditions import CONDITIONS
from recipes.open.voice.corpora import Clip
from recipes.open.voice.folds import judge
from recipes.open.voice.prepare import Speech, load_speech
from recipes.open.voice.references import by_speaker
from recipes.open.voice.train import (
    VoiceTrainConfig,
    describe_voices,
    label_names,
    predict_voices,
    split_speakers,
)

RESULTS = Path(__file__).parent.parent / "results"


def measure_fold(name: str, speech: Speech) -> dict[str, Any]:
    """Return the metrics of one training on its own test speakers, by condition and group of clips."""
    trained = load_trained(name)
    config = config_of(trained, VoiceTrainConfig)
    part = split_speakers(speech, config)["test"]
    if not part.clips:
        raise DataError(f"{name}: has no test speakers; train it with test_fold=0, 1, …")
    labels, truth = label_names(speech, config), part.labels.numpy()
    clips = [speech.clips[number] for number in part.clips]
    waveforms = [torch.from_numpy(speech.waveform(number)) for number in part.clips]
    conditions, groups, references = {}, {}, {}
    for condition, change in CONDITIONS.items():
        if condition == "clean" and isinstance(trained.model, WhisperVoice):
            moments = describe_voices(trained.model, waveforms)
            logits = trained.model.judge(moments).logits.detach()
            references = by_reference(trained.model, moments, part.labels, clips)
        else:
            logits = predict_voices(trained.model, change(waveforms))
        scores = (logits / trained.model.config.temperature).softmax(1).numpy()
        conditions[condition] = report_of(scores, truth, labels)
        if condition == "clean":
            for group, own in groups_of(clips).items():
                groups[group] = report_of(scores[own], truth[own], labels)
    return {
        "speakers": sorted({clip.speaker for clip in clips}),
        "training": trained.training,
        "figures": conditions,
        "groups": groups,
        "references": references,
    }


def by_reference(
    model: WhisperVoice, moments_NF: Tensor, labels_N: Tensor, clips: Sequence[Clip]
) -> dict[str, Any]:
    """Return the metrics for each kind of reference of the speaker's own voice (see `folds.py`)."""
    speakers = by_speaker(moments_NF[None], labels_N, [clip.speaker for clip in clips])
    truth = torch.cat([own.labels for own in speakers]).numpy()
    labels = model.config.labels
    neutral = labels.index("neutral") if "neutral" in labels else -1
    judged = judge(model, [(own.moments[0], own.labels) for own in speakers], neutral)
    return {kind: report_of(scores, truth, labels) for kind, scores in judged.items()}


def groups_of(clips: Sequence[Clip]) -> dict[str, NDArray[numpy.bool_]]:
    """Return masks (N,) of the clips of each corpus, of each gender within it, and of each speaker."""
    names = [
        (clip.corpus, f"{clip.corpus}, {clip.gender}" if clip.gender else "", clip.speaker)
        for clip in clips
    ]
    return {
        name: numpy.array([name in own for own in names])
        for kind in zip(*names, strict=True)
        for name in sorted(set(kind) - {""})
    }


def report_of(scores: Any, truth: Any, labels: Sequence[str]) -> dict[str, Any]:
    report = classification_report(scores, truth, labels)
    return {"clips": report.pop("images")} | report


def summary(folds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and standard deviation over the folds, by condition and metric."""
    return {
        condition: {
            figure: {
                "mean": statistics.mean(values),
                "deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
            }
            for figure in ("uar", "accuracy", "macro_f1")
            for values in [[fold["figures"][condition][figure] for fold in folds]]
        }
        for condition in CONDITIONS
    }


def main(name: str, data: str, *runs: str) -> None:
    """Measure all folds, write and print the result."""
    speech = load_speech(data)
    folds = [measure_fold(run, speech) for run in runs]
    model = load_trained(runs[0]).model
    command = f"python -m recipes.open.voice.evaluate {name} {data} {' '.join(runs)}"
    result = {
        "name": name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **provenance(command),
        "summary": summary(folds),
        "folds": folds,
    }
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{name}.json", result)
    for condition, figures in result["summary"].items():
        uar, accuracy = figures["uar"], figures["accuracy"]
        print(
            f"{condition}: UAR {uar['mean']:.4f} ± {uar['deviation']:.4f}, "
            f"accuracy {accuracy['mean']:.4f} ± {accuracy['deviation']:.4f}"
        )


if __name__ == "__main__":
    run_command(main, __doc__, 3, more=True)
