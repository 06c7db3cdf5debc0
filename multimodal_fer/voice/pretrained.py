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
    """The settings of a pretrained voice encoder."""

    backbone: str = "microsoft/wavlm-base-plus"


class TimeNorm(nn.GroupNorm):
    """Group norm over the frames of each recording, without its padding. Not safe for threads.

    wav2vec 2.0 base, HuBERT base and WavLM base normalise each channel over time
    (`feat_extract_norm = "group"`), so that padding changes all frames. The library recommends no mask
    for them and accepts the change (`Wav2Vec2FeatureExtractor`; transformers#10117, fairseq#3227).
    Statistics without padding give the same output in a batch as alone.
    """

    frames_B: Tensor  # noqa: N815  # frames without padding at this layer; set before each pass

    def forward(self, input: Tensor) -> Tensor:
        mask_B1F = present(self.frames_B, input.shape[2])[:, None]
        scaled_BCF = _standardised(input.float(), mask_B1F, self.eps)
        return scaled_BCF * self.weight[:, None] + self.bias[:, None]


class PretrainedVoice(PretrainedEncoder):
    """WavLM (Chen et al. 2022), HuBERT (Hsu et al. 2021) or wav2vec 2.0 (Baevski et al. 2020).

    The convolutions stay fixed in fine-tuning (Baevski et al. 2020, §4.3). Layers are not dropped because
    all of them are weighted; spans are not masked because utterances are short.
    """

    kinds: ClassVar = {"wavlm": "WavLMModel", "hubert": "HubertModel", "wav2vec2": "Wav2Vec2Model"}
    needs = ("preprocessor_config.json",)
    changes: ClassVar = {
        "layerdrop": 0.0,
        "mask_time_prob": 0.0,
        "mask_feature_prob": 0.0,
        "add_adapter": False,  # it would shorten the last layer, which prevents a sum of layers
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
                f"{folder}: was trained on sound at {settings.sampling_rate} Hz, but this package uses "
                f"{SAMPLE_RATE} Hz; choose another model"
            )
        # `return_attention_mask` is ignored: with `TimeNorm` a mask is right for every model.
        self.normalises = bool(settings.do_normalize)
        sizes = self.backbone.config
        self.convolutions = list(zip(sizes.conv_kernel, sizes.conv_stride, strict=True))
        self.shortest = 1  # samples of one frame
        for kernel, stride in reversed(self.convolutions):
            self.shortest = (self.shortest - 1) * stride + kernel
        first = self.backbone.feature_extractor.conv_layers[0]
        self.norms_over_time = sizes.feat_extract_norm == "group"
        if self.norms_over_time:
            old = first.layer_norm
            first.layer_norm = TimeNorm(old.num_groups, old.num_channels, old.eps)
            first.layer_norm.load_state_dict(old.state_dict())

    def forward(self, waveforms_BN: Tensor, lengths_B: Tensor) -> Output:
        """Classify mono 16 kHz waveforms in [-1, 1], float, with lengths in samples, int64.

        Padding is ignored. Recordings shorter than a frame (25 ms) are padded with silence.
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
        return self._classify(mask_BF, input_values=waveforms_BN, attention_mask=mask_BN.long())

    def _normalised(self, waveforms_BN: Tensor, lengths_B: Tensor) -> Tensor:
        """Set padding to zero; normalise each recording if the model was trained like that."""
        mask_BN = present(lengths_B, waveforms_BN.shape[1])
        waveforms_BN = waveforms_BN.masked_fill(~mask_BN, 0)
        if not self.normalises:
            return waveforms_BN
        # 1e-7 as in `Wav2Vec2FeatureExtractor`
        return _standardised(waveforms_BN, mask_BN, 1e-7).masked_fill(~mask_BN, 0)


def _standardised(values: Tensor, mask: Tensor, epsilon: float) -> Tensor:
    """Subtract the mean over the last axis and divide by the deviation, both without padding."""
    count = mask.sum(-1, keepdim=True)
    centred = values - (values * mask).sum(-1, keepdim=True) / count
    variance = (centred * mask).square().sum(-1, keepdim=True) / count
    return centred * (variance + epsilon).rsqrt()


def _frames(samples: Any, convolutions: Sequence[tuple[int, int]]) -> Any:
    """Return the number of steps after convolutions (kernel, stride), for a number or a tensor."""
    for kernel, stride in convolutions:
        samples = (samples - kernel) // stride + 1
    return samples
