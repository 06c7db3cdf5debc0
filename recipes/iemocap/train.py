"""Train a system on the folds of a protocol.

    python -m recipes.iemocap.train recipes/iemocap/systems/mdre.toml data=runs/iemocap run=runs/iemocap-mdre
        [protocol=loso5] [target=four] [fold=0|all] [dry_run=1]

Each fold has a folder, `run/fold-0` and so on, with a checkpoint `last.pt` after every epoch; the same
command continues there to the same numbers. The validation part selects the epoch; the test part is not used.
`dry_run=1` writes nothing and estimates the time. One process trains; to use several devices, start the
command with another `fold` on each.
"""

import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.text.vocabulary import Vocabulary
from multimodal_fer.text.word_vectors import vectors_for
from multimodal_fer.training.config import load_config
from multimodal_fer.training.distributed import Workers, seed_everything, workers
from multimodal_fer.training.run import CHECKPOINT, Run, decayed_apart, load_checkpoint, provenance
from multimodal_fer.training.sound_augmentation import CORRUPTIONS, corrupt, hide_features, speed_up
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.devices import mixed_precision
from multimodal_fer.utils.files import write_json
from recipes.iemocap.corpus.protocols import PARTS, Fold, make_folds, whole_fold
from recipes.iemocap.learning.config import ALL, TrainConfig, split_words
from recipes.iemocap.learning.face_scores import FaceFeatures
from recipes.iemocap.learning.inputs import Item, Reader, collate, cut, encode, predict, texts_of
from recipes.iemocap.learning.runs import fold_digest, fold_folder
from recipes.iemocap.learning.systems import (
    SYSTEMS,
    WHISPER,
    Batch,
    build_network,
    start_encoder,
)
from recipes.iemocap.learning.targets import make_goal
from recipes.iemocap.preparation.prepared import Prepared, load_prepared

ABOUT = "about.json"
TIMED = 4  # batches measured by an estimate


class FoldRun(Run):
    """The training of one fold."""

    def __init__(self, config: TrainConfig, group: Workers, prepared: Prepared) -> None:
        super().__init__(config, group)
        if group.count > 1:
            raise ConfigError(
                "torchrun has started several processes, but one process trains a fold; start this "
                "command once for each device, each with another fold="
            )
        self.score = config.score
        self.prepared, self.goal = prepared, make_goal(config)
        self.fold = find_fold(prepared, config)
        self.system = SYSTEMS[config.model]
        seed_everything(config.seed)
        self.about |= {"manifest": prepared.hash, "fold": self.fold.name}
        self.about["digest"] = fold_digest(self.fold)
        self._build()
        self.turns = {part: self.reader.having(self.fold.part(part)) for part in PARTS}
        if missing := [part for part in PARTS if self.fold.part(part) and not self.turns[part]]:
            raise DataError(
                f"{config.data}: {' and '.join(missing)} of fold {config.fold} have no turn with "
                f"{' and '.join(self.system.modalities)}; prepare the release with these modalities"
            )
        self.targets = self._targets("train")
        self.goal.prepare(self.targets)
        self.average = self.averaged(self.model)
        self.optimizer = AdamW(decayed_apart(self.model, config.weight_decay), config.learning_rate)
        self.schedule = self._schedule()

    @property
    def steps(self) -> int:
        """Return the number of batches of an epoch."""
        return self.config.steps or math.ceil(len(self.turns["train"]) / self.config.batch)

    def _build(self) -> None:
        """Build the network and the reader; the vocabulary is that of the training part."""
        config, prepared, reads = self.config, self.prepared, self.system.reads
        sizes: dict[str, Any] = {"labels": self.goal.labels}
        vocabulary = vectors = faces = None
        texts = texts_of(prepared, config) if "tokens" in reads else {}
        if "tokens" in reads and config.model != "pretrained-text":
            own = [texts[turn] for turn in self.fold.train if turn in texts]
            built = Vocabulary.build(own, config.smallest_count).tokens
            # Alphabetical, because the order of their counts would reveal more of the corpus.
            vocabulary = Vocabulary((*built[:2], *sorted(built[2:])))
            sizes["vocabulary_size"] = len(vocabulary)
            self.about["vocabulary"] = list(vocabulary.tokens)
            if found := vectors_for(vocabulary, config.vectors, config.seed):
                vectors = torch.as_tensor(found.vectors)
                sizes["word_size"] = vectors.shape[1]
        if "faces" in reads:
            faces = FaceFeatures(prepared, config.face_weights, self.group.device)
            sizes["size"] = faces.size
        self.about["settings"] = sizes | config.settings
        self.model = build_network(config.model, self.about["settings"])
        if config.model == WHISPER:
            start_encoder(self.model)
        if vectors is not None:
            getattr(self.model, "text", self.model).set_word_vectors(vectors)
        self.model.to(self.group.device)
        tokens = encode(self.model, vocabulary, texts) if texts else {}
        self.reader = Reader(prepared, self.system, tokens, faces)

    def _targets(self, part: str) -> Tensor:
        return self.goal.targets(self.prepared.turns_of(self.turns[part]))

    def _schedule(self) -> LRScheduler:
        if self.config.schedule == "constant":
            return LambdaLR(self.optimizer, lambda step: 1.0)
        total, highest = self.steps * self.config.epochs, self.config.learning_rate
        return OneCycleLR(self.optimizer, highest, total_steps=total, pct_start=0.25)

    def resume(self) -> None:
        """Continue. Raises `DataError` if the prepared release is another one."""
        if (self.folder / CHECKPOINT).exists():
            found = load_checkpoint(self.folder / CHECKPOINT)["manifest"]
            if found != self.prepared.hash:
                raise DataError(
                    f"{self.folder}: was started on another prepared release (manifest {found[:12]}, "
                    f"now {self.prepared.hash[:12]}); use another folder"
                )
        super().resume()
        if self.group.first and not (self.folder / ABOUT).exists():
            write_json(self.folder / ABOUT, self.description())

    def description(self) -> dict[str, Any]:
        """Return the description of the run, which holds nothing of the corpus but counts."""
        return {
            **provenance("python -m recipes.iemocap.train " + " ".join(sys.argv[1:])),
            "manifest_sha256": self.prepared.hash,
            "fold": self.fold.name,
            "fold_sha256": self.about["digest"],
            "turns": {part: len(turns) for part, turns in self.turns.items()},
            "parameters": sum(weights.numel() for weights in self.model.parameters()),
        }

    # --- an epoch ---

    def train_epoch(self) -> float:
        config, epoch = self.config, len(self.epochs)
        seed_everything(config.seed * 1000 + epoch)
        generator = torch.Generator().manual_seed(config.seed * 1000 + epoch)
        self.model.train()
        total = count = 0.0
        for picks in self.batches(generator):
            if len(picks) < 2:  # batch normalisation needs two
                continue
            total += self.step(picks, generator) * len(picks)
            count += len(picks)
        return total / max(count, 1)

    def step(self, picks: Tensor, generator: torch.Generator) -> float:
        """Train on one batch and return its loss."""
        device, config = self.group.device, self.config
        draws = torch.rand(len(picks), 2, generator=generator).tolist()
        items = [
            self._item(self.turns["train"][pick], *draw)
            for pick, draw in zip(picks.tolist(), draws, strict=True)
        ]
        batch = collate(items, device)
        with mixed_precision(device):
            logits = self._logits(batch, generator)
        loss = self.goal.loss(logits.float(), self.targets[picks].to(device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip_value:
            nn.utils.clip_grad_value_(self.model.parameters(), config.clip_value)
        if config.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.model)
        return loss.item()

    def _item(self, turn: str, position: float, pace: float) -> Item:
        """Read a turn with random speed, cut at a random position."""
        item = self.reader.item(turn)
        if self.config.speed:
            factor = 1 + self.config.speed * (2 * pace - 1)
            item = item | {"samples": speed_up(item["samples"], factor)}
        return cut(item, self.config.longest, position)

    def _logits(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return logits (B, K) of the sounds after augmentation."""
        corruption = CORRUPTIONS[self.config.wear]
        if self.config.wear == "none":
            return self.system.predict(self.model, batch).logits
        samples, lengths = batch.both("samples")
        samples = corrupt(samples, lengths, corruption, generator)
        if not corruption.masks or not hasattr(self.model, "extract_features"):
            augmented = batch._replace(values={**batch.values, "samples": samples})
            return self.system.predict(self.model, augmented).logits
        sound = self.model.extract_features(samples, lengths)
        return self.model.classify(hide_features(sound, corruption.masks, generator)).logits

    def batches(self, generator: torch.Generator) -> list[Tensor]:
        """Return batches of turns of similar length, which need little padding, in random order."""
        config, count = self.config, len(self.turns["train"])
        if config.steps:  # as published: every batch drawn from all turns, with replacement
            drawn = torch.randint(count, (config.steps, config.batch), generator=generator)
            return list(drawn)
        sizes = torch.tensor([self.reader.size(turn) for turn in self.turns["train"]])
        batches: list[Tensor] = []
        for chunk in torch.randperm(count, generator=generator).split(config.batch * 16):
            batches += chunk[sizes[chunk].argsort(stable=True)].split(config.batch)
        shuffled = torch.randperm(len(batches), generator=generator).tolist()
        return [batches[number] for number in shuffled]

    def validate(self) -> dict[str, float]:
        if not self.turns["validation"]:
            return {}
        logits = predict(self.result, self.reader, self.turns["validation"]).logits
        return self.goal.figures(logits, self._targets("validation"))

    def estimate(self) -> float:
        """Return the seconds of all epochs at most, measured on a few batches; it changes the weights."""
        generator = torch.Generator().manual_seed(0)
        batches = [picks for picks in self.batches(generator)[: TIMED + 1] if len(picks) > 1]
        self.model.train()
        self.step(batches[0], generator)  # the first one is slower
        started = time.monotonic()
        for picks in batches[1:] or batches:
            self.step(picks, generator)
        a_batch = (time.monotonic() - started) / max(len(batches) - 1, 1)
        validating = len(self.turns["validation"]) / 32 / 3  # forward only
        return (self.steps + validating) * a_batch * self.config.epochs


def find_fold(prepared: Prepared, config: TrainConfig) -> Fold:
    """Return the fold of a configuration. Raises `ConfigError` for an unknown number."""
    if config.fold == ALL:
        return whole_fold(prepared.turns, config.target)
    folds = make_folds(prepared.turns, config.protocol, config.target)
    if not 0 <= config.fold < len(folds):
        raise ConfigError(f"fold {config.fold}: {config.protocol} has folds 0 to {len(folds) - 1}")
    return folds[config.fold]


def fold_numbers(text: str, count: int) -> list[int]:
    """Return the fold numbers of a `fold=` word."""
    if text == "all":
        return list(range(count))
    if not text.isdecimal():
        raise ConfigError(f"fold: expected a number from 0 to {count - 1}, or all, found {text!r}")
    return [int(text)]


def protocol_folds(config: TrainConfig, prepared: Prepared, text: str) -> list[int]:
    """Return the numbers of a `fold=` word in the configuration's protocol."""
    return fold_numbers(text, len(make_folds(prepared.turns, config.protocol, config.target)))


def of_fold(config: TrainConfig, number: int) -> TrainConfig:
    return replace(config, run=str(fold_folder(config.run, number)), fold=number)


def train(config: TrainConfig, folds: str = "all") -> Path:
    """Train folds one after the other, or continue; return the folder that holds them."""
    prepared = load_prepared(config.data)
    numbers = protocol_folds(config, prepared, folds)
    with workers(config.device) as group:
        for number in numbers:
            run = FoldRun(of_fold(config, number), group, prepared)
            print(summary(run), flush=True)
            run.go()
    return Path(config.run)


def plan(config: TrainConfig, folds: str = "all") -> None:
    """Print the trainings and their estimated time; only the facial network's features are written."""
    prepared = load_prepared(config.data)
    numbers = protocol_folds(config, prepared, folds)
    seconds = 0.0
    with workers(config.device) as group:
        for number in numbers:
            run = FoldRun(of_fold(config, number), group, prepared)
            # Folds are of similar size, so one is measured.
            seconds = seconds or run.estimate()
            print(f"{summary(run)}; into {run.folder}")
        total = seconds * len(numbers) / 60
        print(f"{config.epochs} epochs each on {group.device}, at most {total:.0f} min in all")


def summary(run: FoldRun) -> str:
    """Describe a fold's training in a line."""
    about = run.description()
    counts = ", ".join(f"{part} {count:,}" for part, count in about["turns"].items())
    return f"fold {run.config.fold}: {run.fold.name}, turns: {counts}; {about['parameters']:,} parameters"


def main(toml: str, *words: str) -> None:
    """Run the command."""
    options, rest = split_words(words, fold="all", dry_run="0")
    config = load_config(TrainConfig, toml, rest)
    (plan if options["dry_run"] in ("1", "true") else train)(config, options["fold"])


if __name__ == "__main__":
    run_command(main, __doc__, 1, more=True)
