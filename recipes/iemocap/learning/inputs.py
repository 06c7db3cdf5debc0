"""The inputs of systems: read turn by turn, and collated into batches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from multimodal_fer.layers.output import Output
from multimodal_fer.text.vocabulary import Vocabulary
from multimodal_fer.types import SAMPLE_RATE
from multimodal_fer.voice.recurrent import PUBLISHED_FRAMES
from recipes.iemocap.corpus.turns import without_tags
from recipes.iemocap.learning.config import TrainConfig
from recipes.iemocap.learning.face_scores import FaceFeatures
from recipes.iemocap.learning.systems import Batch, System
from recipes.iemocap.preparation.prepared import Prepared
from recipes.iemocap.preparation.transcripts import Transcripts

Item = dict[str, Tensor]  # the inputs of a turn by name
FIXED = "prosody"  # the input of the same length for every turn


def texts_of(prepared: Prepared, config: TrainConfig) -> dict[str, str]:
    """Return the words of the turns that have any, from the corpus or the speech recogniser."""
    if config.transcripts == "whisper":
        transcripts = Transcripts(prepared, config.speech_model, config.engine)
        return {turn: text for turn in prepared.rows if (text := transcripts.of(turn))}
    found = {}
    for turn in prepared.rows:
        text = prepared.words(turn) or ""
        if text := text if config.tags else without_tags(text):
            found[turn] = text
    return found


@dataclass(eq=False)
class Reader:
    """Reads the inputs of one system."""

    prepared: Prepared
    system: System
    tokens: dict[str, Tensor]  # of the turns that have words, if the system reads them
    faces: FaceFeatures | None

    def has(self, turn: str) -> bool:
        """Check that a turn has all inputs of the system."""
        if "tokens" in self.system.reads and turn not in self.tokens:
            return False
        # Tokens may come from the recogniser without words in the corpus.
        others = [name for name in self.system.modalities if name != "text"]
        return all(self.prepared.has(turn, name) for name in others)

    def having(self, turns: Iterable[str]) -> list[str]:
        return [turn for turn in turns if self.has(turn)]

    def size(self, turn: str) -> float:
        """Return a measure of the computation, to batch turns of similar size."""
        if "tokens" in self.system.reads and len(self.system.modalities) == 1:
            return len(self.tokens[turn])
        row = self.prepared.rows[turn]
        return row.faces if "faces" in self.system.reads else row.turn.duration

    def item(self, turn: str) -> Item:
        return {name: self._value(name, turn) for name in self.system.reads}

    def _value(self, name: str, turn: str) -> Tensor:
        if name == "tokens":
            return self.tokens[turn]
        if name == "faces":
            assert self.faces is not None
            return self.faces.of(turn)
        if name == "samples":
            return torch.from_numpy(self.prepared.waveform(turn))
        if name == "mfcc":  # read by published systems only, which limit its length
            return torch.from_numpy(self.prepared.mfcc(turn))[:PUBLISHED_FRAMES]
        return torch.from_numpy(self.prepared.prosody(turn))


def collate(items: Sequence[Item], device: torch.device) -> Batch:
    """Make a batch, padded at the end."""
    values, lengths = {}, {}
    for name in items[0]:
        pieces = [item[name] for item in items]
        if name == FIXED:
            values[name] = torch.stack(pieces).to(device)
        else:
            values[name] = pad_sequence(pieces, batch_first=True).to(device)
            lengths[name] = torch.tensor([len(piece) for piece in pieces], device=device)
    return Batch(values, lengths)


def cut(item: Item, longest: float, position: float) -> Item:
    """Cut a sound to `longest` seconds, starting at a relative `position` in 0..1."""
    if "samples" not in item or not longest:
        return item
    most = round(longest * SAMPLE_RATE)
    start = int(position * max(0, len(item["samples"]) - most))
    return item | {"samples": item["samples"][start : start + most]}


def encode(model: Any, vocabulary: Vocabulary | None, texts: dict[str, str]) -> dict[str, Tensor]:
    """Return token numbers by turn, from the vocabulary or the network's tokeniser; drop empty texts."""
    if vocabulary is None:
        rows = model.tokenise(list(texts.values()))
    else:
        rows = [torch.tensor(vocabulary.encode(text)) for text in texts.values()]
    return {turn: row for turn, row in zip(texts, rows, strict=True) if len(row)}


@torch.no_grad()
def predict(model: Any, reader: Reader, turns: Sequence[str], batch: int = 32) -> Output:
    """Return logits and embeddings on the CPU in the order of the turns; batching does not change them."""
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(turns)), key=lambda place: reader.size(turns[place]))
    logits, embeddings = [], []
    for start in range(0, len(order), batch):
        items = [reader.item(turns[place]) for place in order[start : start + batch]]
        output = reader.system.predict(model, collate(items, device))
        logits.append(output.logits.float().cpu())
        embeddings.append(output.embedding.float().cpu())
    back = torch.tensor(order).argsort()
    return Output(torch.cat(logits)[back], torch.cat(embeddings)[back])
