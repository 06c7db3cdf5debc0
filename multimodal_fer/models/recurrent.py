"""The recurrent encoders of Yoon, Byun and Jung 2018 (arXiv 1810.04635): voice, text and both.

ARE hears the voice, TRE reads the words, MDRE joins the two, MDREA lets the voice attend to the words.
What the paper leaves open follows the authors' released code. The networks take features: 39 MFCC values
every 10 ms (the published system sees the first 750 frames of an utterance, `PUBLISHED_FRAMES`), 35
prosody values an utterance, and numbers of tokens (at most 128, `Vocabulary.encode`). None of the
features is normalised there.

Every network needs evidence: a length below 1 raises `ValueError`, so that whoever has no voice or no text
leaves the network out, and never feeds it silence. What stands behind the true length is not looked at.

Shapes: B utterances, T frames or tokens, F values per frame, P prosody values, I inputs of a step,
H hidden units, D embedding, V vocabulary, K classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from multimodal_fer.labels import OPEN7
from multimodal_fer.models.output import Output
from multimodal_fer.models.sequences import check_lengths, present
from multimodal_fer.vocabulary import PAD_NUMBER, start_from

PUBLISHED_FRAMES = 750  # 7.5 s; longer utterances lose their end
SPREAD = 0.25  # weights of linear layers start uniform in ±SPREAD
WORD_DEVIATION = 0.01  # of the normal distribution that word vectors start from


@dataclass(frozen=True)
class VoiceConfig:
    """ARE: sizes of what it hears. Everything that inference has to agree on with training."""

    labels: tuple[str, ...] = OPEN7  # names of the logits, in order
    units: int = 200  # of each GRU
    frame_size: int = 39  # MFCC values per frame
    prosody_size: int = 35  # prosody values per utterance
    voice_keep: float = 0.7  # share of MFCC values that training keeps: keep, not drop
    temperature: float = 1.0  # divides the logits; fitted on validation data


@dataclass(frozen=True)
class TextConfig:
    """TRE: sizes of what it reads."""

    labels: tuple[str, ...] = OPEN7
    units: int = 200
    vocabulary_size: int = 3747  # with _PAD_ and _UNK_; IEMOCAP's transcripts
    word_size: int = 300  # of a word vector
    text_keep: float = 0.3  # share of word vectors' values that training keeps
    temperature: float = 1.0


@dataclass(frozen=True)
class DualConfig(VoiceConfig):
    """MDRE: both."""

    vocabulary_size: int = 3747
    word_size: int = 300
    text_keep: float = 0.3


@dataclass(frozen=True)
class AttentionConfig(DualConfig):
    """MDREA: both, and how attention treats padding."""

    mask_attention: bool = True  # False: as published, padding takes part
    padded_length: int = 128  # tokens that the published system pads to; for mask_attention=False


class GRU(nn.Module):
    """One layer of gated recurrent units as TensorFlow 1 defines them; (B, T, I) to (B, T, H) and (B, H).

    It differs from `torch.nn.GRU` (and cuDNN) in three ways, so that weights and parameter counts are the
    published ones. The reset gate acts on the state before the matrix product, not on the product. There
    is one bias per gate, where torch has two, whose sum is all that matters for two of the three. And
    kernels are whole: input and state share one orthogonal matrix (I + H, 2H) for both gates and one
    (I + H, H) for the candidate; the gates' bias starts at 1. Parameters: 3H(I + H + 1).

    All input products are one matrix product before the loop; a step is then six small operations.
    """

    def __init__(self, inputs: int, units: int):
        super().__init__()
        self.sizes = [inputs, units]
        self.gates_kernel = nn.Parameter(torch.empty(inputs + units, 2 * units))
        self.gates_bias = nn.Parameter(torch.ones(2 * units))
        self.candidate_kernel = nn.Parameter(torch.empty(inputs + units, units))
        self.candidate_bias = nn.Parameter(torch.zeros(units))
        nn.init.orthogonal_(self.gates_kernel)
        nn.init.orthogonal_(self.candidate_kernel)

    def forward(self, inputs_BTI: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs up to the longest length, zero after each one's end; and each one's last state."""
        longest = check_lengths(lengths_B, inputs_BTI.shape[1])
        absent_BT1 = ~present(lengths_B, longest).unsqueeze(2)
        # Zeroed and not only skipped: a NaN in the padding would reach the gradient.
        inputs_BTI = inputs_BTI[:, :longest].masked_fill(absent_BT1, 0.0)
        # Mixed precision stays out: its rounding would add up over hundreds of steps.
        with torch.autocast(inputs_BTI.device.type, enabled=False):
            outputs_BTH = self.unroll(inputs_BTI.to(self.gates_kernel.dtype))
        rows_B = torch.arange(len(lengths_B), device=outputs_BTH.device)
        last_BH = outputs_BTH[rows_B, lengths_B.to(outputs_BTH.device) - 1]
        return outputs_BTH.masked_fill(absent_BT1, 0.0), last_BH

    def unroll(self, inputs_BTI: Tensor) -> Tensor:
        """Every state, as if nothing were padding."""
        gates_of_input, gates_of_state = self.gates_kernel.split(self.sizes)
        candidate_of_input, candidate_of_state = self.candidate_kernel.split(self.sizes)
        inputs_TBI = inputs_BTI.transpose(0, 1)
        gates = (inputs_TBI @ gates_of_input + self.gates_bias).unbind()
        candidates = (inputs_TBI @ candidate_of_input + self.candidate_bias).unbind()
        state_BH = torch.zeros_like(candidates[0])
        states = []
        for gates_BG, candidate_BH in zip(gates, candidates, strict=True):
            opened_BG = torch.addmm(gates_BG, state_BH, gates_of_state).sigmoid()
            reset_BH, update_BH = opened_BG.chunk(2, dim=1)
            new_BH = torch.addmm(candidate_BH, reset_BH * state_BH, candidate_of_state).tanh()
            state_BH = torch.lerp(new_BH, state_BH, update_BH)  # update · old + (1 - update) · new
            states.append(state_BH)
        return torch.stack(states, dim=1)


class ScalarBiasLinear(nn.Module):
    """A linear layer whose outputs share one bias, as in the released code; (B, I) to (B, D)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-SPREAD, SPREAD))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, inputs_BI: Tensor) -> Tensor:
        return functional.linear(inputs_BI, self.weight) + self.bias


class VoiceEncoder(nn.Module):
    """The last state over the MFCC frames beside the prosody: (B, H + P).

    Dropout acts on the frames alone. The published wrapper drops outputs too, but never the state, and
    only the last state is used here.
    """

    def __init__(self, config: VoiceConfig):
        super().__init__()
        self.size = config.units + config.prosody_size
        self.dropout = nn.Dropout(1 - config.voice_keep)
        self.gru = GRU(config.frame_size, config.units)

    def forward(self, mfcc_BTF: Tensor, frames_B: Tensor, prosody_BP: Tensor) -> Tensor:
        _, last_BH = self.gru(self.dropout(mfcc_BTF), frames_B)
        return torch.cat([last_BH, prosody_BP], dim=1)


class TextEncoder(nn.Module):
    """Word vectors and a GRU over them: outputs per token (B, T, H) and the last state (B, H).

    As published, dropout acts on word vectors and on outputs, and not on the last state.
    """

    def __init__(self, config: TextConfig | DualConfig):
        super().__init__()
        self.size = config.units
        self.dropout = nn.Dropout(1 - config.text_keep)
        self.embedding = nn.Embedding(config.vocabulary_size, config.word_size, PAD_NUMBER)
        self.gru = GRU(config.word_size, config.units)
        nn.init.normal_(self.embedding.weight, std=WORD_DEVIATION)
        with torch.no_grad():
            self.embedding.weight[PAD_NUMBER] = 0

    def set_word_vectors(self, vectors_VD: Tensor) -> None:
        """Start from pre-trained vectors, float (V, D) in the vocabulary's order; they stay trainable.

        The row of _PAD_ becomes zeros. Raises `ValueError` for another shape.
        """
        start_from(self.embedding, vectors_VD)

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        longest = check_lengths(lengths_B, tokens_BT.shape[1])
        tokens_BT = tokens_BT[:, :longest]
        # Whatever number stands in the padding need not be one of the vocabulary's.
        tokens_BT = tokens_BT.masked_fill(~present(lengths_B, longest), PAD_NUMBER)
        outputs_BTH, last_BH = self.gru(self.dropout(self.embedding(tokens_BT)), lengths_B)
        return self.dropout(outputs_BTH), last_BH


class ARE(nn.Module):
    """Audio recurrent encoder (Yoon et al. 2018, section 3.1): 144,941 parameters for 4 labels."""

    def __init__(self, config: VoiceConfig):
        super().__init__()
        self.config = config
        self.voice = VoiceEncoder(config)
        self.head = ScalarBiasLinear(self.voice.size, len(config.labels))

    def forward(self, mfcc_BTF: Tensor, frames_B: Tensor, prosody_BP: Tensor) -> Output:
        """Classify each voice; the embedding is the last state and the prosody, (B, 235)."""
        embedding_BD = self.voice(mfcc_BTF, frames_B, prosody_BP)
        return Output(self.head(embedding_BD), embedding_BD)


class TRE(nn.Module):
    """Text recurrent encoder (section 3.2): 1,425,501 parameters for 4 labels, 3,747 words of 300."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.config = config
        self.text = TextEncoder(config)
        self.head = ScalarBiasLinear(self.text.size, len(config.labels))

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor) -> Output:
        """Classify each text; the embedding is the last state, (B, 200)."""
        _, embedding_BD = self.text(tokens_BT, lengths_B)
        return Output(self.head(embedding_BD), embedding_BD)


class MDRE(nn.Module):
    """Multimodal dual recurrent encoder (section 3.3): 1,617,066 parameters.

    Each half is projected to half its size. The projections have no non-linearity, as published.
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
        """Classify each pair; the embedding is both projections, (B, 217)."""
        voice_BD = self.voice(mfcc_BTF, frames_B, prosody_BP)
        _, text_BD = self.text(tokens_BT, lengths_B)
        halves = [self.voice_projection(voice_BD), self.text_projection(text_BD)]
        embedding_BD = torch.cat(halves, dim=1)
        return Output(self.head(embedding_BD), embedding_BD)


class MDREA(nn.Module):
    """MDRE with attention (section 3.4): 1,617,302 parameters.

    The voice, projected to the text's size, asks; the text's outputs answer by their dot products. The
    published code let the padding up to 128 tokens take part, each pad with the weight of exp(0); its
    authors corrected that in October 2020. `mask_attention=False` is as published: the share that pads
    take depends on the number of tokens alone, never on the batch's own padding.
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
        """Classify each pair; the embedding is the attended text and the query, (B, 400)."""
        query_BD = self.query(self.voice(mfcc_BTF, frames_B, prosody_BP))
        outputs_BTD, _ = self.text(tokens_BT, lengths_B)
        weights_BT = self.attention(query_BD, outputs_BTD, lengths_B)
        context_BD = (weights_BT.unsqueeze(1) @ outputs_BTD).squeeze(1)
        embedding_BD = torch.cat([context_BD, query_BD], dim=1)
        return Output(self.head(embedding_BD), embedding_BD)

    def attention(self, query_BD: Tensor, outputs_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """How much each token is listened to, (B, T); sums to 1 unless pads take their share."""
        scores_BT = (outputs_BTD @ query_BD.unsqueeze(2)).squeeze(2)
        steps = scores_BT.shape[1]
        if self.config.mask_attention:
            absent_BT = ~present(lengths_B, steps)
            return scores_BT.masked_fill(absent_BT, -torch.inf).softmax(dim=1)
        missing = self.config.padded_length - steps
        if missing < 0:
            raise ValueError(
                f"attention as published pads to {self.config.padded_length} tokens, found {steps}; "
                "cut the text, or mask the attention"
            )
        # Outputs are zero after the end, so the scores of all pads are.
        return functional.pad(scores_BT, (0, missing)).softmax(dim=1)[:, :steps]


def sigmoid_cross_entropy(logits_BK: Tensor, classes_B: Tensor) -> Tensor:
    """The published loss: sigmoid cross-entropy with one-hot targets, mean over batch and labels.

    It asks each label by itself; the paper writes a softmax, the released code does not. `classes_B` holds
    int64 numbers of the labels; one outside 0..K-1 raises `RuntimeError`.
    """
    targets_BK = functional.one_hot(classes_B, logits_BK.shape[1]).to(logits_BK.dtype)
    return functional.binary_cross_entropy_with_logits(logits_BK, targets_BK)
