"""Train the head of a voice network whose encoder stays as Whisper has it.

    python -m recipes.open.voice.head recipes/open/voice/voice.toml data=runs/speech run=runs/voice

The moments of all clips are computed once and kept in `moments` within the data folder. Each sample comes
with what is known about its speaker, or nothing (see `references.py`), so that one head serves a first
utterance as well as a long recording. Otherwise it is the training of `train.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from multimodal_fer.errors import ConfigError
from multimodal_fer.training.distributed import Workers
from multimodal_fer.training.metrics import classification_report
from multimodal_fer.voice.whisper_encoder import WhisperVoice
from recipes.open.voice.moments import load_moments
from recipes.open.voice.references import SpeakerClips, by_speaker, draw_samples, join
from recipes.open.voice.train import VoiceRun, VoiceTrainConfig

SPEAKERS_AT_ONCE = 4  # in a batch


class HeadRun(VoiceRun):
    """The training of a head on kept moments."""

    def __init__(self, config: VoiceTrainConfig, group: Workers) -> None:
        if config.encoder_rate or not config.versions or not config.start:
            raise ConfigError(
                "a head is trained on the moments of a fixed encoder: set start, versions of at least 1 "
                f"and encoder_rate = 0; found {config.start!r}, {config.versions}, {config.encoder_rate}"
            )
        super().__init__(config, group)
        kept = load_moments(f"{config.data}/moments", config.versions, self.speech, self.model)
        self.validation_moments = kept[0, self.parts_of_speech["validation"].clips]
        training = kept[:, self.training.clips]
        fit_scale(self.model, training)
        speakers = [self.speech.clips[number].speaker for number in self.training.clips]
        self.speakers = by_speaker(training, self.training.labels, speakers)
        self.weights = class_weights(self.training.labels, len(self.labels), config.balance)

    def train_epoch(self) -> float:
        config, generator = self.config, self.seed_epoch()
        steps = math.ceil(len(self.training.clips) / config.batch)
        self.model.train()
        total = 0.0
        for _ in range(steps):
            loss = head_loss(
                self.model, self.speakers, config, self.weights, self.neutral, generator
            )
            self.update(loss, clip_norm=5.0)
            total += loss.item()
        return total / steps

    @property
    def neutral(self) -> int:
        """Return the number of the label neutral, or -1 if there is none."""
        return self.labels.index("neutral") if "neutral" in self.labels else -1

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        part = self.parts_of_speech["validation"]
        if not part.clips:
            return {}
        result: Any = self.result.eval()
        probabilities = result.judge(self.validation_moments.float()).logits.softmax(1).numpy()
        report = classification_report(probabilities, part.labels.numpy(), self.labels)
        return {"valid_accuracy": report["accuracy"], "valid_uar": report["uar"]}


def fit_scale(model: WhisperVoice, moments_VNF: Tensor) -> None:
    """Set the mean and variance of the corpus: the mean over the versions of each clip."""
    flat = moments_VNF.float()
    mean_F = flat.mean((0, 1))
    model.scale.running_mean.copy_(mean_F)  # type: ignore[union-attr]
    model.scale.running_var.copy_((flat - mean_F).square().mean((0, 1)))  # type: ignore[union-attr]


def class_weights(labels: Tensor, count: int, balance: float) -> Tensor:
    """Return the weight of each label in the loss (K,): its frequency to the power of -`balance`."""
    sizes = torch.bincount(labels, minlength=count).clamp(min=1).float()
    weights = sizes.pow(-balance)
    return weights / weights.mean()


def head_loss(
    model: WhisperVoice,
    speakers: Sequence[SpeakerClips],
    config: VoiceTrainConfig,
    weights_K: Tensor,
    neutral: int,
    generator: torch.Generator,
) -> Tensor:
    """Return the loss of a batch from a few speakers, drawn by the root of their clips' number."""
    sizes = torch.tensor([float(len(clips.labels)) for clips in speakers]).sqrt()
    count = min(SPEAKERS_AT_ONCE, len(speakers))
    chosen = torch.multinomial(sizes, count, generator=generator).tolist()
    batch = join(
        [
            draw_samples(speakers[number], config.batch // count, neutral, generator)
            for number in chosen
        ]
    )
    logits = model.judge(batch.moments, batch.reference).logits
    return nn.functional.cross_entropy(
        logits, batch.labels, weight=weights_K, label_smoothing=config.smoothing
    )


def train_head(
    model: WhisperVoice,
    moments_VNF: Tensor,
    labels_N: Tensor,
    speakers: list[str],
    neutral: int,
    config: VoiceTrainConfig,
) -> WhisperVoice:
    """Train a head without a run folder, for folds; returns the model with averaged weights."""
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    fit_scale(model, moments_VNF)
    model.encoder.requires_grad_(False)
    groups = by_speaker(moments_VNF, labels_N, speakers)
    weights_K = class_weights(labels_N, len(model.config.labels), config.balance)
    learnt = [*model.hidden.parameters(), *model.head.parameters()]
    averages = [parameter.detach().clone() for parameter in learnt]
    optimizer = torch.optim.AdamW(learnt, config.learning_rate, weight_decay=config.weight_decay)
    steps = config.epochs * math.ceil(len(labels_N) / config.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=steps, pct_start=0.25
    )
    model.train()
    for step in range(steps):
        loss = head_loss(model, groups, config, weights_K, neutral, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        share = 1 - min(config.average_decay, (1 + step) / (10 + step))
        for average, parameter in zip(averages, learnt, strict=True):
            average.lerp_(parameter.detach(), share)
    with torch.no_grad():
        for average, parameter in zip(averages, learnt, strict=True):
            parameter.copy_(average)
    return model.eval()


def head_config(config: VoiceTrainConfig, clips: int, steps: int) -> VoiceTrainConfig:
    """Return the settings for another number of clips: about the same number of steps."""
    return replace(config, epochs=max(1, round(steps / math.ceil(clips / config.batch))))


train = HeadRun.train

if __name__ == "__main__":
    HeadRun.command(VoiceTrainConfig, __doc__)
