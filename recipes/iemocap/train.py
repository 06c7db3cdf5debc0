"""Train a system on the folds of a protocol.

    python -m recipes.iemocap.train recipes/iemocap/systems/mdre.toml data=runs/iemocap run=runs/iemocap-mdre
        [protocol=loso5] [target=four] [fold=0|all] [dry_run=1]

Each fold has a folder, `run/fold-0` and so on. Every epoch ends in `last.pt`; the same command continues from
there to the same numbers. The test part is never looked at: the validation part chooses the epoch.
`dry_run=1` writes nothing and says what would be trained and for how long. One process trains; to use several
devices, start the command with another `fold` on each.
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
from recipes.iemocap.corpus.protocols import PARTS, Fold, deal_folds, whole_fold
from recipes.iemocap.learning.config import ALL, TrainConfig
from recipes.iemocap.learning.face_scores import FaceFeatures
from recipes.iemocap.learning.inputs import Item, Reader, collate, cut, encode, judge, texts_of
from recipes.iemocap.learning.runs import fold_digest, fold_folder
from recipes.iemocap.learning.settings import split_words
from recipes.iemocap.learning.systems import SYSTEMS, Batch, build_network
from recipes.iemocap.learning.targets import make_goal
from recipes.iemocap.preparation.prepared import Prepared, load_prepared

ABOUT = "about.json"
TIMED = 4  # batches that an estimate measures


class FoldRun(Run):
    """The training of one fold."""

    def __init__(self, config: TrainConfig, group: Workers, prepared: Prepared) -> None:
        super().__init__(config, group)
        if group.count > 1:
            raise ConfigError(
                "torchrun has started several processes, but one trains a fold; start this command "
                "once for each device, with another fold= each"
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
                f"{' and '.join(self.system.modalities)}; prepare the release with them"
            )
        self.targets = self._targets("train")
        self.goal.prepare(self.targets)
        self.average = self.averaged(self.model)
        self.optimizer = AdamW(decayed_apart(self.model, config.weight_decay), config.learning_rate)
        self.schedule = self._schedule()

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return self.config.steps or math.ceil(len(self.turns["train"]) / self.config.batch)

    def _build(self) -> None:
        """The network, and what reads turns for it; words are known from the training part only."""
        config, prepared, reads = self.config, self.prepared, self.system.reads
        sizes: dict[str, Any] = {"labels": self.goal.labels}
        vocabulary = vectors = faces = None
        texts = texts_of(prepared, config) if "tokens" in reads else {}
        if "tokens" in reads and config.model != "pretrained-text":
            own = [texts[turn] for turn in self.fold.train if turn in texts]
            built = Vocabulary.build(own, config.smallest_count).tokens
            # By the alphabet: the order of their counts would tell more of the corpus than the words.
            vocabulary = Vocabulary((*built[:2], *sorted(built[2:])))
            if found := vectors_for(vocabulary, config.vectors, config.seed):
                vectors = torch.as_tensor(found.vectors)
            sizes["vocabulary_size"] = len(vocabulary)
            self.about["vocabulary"] = list(vocabulary.tokens)
        if vectors is not None:
            sizes["word_size"] = vectors.shape[1]
        if "faces" in reads:
            faces = FaceFeatures(prepared, config.face_weights, self.group.device)
            sizes["size"] = faces.size
        self.about["settings"] = sizes | config.settings
        self.model = build_network(config.model, self.about["settings"])
        if vectors is not None:
            getattr(self.model, "text", self.model).set_word_vectors(vectors)
        self.model.to(self.group.device)
        tokens = encode(self.model, vocabulary, texts) if texts else {}
        self.reader = Reader(prepared, self.system, tokens, faces)

    def _targets(self, part: str) -> Tensor:
        return self.goal.targets([self.prepared.rows[turn].turn for turn in self.turns[part]])

    def _schedule(self) -> LRScheduler:
        if self.config.schedule == "constant":
            return LambdaLR(self.optimizer, lambda step: 1.0)
        total, highest = self.steps * self.config.epochs, self.config.learning_rate
        return OneCycleLR(self.optimizer, highest, total_steps=total, pct_start=0.25)

    # --- sittings ---

    def resume(self) -> None:
        """Continue; a run of other words, sounds or faces is refused."""
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
        """What the folder says of itself: nothing of the corpus but counts."""
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
            if len(picks) < 2:  # batch normalisation needs company
                continue
            total += self.step(picks, generator) * len(picks)
            count += len(picks)
        return total / max(count, 1)

    def step(self, picks: Tensor, generator: torch.Generator) -> float:
        """Learn from one batch; returns its loss."""
        device, config = self.group.device, self.config
        chances = torch.rand(len(picks), 2, generator=generator).tolist()
        items = [
            self._drawn(self.turns["train"][pick], *chance)
            for pick, chance in zip(picks.tolist(), chances, strict=True)
        ]
        batch = collate(items, device)
        with mixed_precision(device):
            logits = self._judge(batch, generator)
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

    def _drawn(self, turn: str, place: float, pace: float) -> Item:
        """A turn as it is heard this time: played at its own speed, from a random place on."""
        item = self.reader.item(turn)
        if self.config.speed:
            factor = 1 + self.config.speed * (2 * pace - 1)
            item = item | {"samples": speed_up(item["samples"], factor)}
        return cut(item, self.config.longest, place)

    def _judge(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Logits (B, K); sounds are worn out before, each by its own draw."""
        wear = CORRUPTIONS[self.config.wear]
        if self.config.wear == "none":
            return self.system.judge(self.model, batch).logits
        samples, lengths = batch.both("samples")
        samples = corrupt(samples, lengths, wear, generator)
        if not wear.masks or not hasattr(self.model, "hear"):
            worn = batch._replace(values={**batch.values, "samples": samples})
            return self.system.judge(self.model, worn).logits
        sound = self.model.extract_features(samples, lengths)
        return self.model.judge(hide_features(sound, wear.masks, generator)).logits

    def batches(self, generator: torch.Generator) -> list[Tensor]:
        """Turns of like length together, in random order: little padding, much less work."""
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
        logits = judge(self.result, self.reader, self.turns["validation"]).logits
        return self.goal.figures(logits, self._targets("validation"))

    # --- before it starts ---

    def estimate(self) -> float:
        """Seconds that all epochs take at most, from a few batches; the run is spoilt by it."""
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
    """The fold that a configuration names."""
    if config.fold == ALL:
        return whole_fold(prepared.turns, config.target)
    folds = deal_folds(prepared.turns, config.protocol, config.target)
    if not 0 <= config.fold < len(folds):
        raise ConfigError(f"fold {config.fold}: {config.protocol} has folds 0 to {len(folds) - 1}")
    return folds[config.fold]


def fold_numbers(text: str, count: int) -> list[int]:
    """Which folds `fold=` means."""
    if text == "all":
        return list(range(count))
    if not text.isdecimal():
        raise ConfigError(f"fold: expected a number from 0 to {count - 1}, or all, found {text!r}")
    return [int(text)]


def train(config: TrainConfig, folds: str = "all") -> Path:
    """Train folds one after the other, or continue; returns the folder that holds them."""
    prepared = load_prepared(config.data)
    numbers = fold_numbers(folds, len(deal_folds(prepared.turns, config.protocol, config.target)))
    with workers(config.device) as group:
        for number in numbers:
            run = FoldRun(of_fold(config, number), group, prepared)
            print(f"fold {number}: {summary(run)}", flush=True)
            run.go()
    return Path(config.run)


def plan(config: TrainConfig, folds: str = "all") -> None:
    """Say what would be trained, and for how long; nothing is written but what the face network sees."""
    prepared = load_prepared(config.data)
    numbers = fold_numbers(folds, len(deal_folds(prepared.turns, config.protocol, config.target)))
    total = 0.0
    with workers(config.device) as group:
        for number in numbers:
            run = FoldRun(of_fold(config, number), group, prepared)
            # Folds are of like size: one tells the time of all.
            total = total or run.estimate() * len(numbers)
            print(f"fold {number}: {summary(run)}; into {run.folder}")
        print(f"{config.epochs} epochs each on {group.device}, at most {total / 60:.0f} min in all")


def of_fold(config: TrainConfig, number: int) -> TrainConfig:
    return replace(config, run=str(fold_folder(config.run, number)), fold=number)


def summary(run: FoldRun) -> str:
    """A fold in a line."""
    said = run.description()
    counts = ", ".join(f"{part} {count:,}" for part, count in said["turns"].items())
    return f"{run.fold.name}, turns: {counts}; {said['parameters']:,} parameters"


def main(toml: str, *words: str) -> None:
    """The command line."""
    sitting, rest = split_words(words, fold="all", dry_run="0")
    config = load_config(TrainConfig, toml, rest)
    if sitting["dry_run"] in ("1", "true"):
        plan(config, sitting["fold"])
    else:
        train(config, sitting["fold"])


if __name__ == "__main__":
    run_command(main, __doc__, 1, more=True)
