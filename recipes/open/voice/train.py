"""Train a voice network on emotional speech with test speakers left out.

    python -m recipes.open.voice.train recipes/open/voice/voice.toml \\
        data=runs/speech run=runs/voice test_fold=0

Every epoch ends in `last.pt`; the same command continues from there to the same numbers. Speakers of the test
fold are left out, and so are those of `validation_fold`, on whom every epoch is measured.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.labels import OPEN7, SPEECH_TO_OPEN7
from multimodal_fer.layers.sequences import pad
from multimodal_fer.models import build
from multimodal_fer.speech.whisper_tensors import START, load_encoder
from multimodal_fer.training.distributed import Workers, seed_everything
from multimodal_fer.training.metrics import classification_report
from multimodal_fer.training.run import Run, decayed_apart
from multimodal_fer.training.sound_augmentation import CORRUPTIONS, corrupt, hide_features, speed_up
from multimodal_fer.types import SAMPLE_RATE
from recipes.open.voice.corpora import deal_speakers
from recipes.open.voice.margins import vary_margins
from recipes.open.voice.prepare import Speech, load_speech

NONE = -1  # no fold


@dataclass(frozen=True)
class VoiceTrainConfig:
    """Settings of a voice training."""

    data: str = "runs/speech"  # what prepare.py wrote
    run: str = "runs/voice"
    model: str = "speech"  # a key of multimodal_fer.models.MODELS
    settings: dict[str, Any] = field(default_factory=dict)  # of the network, other than defaults
    start: str = ""  # whisper-tiny.en: the encoder starts from these weights
    encoder_rate: float = 0.0  # its learning rate as a share of the others'; 0 leaves it as it is
    precision: str = "float32"  # or bfloat16, of the matrix products
    corpora: tuple[str, ...] = ()  # empty: all
    labels: str = "open7"  # or own, the labels of the corpus
    folds: int = 5
    test_fold: int = NONE  # speakers for testing
    validation_fold: int = NONE  # speakers for validation
    augmentation: str = "masks"  # a key of CORRUPTIONS
    speed: float = 0.1  # clips are played faster or slower, up to this
    margin: float = 0.0  # most seconds of silence around speech; 0 keeps each clip's own
    versions: int = 0  # of each clip whose moments are kept for the training of a head (head.py)
    balance: float = 0.0  # of head.py: a label's weight is its frequency to the power of minus this
    epochs: int = 40
    batch: int = 32
    longest: float = 6.0  # seconds of a clip in training
    learning_rate: float = 2e-3  # the highest of the one-cycle schedule
    weight_decay: float = 1e-2
    smoothing: float = 0.1  # of the labels
    average_decay: float = 0.99
    keep: str = "last"
    patience: int = 0
    seed: int = 1
    device: str = "auto"
    limit: int = 0  # use only so many clips of each part; 0 means all

    def __post_init__(self) -> None:
        if self.augmentation not in CORRUPTIONS:
            raise ConfigError(
                f"unknown augmentation {self.augmentation!r}; known: {sorted(CORRUPTIONS)}"
            )
        if self.start not in ("", START):
            raise ConfigError(f"unknown start {self.start!r}; known: {START}")
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigError(f"unknown precision {self.precision!r}; known: float32, bfloat16")
        if self.labels not in ("open7", "own"):
            raise ConfigError(f"unknown labels {self.labels!r}; known: open7, own")


class Part(NamedTuple):
    """Numbers and label numbers of the clips of one split."""

    clips: list[int]
    labels: Tensor


def label_names(speech: Speech, config: VoiceTrainConfig) -> tuple[str, ...]:
    """Return the labels of the network."""
    if config.labels == "open7":
        return OPEN7
    return tuple(sorted({clip.label for clip in speech.clips if wanted(clip.corpus, config)}))


def wanted(corpus: str, config: VoiceTrainConfig) -> bool:
    return not config.corpora or corpus in config.corpora


def split_speakers(speech: Speech, config: VoiceTrainConfig) -> dict[str, Part]:
    """Split the clips into `train`, `validation` and `test` by speaker."""
    names = label_names(speech, config)
    fold_of = deal_speakers(speech.clips, config.folds)
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    part_of_fold = {config.validation_fold: "validation", config.test_fold: "test"}
    for number, clip in enumerate(speech.clips):
        if wanted(clip.corpus, config):
            parts[part_of_fold.get(fold_of[clip.speaker], "train")].append(number)
    if not parts["train"]:
        raise DataError(
            f"{config.data}: expected clips of {', '.join(config.corpora) or 'any corpus'} to train on, "
            f"found only {', '.join(sorted({clip.corpus for clip in speech.clips}))} and held-out folds; "
            "change corpora or the folds"
        )

    def label(number: int) -> int:
        own = speech.clips[number].label
        return names.index(own if config.labels == "own" or own in OPEN7 else SPEECH_TO_OPEN7[own])

    return {
        kind: Part(numbers, torch.tensor([label(number) for number in numbers]))
        for kind, all_numbers in parts.items()
        for numbers in [all_numbers[: config.limit or None]]
    }


@torch.no_grad()
def predict_voices(model: nn.Module, waveforms: list[Tensor], batch: int = 32) -> Tensor:
    """Return logits (N, K)."""
    return run_batches(
        model, waveforms, lambda padded, lengths: model(padded, lengths).logits, batch
    )


@torch.no_grad()
def describe_voices(model: Any, waveforms: list[Tensor], batch: int = 32) -> Tensor:
    """Return the moments (N, F) of a `WhisperVoice`."""

    def describe(padded: Tensor, lengths: Tensor) -> Tensor:
        return model.describe(model.extract_features(padded, lengths))

    return run_batches(model, waveforms, describe, batch)


def run_batches(
    model: nn.Module,
    waveforms: list[Tensor],
    compute: Callable[[Tensor, Tensor], Tensor],
    batch: int,
) -> Tensor:
    """Return a row for each waveform; batches hold clips of similar length, which changes no row."""
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(waveforms)), key=lambda number: len(waveforms[number]))
    found: list[Tensor] = [torch.empty(0)] * len(waveforms)
    for start in range(0, len(order), batch):
        picks = order[start : start + batch]
        padded, lengths = pad([waveforms[number] for number in picks])
        rows = compute(padded.to(device), lengths.to(device)).float().cpu()
        for number, row in zip(picks, rows, strict=True):
            found[number] = row
    return torch.stack(found)


class VoiceRun(Run):
    """The training of a voice network."""

    score = "valid_uar"

    def __init__(self, config: VoiceTrainConfig, group: Workers) -> None:
        super().__init__(config, group)
        seed_everything(config.seed)
        self.speech = load_speech(config.data)
        self.parts_of_speech = split_speakers(self.speech, config)
        self.labels = label_names(self.speech, config)
        self.about["settings"] = {"labels": self.labels} | config.settings
        self.model = build(config.model, self.about["settings"]).to(group.device)
        if config.start:
            own = self.model.config
            self.model.encoder.load_state_dict(load_encoder(own.blocks, own.last_mlp))
        self.average = self.averaged(self.model)
        groups = self.parameter_groups()
        self.optimizer = AdamW(groups, config.learning_rate)
        self.training = self.parts_of_speech["train"]
        steps = math.ceil(len(self.training.clips) / config.batch)
        self.schedule = OneCycleLR(
            self.optimizer,
            [group["lr"] for group in groups],
            total_steps=steps * config.epochs,
            pct_start=0.25,
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return parameters with their rates; an encoder that has a start learns slower or not at all."""
        config = self.config
        encoder = self.model.encoder if config.start else nn.Module()
        rest = nn.ModuleList(part for part in self.model.children() if part is not encoder)
        groups = decayed_apart(rest, config.weight_decay)
        own = list(self.model.parameters(recurse=False))
        groups.append({"params": own, "weight_decay": 0.0})
        rates = [config.learning_rate] * len(groups)
        if config.encoder_rate:
            slow = decayed_apart(encoder, config.weight_decay)
            rates += [config.learning_rate * config.encoder_rate] * len(slow)
            groups += slow
        else:
            encoder.requires_grad_(False)
        return [
            group | {"lr": rate}
            for group, rate in zip(groups, rates, strict=True)
            if group["params"]
        ]

    def draw_waveforms(self, picks: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Return clips with random margins and speeds, cut to `longest` at a random place."""
        most = round(self.config.longest * SAMPLE_RATE)
        drawn = []
        for pick in picks.tolist():
            clip = self.training.clips[pick]
            waveform = torch.from_numpy(self.speech.waveform(clip))
            if self.config.margin:
                start, end = self.speech.spans[clip].tolist()
                waveform = vary_margins(waveform, (start, end), self.config.margin, generator)
            chance = torch.rand(2, generator=generator).tolist()
            waveform = speed_up(waveform, 1 + self.config.speed * (2 * chance[0] - 1))
            start = int(chance[1] * max(0, len(waveform) - most))
            drawn.append(waveform[start : start + most])
        return drawn

    def train_epoch(self) -> float:
        config, device, generator = self.config, self.group.device, self.seed_epoch()
        order = torch.randperm(len(self.training.clips), generator=generator)
        policy = CORRUPTIONS[config.augmentation]
        self.model.train()
        total = 0.0
        for picks in order.split(config.batch):
            if len(picks) < 2:  # batch normalisation needs two samples
                continue
            waveforms, lengths = pad(self.draw_waveforms(picks, generator))
            waveforms, lengths = waveforms.to(device), lengths.to(device)
            changed = corrupt(waveforms, lengths, policy, generator)
            sound = self.model.extract_features(changed, lengths)
            if policy.masks:
                sound = hide_features(sound, policy.masks, generator)
            with torch.autocast(device.type, torch.bfloat16, config.precision == "bfloat16"):
                logits = self.model.classify(sound).logits
            loss = nn.functional.cross_entropy(
                logits.float(),
                self.training.labels[picks].to(device),
                label_smoothing=config.smoothing,
            )
            self.update(loss, clip_norm=5.0)  # recurrent gradients can explode
            total += loss.item() * len(picks)
        return total / len(order)

    def validate(self) -> dict[str, float]:
        part = self.parts_of_speech["validation"]
        if not part.clips:
            return {}
        waveforms = [torch.from_numpy(self.speech.waveform(number)) for number in part.clips]
        logits = predict_voices(self.result, waveforms)
        probabilities, truth = logits.softmax(1).numpy(), part.labels.numpy()
        report = classification_report(probabilities, truth, self.labels)
        return {"valid_accuracy": report["accuracy"], "valid_uar": report["uar"]}


train = VoiceRun.train

if __name__ == "__main__":
    VoiceRun.command(VoiceTrainConfig, __doc__)
