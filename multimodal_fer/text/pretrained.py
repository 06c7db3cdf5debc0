"""BERT (MiniLM is one), RoBERTa and XLM-RoBERTa as text encoders.

Shapes: B texts, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from multimodal_fer.errors import WeightsError
from multimodal_fer.layers.backbones import transformers_library
from multimodal_fer.layers.output import Output
from multimodal_fer.layers.pretrained import EncoderConfig, PretrainedEncoder
from multimodal_fer.layers.sequences import check_lengths, pad, present


@dataclass(frozen=True)
class PretrainedTextConfig(EncoderConfig):
    """The settings of a pretrained text encoder."""

    max_tokens: int = 128  # longer texts are cut


class PretrainedText(PretrainedEncoder):
    """BERT (Devlin et al. 2019; MiniLM: Wang et al. 2020) or RoBERTa (Liu et al. 2019).

    The network takes texts, or tokens from a training loop that tokenises once:

        tokens = network.tokenise(texts)
        output = network(*pad_tokens([tokens[index] for index in batch]))
    """

    kinds: ClassVar = {
        "bert": "BertModel",
        "roberta": "RobertaModel",
        "xlm-roberta": "XLMRobertaModel",
    }
    needs = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model")
    options: ClassVar = {"add_pooling_layer": False}
    config: PretrainedTextConfig

    def __init__(self, config: PretrainedTextConfig | None = None, *, download: bool = False):
        super().__init__(config or PretrainedTextConfig(), download=download)

    def _prepare(self, folder: Path) -> None:
        self.tokeniser = transformers_library().AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
        sizes = self.backbone.config
        if len(self.tokeniser) > sizes.vocab_size:
            raise WeightsError(
                f"{folder}: the tokenizer has {len(self.tokeniser)} tokens, but the weights have "
                f"{sizes.vocab_size}; they do not belong together, copy the folder again"
            )
        # RoBERTa's positions start after the id of the padding.
        unusable = 0 if sizes.model_type == "bert" else sizes.pad_token_id + 1
        self.max_tokens = min(self.config.max_tokens, sizes.max_position_embeddings - unusable)

    def tokenise(self, texts: Sequence[str]) -> list[Tensor]:
        """Return the token ids of each text, int64 (T,), with start and end tokens, cut to fit."""
        cut = self.tokeniser(list(texts), truncation=True, max_length=self.max_tokens)
        return [torch.tensor(ids) for ids in cut["input_ids"]]

    def forward(self, texts: Sequence[str] | Tensor, lengths_B: Tensor | None = None) -> Output:
        """Classify B texts, or token ids (B, T) with their lengths, int64, from `pad_tokens`.

        Padding is ignored. Raises `TypeError` for token ids without lengths.
        """
        if not isinstance(texts, Tensor):
            texts, lengths_B = pad_tokens(self.tokenise(texts))
        if lengths_B is None:
            raise TypeError("token ids require lengths: network(tokens_BT, lengths_B)")
        check_lengths(lengths_B, texts.shape[1])
        device = next(self.parameters()).device
        mask_BT = present(lengths_B, texts.shape[1]).to(device)
        # RoBERTa computes positions from the id of the padding.
        tokens_BT = texts.to(device).masked_fill(~mask_BT, self.backbone.config.pad_token_id or 0)
        return self._classify(mask_BT, input_ids=tokens_BT, attention_mask=mask_BT.long())


def pad_tokens(tokens: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return a batch of tokenised texts: token ids (B, T) and lengths (B,), both int64."""
    return pad(tokens)
