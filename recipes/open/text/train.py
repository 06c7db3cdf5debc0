"""Train a text network on labelled texts.

    python -m recipes.open.text.train recipes/open/text/text.toml data=FOLDER run=runs/text

FOLDER holds one folder for each corpus (see `corpora.py`). Every epoch ends in `last.pt`; the same command
continues from there to the same numbers.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from multimodal_fer.errors import ConfigError
from multimodal_fer.labels import GOEMOTIONS_TO_OPEN7, OPEN7
from multimodal_fer.layers.hierarchical import sum_fine_labels
from multimodal_fer.layers.sequences import pad
from multimodal_fer.models import build
from multimodal_fer.text.sentences.encoder import SentenceEncoder
from multimodal_fer.text.sentences.word_pieces import UNKNOWN, WordPieces
from multimodal_fer.text.vocabulary import UNKNOWN_NUMBER, Vocabulary
from multimodal_fer.text.word_vectors import vectors_for
from multimodal_fer.training.distributed import Workers, seed_everything
from multimodal_fer.training.metrics import classification_report
from multimodal_fer.training.run import (
    CHECKPOINT,
    Run,
    decayed_apart,
    load_checkpoint,
    result_state,
)
from multimodal_fer.training.sampling import draw_order
from recipes.open.text.corpora import (
    fine_targets_of,
    labels_of_corpora,
    read_texts,
    targets_of,
)
from recipes.open.text.minilm_start import minilm_pieces, start_from_minilm
from recipes.open.text.spoken import spoken


@dataclass(frozen=True)
class TextTrainConfig:
    """Settings of a text training."""

    data: str = "runs/text-corpora"  # folder of the corpora
    run: str = "runs/text"
    model: str = "words"  # a key of multimodal_fer.models.MODELS
    settings: dict[str, Any] = field(default_factory=dict)  # of the network, other than defaults
    corpora: tuple[str, ...] = ("goemotions", "isear", "so_emotion")
    finer: bool = True  # train GoEmotions on its own 28 fine labels
    vectors: str = "glove"  # the installed GloVe, a file of word vectors, or none
    smallest_count: int = 2  # a rarer word is out of the vocabulary
    largest: int = 20_000  # words of the vocabulary
    start: str = ""  # for `sentences`: minilm, or the folder of a run to continue from
    # For `sentences`: the first blocks that stay as they are, with the word pieces.
    frozen_blocks: int = 0
    head_rate: float = 1.0  # learning rate of the head, which starts at random, as a multiple
    layer_decay: float = 1.0  # learning rate of a block as a share of that of the next
    spoken: float = 0.0  # share of training texts that are changed into recognised speech
    repeats: dict[str, int] = field(default_factory=dict)  # how often each epoch has a corpus
    bfloat16: bool = False  # compute in half precision, which is faster on recent processors
    balance: float = 0.0  # rare labels are drawn more often: frequency ** -balance
    epochs: int = 12
    batch: int = 64
    learning_rate: float = 2e-3  # the highest of the one-cycle schedule
    weight_decay: float = 1e-2
    average_decay: float = 0.999
    keep: str = "best"
    patience: int = 0
    seed: int = 1
    device: str = "auto"
    limit: int = 0  # use only so many texts of each part; 0 means all


def load_vectors(config: TextTrainConfig, vocabulary: Vocabulary) -> Tensor | None:
    """Return word vectors (V, D) in the vocabulary's order, None if the configuration asks for none."""
    found = vectors_for(vocabulary, config.vectors, config.seed)
    if found is None:
        return None
    print(f"word vectors: {found.coverage:.1%} of {len(vocabulary)} words", flush=True)
    return torch.as_tensor(found.vectors)


def encode_texts(
    model: Any, vocabulary: Vocabulary | WordPieces | None, texts: Sequence[str]
) -> list[Tensor]:
    """Return the token numbers of each text; a text without tokens gets the unknown word."""
    if vocabulary is None:
        return model.tokenise(texts)
    if isinstance(vocabulary, WordPieces):
        nothing = vocabulary.encode(UNKNOWN)
        return [torch.tensor(row or nothing) for row in vocabulary.encode_all(texts)]
    return [torch.tensor(vocabulary.encode(text) or [UNKNOWN_NUMBER]) for text in texts]


@torch.no_grad()
def predict_texts(
    model: Any, tokens: Sequence[Tensor], batch: int = 128, fine: bool = False
) -> Tensor:
    """Return logits (N, K), or those of the fine labels; batches hold texts of similar length."""
    model.eval()
    device = next(model.parameters()).device
    order = torch.tensor([len(row) for row in tokens]).argsort(stable=True)
    parts = []
    for picks in order.split(batch):
        padded, lengths = pad([tokens[pick] for pick in picks.tolist()])
        output = model(padded.to(device), lengths.to(device))
        logits = model.head.finely(output.embedding) if fine else output.logits
        parts.append(logits.float().cpu())
    logits = torch.cat(parts)
    return torch.empty_like(logits).index_copy_(0, order, logits)


def mask_missing(logits: Tensor, in_corpus: Tensor) -> Tensor:
    """Mask the logits of labels that the corpus of a text never gives."""
    return logits.masked_fill(~in_corpus, -1e4)


def layer_rates(model: SentenceEncoder, config: TextTrainConfig) -> list[dict[str, Any]]:
    """Return parameter groups whose learning rates fall towards the input, without the frozen layers."""
    frozen = [model.pieces, model.positions, model.norm, *model.blocks[: config.frozen_blocks]]
    for part in frozen:
        part.requires_grad_(False)
    rates = {model.head: config.learning_rate * config.head_rate}
    for above, block in enumerate(reversed(model.blocks[config.frozen_blocks :])):  # type: ignore[arg-type]
        rates[block] = config.learning_rate * config.layer_decay**above
    groups = []
    for part, rate in rates.items():
        groups += [group | {"lr": rate} for group in decayed_apart(part, config.weight_decay)]
    return [group for group in groups if group["params"]]


class TextRun(Run):
    """The training of a text network."""

    score = "valid_macro_f1"

    def __init__(self, config: TextTrainConfig, group: Workers) -> None:
        super().__init__(config, group)
        seed_everything(config.seed)
        training, validation = (
            read_texts(config.data, config.corpora, part)[: config.limit or None]
            for part in ("train", "validation")
        )
        training = [
            sample for sample in training for _ in range(config.repeats.get(sample.corpus, 1))
        ]
        self.texts = [sample.text for sample in training]
        self.vocabulary = self.build_model(self.texts)
        self.model.to(group.device)
        self.tokens = self.encode(self.texts)
        self.targets = torch.from_numpy(targets_of(training))
        self.fine_targets = torch.from_numpy(fine_targets_of(training))
        self.in_corpus = torch.from_numpy(labels_of_corpora(training))
        self.valid_tokens = self.encode([sample.text for sample in validation])
        self.valid_targets = torch.from_numpy(targets_of(validation))
        self.valid_in_corpus = torch.from_numpy(labels_of_corpora(validation))
        self.average = self.averaged(self.model)
        if isinstance(self.model, SentenceEncoder):
            groups = layer_rates(self.model, config)
        else:
            groups = decayed_apart(self.model, config.weight_decay)
        self.optimizer = AdamW(groups, config.learning_rate, fused=True)
        steps = math.ceil(len(self.tokens) / config.batch)
        self.schedule = OneCycleLR(
            self.optimizer,
            [group["lr"] for group in self.optimizer.param_groups],
            total_steps=steps * config.epochs,
            pct_start=0.2,
        )

    def build_model(self, texts: Sequence[str]) -> Vocabulary | WordPieces | None:
        """Build the network with its start, and return its vocabulary."""
        config = self.config
        sizes: dict[str, Any] = {"finer": GOEMOTIONS_TO_OPEN7} if config.finer else {}
        vocabulary, vectors = None, None
        if config.model == "words":
            vocabulary = Vocabulary.build(texts, config.smallest_count, config.largest)
            vectors = load_vectors(config, vocabulary)
            self.about["vocabulary"] = list(vocabulary.tokens)
        elif config.model == "sentences":
            vocabulary = minilm_pieces()
            self.about["vocabulary"] = list(vocabulary.pieces)
        if vocabulary is not None:
            sizes["vocabulary_size"] = len(vocabulary)
        if vectors is not None:
            sizes["word_size"] = vectors.shape[1]
        self.about["settings"] = {"labels": OPEN7} | sizes | config.settings
        self.model = build(config.model, self.about["settings"])
        if vectors is not None:
            self.model.set_word_vectors(vectors)
        if config.start:
            self.start_from(config.start)
        return vocabulary

    def start_from(self, start: str) -> None:
        """Copy the weights of MiniLM, or those of a run of this recipe."""
        if not isinstance(self.model, SentenceEncoder):
            raise ConfigError(f"start={start}: only the model sentences has a start")
        if start == "minilm":
            start_from_minilm(self.model)
        else:
            self.model.load_state_dict(result_state(load_checkpoint(Path(start) / CHECKPOINT)))

    def encode(self, texts: Sequence[str]) -> list[Tensor]:
        return encode_texts(self.model, self.vocabulary, texts)

    def train_epoch(self) -> float:
        config, device, generator = self.config, self.group.device, self.seed_epoch()
        if config.spoken:
            chance = random.Random(generator.initial_seed())
            texts = [
                spoken(text, chance) if chance.random() < config.spoken else text
                for text in self.texts
            ]
            self.tokens = self.encode(texts)
        order = draw_order(self.targets, config.balance, generator)
        self.model.train()
        total = 0.0
        batches = self.batches(order, generator)
        for number, picks in enumerate(batches, start=1):
            tokens, lengths = pad([self.tokens[pick] for pick in picks.tolist()])
            with torch.autocast(device.type, torch.bfloat16, enabled=config.bfloat16):
                output = self.model(tokens.to(device), lengths.to(device))
            loss = self.loss(output.embedding.float(), picks)
            self.update(loss, clip_norm=1.0)
            total += loss.item() * len(picks)
            if number % 200 == 0:
                self.say(
                    f"  step {number}/{len(batches)}  loss {total / (number * config.batch):.4f}"
                )
        return total / len(order)

    def loss(self, embedding_BD: Tensor, picks: Tensor) -> Tensor:
        """Return the cross-entropy over fine labels if a text has them, else over its corpus's labels."""
        device, entropy = self.group.device, nn.functional.cross_entropy
        head = self.model.head
        fine_BF = head.finely(embedding_BD)
        logits = sum_fine_labels(fine_BF, head.labels, list(head.finer.values()))
        logits = mask_missing(logits, self.in_corpus[picks].to(device))
        losses_B = entropy(logits, self.targets[picks].to(device), reduction="none")
        if self.config.finer:
            targets_BF = self.fine_targets[picks].to(device)
            fine_losses_B = entropy(fine_BF, targets_BF, reduction="none")
            losses_B = torch.where(targets_BF.any(1), fine_losses_B, losses_B)
        return losses_B.mean()

    def batches(self, order: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Return batches of texts of similar length in random order, which need little padding."""
        batches: list[Tensor] = []
        for chunk in order.split(self.config.batch * 32):
            lengths = torch.tensor([len(self.tokens[pick]) for pick in chunk.tolist()])
            batches += chunk[lengths.argsort(stable=True)].split(self.config.batch)
        shuffled = torch.randperm(len(batches), generator=generator).tolist()
        return [batches[number] for number in shuffled]

    def validate(self) -> dict[str, float]:
        logits = mask_missing(predict_texts(self.result, self.valid_tokens), self.valid_in_corpus)
        truth = self.valid_targets.argmax(1).numpy()
        report = classification_report(logits.softmax(1).numpy(), truth, OPEN7)
        loss = nn.functional.cross_entropy(logits, self.valid_targets).item()
        return {
            "valid_accuracy": report["accuracy"],
            "valid_macro_f1": report["macro_f1"],
            "valid_loss": loss,
        }


train = TextRun.train

if __name__ == "__main__":
    TextRun.command(TextTrainConfig, __doc__)
