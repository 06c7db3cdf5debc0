"""WavLM, HuBERT and wav2vec 2.0 as voice encoders.

Shapes: B recordings, N samples at 16 kHz, F frames (20 ms each in the published models), C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from multimodal_fer.errors import WeightsError
from multimodal_fer.layers.backbones import transformers_library
from multimodal_fer.layers.output import Output
from multimodal_fer.layers.pretrained import EncoderConfig, PretrainedEncoder
from multimodal_fer.layers.sequences import check_lengths, present
from multimodal_fer.types import SAMPLE_RATE


@dataclass(frozen=True)
class PretrainedVoiceConfig(EncoderConfig):
    """The shape of a voice encoder."""

    backbone: str = "microsoft/wavlm-base-plus"


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


def _frames(samples: Any, convolutions: Sequence[tuple[int, int]]) -> Any:
    """How many steps convolutions of these kernels and strides leave; of a number or of a tensor."""
    for kernel, stride in convolutions:
        samples = (samples - kernel) // stride + 1
    return samples
