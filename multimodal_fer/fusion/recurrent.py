"""MDRE and MDREA, the dual encoders of Yoon, Byun and Jung 2018 (arXiv 1810.04635).

MDRE joins ARE and TRE; in MDREA the voice attends to the words. Details that the paper leaves open
follow the authors' released code.

Shapes: B utterances, T frames or tokens, F values per frame, P prosody values, H hidden units,
D embedding, K classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from multimodal_fer.layers.output import Output
from multimodal_fer.layers.recurrent import ScalarBiasLinear
from multimodal_fer.layers.sequences import present
from multimodal_fer.text.recurrent import TextEncoder
from multimodal_fer.voice.recurrent import VoiceConfig, VoiceEncoder


@dataclass(frozen=True)
class DualConfig(VoiceConfig):
    """Settings of MDRE: those of the voice and the text."""

    vocabulary_size: int = 3747
    word_size: int = 300
    text_keep: float = 0.3


@dataclass(frozen=True)
class AttentionConfig(DualConfig):
    """Settings of MDREA: those of MDRE, and how attention treats padding."""

    mask_attention: bool = True  # False: as published, padding takes part
    padded_length: int = 128  # tokens that the published system pads to; for mask_attention=False


class MDRE(nn.Module):
    """Multimodal dual recurrent encoder (section 3.3): 1,617,066 parameters.

    Each encoding is projected to half its size, without a non-linearity, as published.
    """

    def __init__(self, config: DualConfig):
        super().__init__()
        self.config = config
        self.voice = VoiceEncoder(config)
        self.text = TextEncoder(config)
        sizes = self.voice.size // 2, self.text.size // 2  # 117 and 100
        self.voice_projection = ScalarBiasLinear(self.voice.size, sizes[0])
        self.text_projection = ScalarBiasLinear(self.text.size, sizes[1])
        self.head = ScalarBiasLinear(sum(sizes), len(config.labels))

    def forward(
        self,
        mfcc_BTF: Tensor,
        frames_B: Tensor,
        prosody_BP: Tensor,
        tokens_BT: Tensor,
        lengths_B: Tensor,
    ) -> Output:
        """Classify each utterance; the embedding is both projections, (B, 217)."""
        voice_BD = self.voice(mfcc_BTF, frames_B, prosody_BP)
        _, text_BD = self.text(tokens_BT, lengths_B)
        halves = [self.voice_projection(voice_BD), self.text_projection(text_BD)]
        embedding_BD = torch.cat(halves, dim=1)
        return Output(self.head(embedding_BD), embedding_BD)


class MDREA(nn.Module):
    """MDRE with attention (section 3.4): 1,617,302 parameters.

    The voice, projected to the text's size, is the query; attention is its dot product with the text's
    outputs. In the published code, padding up to 128 tokens takes part with the weight exp(0); its authors
    corrected that in October 2020. `mask_attention=False` is as published: the share of the padding
    depends on the number of tokens alone, never on the batch.
    """

    def __init__(self, config: AttentionConfig):
        super().__init__()
        self.config = config
        self.voice = VoiceEncoder(config)
        self.text = TextEncoder(config)
        self.query = ScalarBiasLinear(self.voice.size, self.text.size)
        self.head = ScalarBiasLinear(2 * self.text.size, len(config.labels))

    def forward(
        self,
        mfcc_BTF: Tensor,
        frames_B: Tensor,
        prosody_BP: Tensor,
        tokens_BT: Tensor,
        lengths_B: Tensor,
    ) -> Output:
        """Classify each utterance; the embedding is the attended text and the query, (B, 400)."""
        query_BD = self.query(self.voice(mfcc_BTF, frames_B, prosody_BP))
        outputs_BTD, _ = self.text(tokens_BT, lengths_B)
        weights_BT = self.attention(query_BD, outputs_BTD, lengths_B)
        context_BD = (weights_BT.unsqueeze(1) @ outputs_BTD).squeeze(1)
        embedding_BD = torch.cat([context_BD, query_BD], dim=1)
        return Output(self.head(embedding_BD), embedding_BD)

    def attention(self, query_BD: Tensor, outputs_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the attention to each token, (B, T); it sums to 1 unless padding takes part."""
        scores_BT = (outputs_BTD @ query_BD.unsqueeze(2)).squeeze(2)
        steps = scores_BT.shape[1]
        if self.config.mask_attention:
            absent_BT = ~present(lengths_B, steps)
            return scores_BT.masked_fill(absent_BT, -torch.inf).softmax(dim=1)
        missing = self.config.padded_length - steps
        if missing < 0:
            raise ValueError(
                f"attention as published pads to {self.config.padded_length} tokens, found {steps}; "
                "cut the text or set mask_attention"
            )
        # Outputs of padding are zero, and so are their scores.
        return functional.pad(scores_BT, (0, missing)).softmax(dim=1)[:, :steps]
