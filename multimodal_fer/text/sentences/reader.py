"""Read whole texts with a sentence encoder.

Shapes: P passages, N texts, F fine labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multimodal_fer.layers.hierarchical import sum_fine_labels
from multimodal_fer.layers.output import Prediction
from multimodal_fer.layers.sequences import pad
from multimodal_fer.text.sentences.encoder import SentenceEncoder
from multimodal_fer.text.sentences.fine_labels import fine_scores, named, valence_of
from multimodal_fer.text.sentences.languages import FOREIGN
from multimodal_fer.text.sentences.passages import clean, split_passages
from multimodal_fer.text.sentences.word_pieces import WordPieces

AT_ONCE = 64  # passages in a batch; memory does not grow with the number of texts
FEW = 3  # words of a text whose language is not checked beyond its letters


@dataclass(frozen=True, eq=False)
class SentenceReader:
    """A sentence encoder with its word pieces, applied to texts of any length."""

    network: SentenceEncoder
    vocabulary: WordPieces

    def predict(self, texts: Sequence[str]) -> list[Prediction | None]:
        """Return the prediction for each text; None for one without words.

        A text of several passages gets the mean of their log-probabilities, each weighted by its words.
        """
        passages = [
            (number, part) for number, text in enumerate(texts) for part in split_passages(text)
        ]
        tokens = self.vocabulary.encode_all([part for _, part in passages])
        read = [(number, row) for (number, _), row in zip(passages, tokens, strict=True) if row]
        if not read:
            return [None] * len(texts)
        logits_PF = self._encode([torch.tensor(row) for _, row in read])
        owners_P = torch.tensor([number for number, _ in read])
        weights_P = torch.tensor([float(len(row) - 2) for _, row in read])
        found: list[Prediction | None] = [None] * len(texts)
        for number in owners_P.unique().tolist():
            rows = owners_P == number
            weights_P1 = (weights_P[rows] / weights_P[rows].sum()).unsqueeze(1)
            logits_F = (weights_P1 * logits_PF[rows].log_softmax(1)).sum(0)
            found[number] = self._answer(logits_F)
        return found

    @torch.inference_mode()
    def _encode(self, tokens: Sequence[Tensor]) -> Tensor:
        """Return the fine logits (P, F), in batches of similar length."""
        device = self.network.pieces.weight.device
        order = torch.tensor([len(row) for row in tokens]).argsort(stable=True)
        logits = []
        for picks in order.split(AT_ONCE):
            padded, lengths = pad([tokens[pick] for pick in picks.tolist()])
            embedding_BD = self.network.encode(padded.to(device), lengths.to(device))
            logits.append(self.network.head.finely(embedding_BD).float().cpu())
        return torch.cat(logits)[order.argsort()]

    def _answer(self, logits_F: Tensor) -> Prediction:
        """Return the calibrated scores of the labels, the fine labels that are named, and the valence."""
        config, head = self.network.config, self.network.head
        coarse_1K = sum_fine_labels(logits_F[None], head.labels, list(head.finer.values()))
        scores = (coarse_1K[0] / config.temperature).softmax(0).tolist()
        fine_F = (logits_F / config.fine_temperature).softmax(0)
        names = list(head.finer)
        shown = fine_scores(fine_F, names, config.shown_as)
        return Prediction(
            dict(zip(head.labels, scores, strict=True)),
            fine=named(shown, config.thresholds),
            valence=valence_of(fine_F, names, config.valence),
        )

    def known_share(self, text: str) -> float:
        """Return the share of a text's words that are one word piece and no frequent word of other languages.

        It is 0 for a text without words. Up to `FEW` words say too little about their language, and many are
        exclamations ("Aww!", "Yay, congrats!"): in Latin letters, they count as known.
        """
        splitter, pieces = self.vocabulary.splitter, self.vocabulary.numbers
        cleaned = splitter.normalizer.normalize_str(clean(text))
        found = [word for word, _ in splitter.pre_tokenizer.pre_tokenize_str(cleaned)]
        words = [word for word in found if any(letter.isalpha() for letter in word)]
        few = len(words) <= FEW
        known = sum(
            (word in pieces or (few and word.isascii())) and word not in FOREIGN for word in words
        )
        return known / max(1, len(words))

    def is_truncated(self, text: str) -> bool:
        """Return False: all passages of a text are read."""
        return False
