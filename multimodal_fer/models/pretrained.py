"""Pretrained encoders of voice and words, from the library `transformers`, behind the package's own seam.

WavLM, HuBERT and wav2vec 2.0 listen; BERT (MiniLM is one), RoBERTa and XLM-RoBERTa read. They owe what
every encoder here owes, `Output(logits, embedding)`; `backbones.py` finds and opens them.

Padding never changes an answer: in float32 a batch of one equals a batch of many to 1e-4 of a logit. As
in the recurrent networks, a length below 1 raises `ValueError`: who has no voice or no text leaves the
encoder out.

Shapes: B recordings or texts, N samples at 16 kHz, F frames (20 ms each in the published models),
T tokens, S steps (F or T), C channels, L hidden layers with the input of the first, D embedding,
K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from multimodal_fer.errors import WeightsError
from multimodal_fer.labels import OPEN7
from multimodal_fer.media import SAMPLE_RATE
from multimodal_fer.models.backbones import (
    MINILM,
    find_backbone,
    load_network,
    opening,
    transformers_library,
)
from multimodal_fer.models.finer import FinerHead
from multimodal_fer.models.output import Output
from multimodal_fer.models.sequences import (
    AttentiveStatistics,
    MaskedMean,
    check_lengths,
    pad,
    present,
)


@dataclass(frozen=True)
class EncoderConfig:
    """Everything that inference has to agree on with training; stored as `config.json`."""

    labels: tuple[str, ...] = OPEN7  # names of the logits, in order
    finer: dict[str, str] = field(default_factory=dict)  # finer labels, and what each counts as
    backbone: str = MINILM  # a folder, "minilm", or a name on the Hugging Face hub
    frozen: bool = True  # the backbone stays as it was published; only what is on top learns
    weigh_layers: bool = True  # learn a mixture of the hidden layers instead of taking the last
    pooling: str = "mean"  # over real frames or tokens; a key of `POOLINGS`
    dropout: float = 0.1  # before the classifier
    temperature: float = 1.0  # divides the logits; fitted on validation data


@dataclass(frozen=True)
class PretrainedVoiceConfig(EncoderConfig):
    """The shape of a voice encoder."""

    backbone: str = "microsoft/wavlm-base-plus"


@dataclass(frozen=True)
class PretrainedTextConfig(EncoderConfig):
    """The shape of a text encoder."""

    max_tokens: int = 128  # longer texts are cut


POOLINGS: dict[str, type[MaskedMean] | type[AttentiveStatistics]] = {
    "mean": MaskedMean,
    "statistics": AttentiveStatistics,
}


class PretrainedEncoder(nn.Module):
    """What both encoders share: backbone, mixture of layers, pooling, classifier.

    The mixture is that of SUPERB (Yang et al. 2021; S3PRL's `Featurizer`): a softmax over one
    learnt number per layer. SUPERB's linear projection before the mean is left out, since a linear
    classifier follows and two linear maps are one.

    `download=True` allows a backbone to be fetched. Making an encoder raises `WeightsError` where its
    backbone cannot be had, is incomplete or unsafe, or where `transformers` is not installed.
    """

    kinds: ClassVar[dict[str, str]]  # see `load_network`
    needs: ClassVar[tuple[str, ...]]  # see `find_backbone`
    changes: ClassVar[dict[str, Any]] = {}
    options: ClassVar[dict[str, Any]] = {}
    config: EncoderConfig

    def __init__(self, config: EncoderConfig, *, download: bool = False):
        super().__init__()
        if config.pooling not in POOLINGS:
            raise WeightsError(f"unknown pooling {config.pooling!r}; known: {', '.join(POOLINGS)}")
        self.config = config
        folder = find_backbone(config.backbone, self.needs, download=download)
        with opening(config.backbone):
            self.backbone = load_network(folder, self.kinds, self.changes, self.options)
            self._prepare(folder)
        sizes = self.backbone.config
        if config.weigh_layers:
            self.layer_weights = nn.Parameter(torch.zeros(sizes.num_hidden_layers + 1))
        self.pooling = POOLINGS[config.pooling](sizes.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.head = FinerHead(self.pooling.outputs, config.labels, config.finer)
        for part in self._fixed_parts():
            part.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Switch dropout on or off; what does not learn stays in eval mode."""
        super().train(mode)
        for part in self._fixed_parts():
            part.eval()
        return self

    def _fixed_parts(self) -> list[nn.Module]:
        return [self.backbone] if self.config.frozen else []

    def _prepare(self, folder: Path) -> None:
        """Read how the input has to be prepared."""
        raise NotImplementedError

    def _judge(self, mask_BS: Tensor, **inputs: Tensor) -> Output:
        """Run the backbone, pool the real frames or tokens and classify them."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            found = self.backbone(**inputs, output_hidden_states=self.config.weigh_layers)
        states_BSD = found.last_hidden_state
        if self.config.weigh_layers:
            weights_L = self.layer_weights.softmax(0)
            # The last of `hidden_states` lacks the final layer norm in some models.
            states_BSD = states_BSD * weights_L[-1]
            for weight, layer_BSD in zip(weights_L[:-1], found.hidden_states[:-1], strict=True):
                states_BSD = states_BSD + layer_BSD * weight
        embedding_BD = self.dropout(self.pooling(states_BSD, mask_BS))
        return Output(self.head(embedding_BD), embedding_BD)


class TimeNorm(nn.GroupNorm):
    """Group norm over the real frames of each recording, as if it were alone.

    wav2vec 2.0 base, HuBERT base and WavLM base normalise each channel over time
    (`feat_extract_norm = "group"`), so zeros behind a recording change all of its frames. The library
    advises to give them no mask and lets the batch change the answer (`Wav2Vec2FeatureExtractor`;
    transformers#10117, fairseq#3227). With statistics of the real frames only, a masked batch gives
    what each recording gives alone, which is how they were trained. One thread at a time.
    """

    frames_B: Tensor  # noqa: N815  # real frames at this layer; set before each pass

    def forward(self, input: Tensor) -> Tensor:
        map_BCF, frames_B11 = input.float(), self.frames_B[:, None, None]
        mask_B1F = present(self.frames_B, map_BCF.shape[2])[:, None]
        mean_BC1 = (map_BCF * mask_B1F).sum(2, keepdim=True) / frames_B11
        centred_BCF = map_BCF - mean_BC1
        variance_BC1 = (centred_BCF * mask_B1F).square().sum(2, keepdim=True) / frames_B11
        scaled_BCF = centred_BCF * (variance_BC1 + self.eps).rsqrt()
        return scaled_BCF * self.weight[:, None] + self.bias[:, None]


class PretrainedVoice(PretrainedEncoder):
    """WavLM (Chen et al. 2022), HuBERT (Hsu et al. 2021) or wav2vec 2.0 (Baevski et al. 2020).

    While fine-tuning, the convolutions stay fixed (Baevski et al. 2020, §4.3); there is no layer drop
    and no masking of spans, as every layer takes part in the mixture and utterances are short.
    """

    kinds: ClassVar = {
        "wavlm": "WavLMModel",
        "hubert": "HubertModel",
        "wav2vec2": "Wav2Vec2Model",
    }
    needs = ("preprocessor_config.json",)
    changes: ClassVar = {
        "layerdrop": 0.0,
        "mask_time_prob": 0.0,
        "mask_feature_prob": 0.0,
        "add_adapter": False,  # would shorten the last layer, so that layers could not be mixed
    }
    config: PretrainedVoiceConfig

    def __init__(self, config: PretrainedVoiceConfig | None = None, *, download: bool = False):
        super().__init__(config or PretrainedVoiceConfig(), download=download)

    def _fixed_parts(self) -> list[nn.Module]:
        return [self.backbone if self.config.frozen else self.backbone.feature_extractor]

    def _prepare(self, folder: Path) -> None:
        settings = transformers_library().Wav2Vec2FeatureExtractor.from_pretrained(folder)
        if settings.sampling_rate != SAMPLE_RATE:
            raise WeightsError(
                f"{folder}: was trained on {settings.sampling_rate} Hz, but this package hears "
                f"{SAMPLE_RATE} Hz; choose another model"
            )
        # `return_attention_mask` is not asked: with `TimeNorm` a mask is right for every model.
        self.normalises = bool(settings.do_normalize)
        sizes = self.backbone.config
        self.convolutions = list(zip(sizes.conv_kernel, sizes.conv_stride, strict=True))
        self.shortest = 1  # samples that give one frame
        for kernel, stride in reversed(self.convolutions):
            self.shortest = (self.shortest - 1) * stride + kernel
        first = self.backbone.feature_extractor.conv_layers[0]
        self.norms_over_time = sizes.feat_extract_norm == "group"
        if self.norms_over_time:
            old = first.layer_norm
            first.layer_norm = TimeNorm(old.num_groups, old.num_channels, old.eps)
            first.layer_norm.load_state_dict(old.state_dict())

    def forward(self, waveforms_BN: Tensor, lengths_B: Tensor) -> Output:
        """Judge recordings.

        Parameters
        ----------
        waveforms_BN
            float, mono, 16 kHz, in [-1, 1]; what lies behind a recording's length is ignored
        lengths_B
            int64, samples; what is shorter than one frame (25 ms) is continued with silence
        """
        check_lengths(lengths_B, waveforms_BN.shape[1])
        lengths_B = lengths_B.to(waveforms_BN.device)
        waveforms_BN = self._normalised(waveforms_BN.float(), lengths_B)
        silence = max(0, self.shortest - waveforms_BN.shape[1])
        waveforms_BN = nn.functional.pad(waveforms_BN, (0, silence))
        lengths_B, samples = lengths_B.clamp(min=self.shortest), waveforms_BN.shape[1]
        if self.norms_over_time:
            first = self.backbone.feature_extractor.conv_layers[0]
            first.layer_norm.frames_B = _frames(lengths_B, self.convolutions[:1])
        mask_BN = present(lengths_B, samples)
        frames_B, frames = (_frames(size, self.convolutions) for size in (lengths_B, samples))
        mask_BF = present(frames_B, frames)
        return self._judge(mask_BF, input_values=waveforms_BN, attention_mask=mask_BN.long())

    def _normalised(self, waveforms_BN: Tensor, lengths_B: Tensor) -> Tensor:
        """Zeros behind each recording, and its own mean 0 and variance 1 if the model was trained so."""
        mask_BN = present(lengths_B, waveforms_BN.shape[1])
        waveforms_BN = waveforms_BN.masked_fill(~mask_BN, 0)
        if not self.normalises:
            return waveforms_BN
        count_B1 = lengths_B[:, None]
        mean_B1 = waveforms_BN.sum(1, keepdim=True) / count_B1
        centred_BN = (waveforms_BN - mean_B1).masked_fill(~mask_BN, 0)
        variance_B1 = centred_BN.square().sum(1, keepdim=True) / count_B1
        return centred_BN * (variance_B1 + 1e-7).rsqrt()  # 1e-7 as in `Wav2Vec2FeatureExtractor`


class PretrainedText(PretrainedEncoder):
    """BERT (Devlin et al. 2019; MiniLM: Wang et al. 2020) or RoBERTa (Liu et al. 2019).

    Texts go in as they are, or tokenised once and batched by a training loop:

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
                f"{folder}: its tokenizer knows {len(self.tokeniser)} tokens, its weights "
                f"{sizes.vocab_size}; they do not belong together, copy the folder again"
            )
        # RoBERTa counts positions from behind the padding's id.
        unusable = 0 if sizes.model_type == "bert" else sizes.pad_token_id + 1
        self.max_tokens = min(self.config.max_tokens, sizes.max_position_embeddings - unusable)

    def tokenise(self, texts: Sequence[str]) -> list[Tensor]:
        """Token ids of each text, int64 (T,), with the marks of its start and end, cut to fit."""
        cut = self.tokeniser(list(texts), truncation=True, max_length=self.max_tokens)
        return [torch.tensor(ids) for ids in cut["input_ids"]]

    def forward(self, texts: Sequence[str] | Tensor, lengths_B: Tensor | None = None) -> Output:
        """Judge texts.

        Parameters
        ----------
        texts
            B texts, or token ids (B, T), int64, as `pad_tokens` gives them
        lengths_B
            int64, tokens of each row; needed with token ids. What lies behind them is ignored
        """
        if not isinstance(texts, Tensor):
            texts, lengths_B = pad_tokens(self.tokenise(texts))
        if lengths_B is None:
            raise TypeError("token ids need their lengths: network(tokens_BT, lengths_B)")
        check_lengths(lengths_B, texts.shape[1])
        device = next(self.parameters()).device
        mask_BT = present(lengths_B, texts.shape[1]).to(device)
        # RoBERTa finds the padding, and so its positions, by this id.
        tokens_BT = texts.to(device).masked_fill(~mask_BT, self.backbone.config.pad_token_id or 0)
        return self._judge(mask_BT, input_ids=tokens_BT, attention_mask=mask_BT.long())


def pad_tokens(tokens: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """A batch of tokenised texts: token ids (B, T) and lengths (B,), both int64."""
    return pad(tokens)


def _frames(samples: Any, convolutions: Sequence[tuple[int, int]]) -> Any:
    """How many steps convolutions of these kernels and strides leave; of a number or of a tensor."""
    for kernel, stride in convolutions:
        samples = (samples - kernel) // stride + 1
    return samples
