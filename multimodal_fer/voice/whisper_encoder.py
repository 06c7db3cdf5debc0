"""A voice network on the first layers of Whisper's encoder (Radford et al. 2023).

Whisper learnt to transcribe 680,000 hours of speech. Its lower layers carry how something is said as well
as what: the mean and the deviation over time of several layers predict emotions of unseen speakers far
better than a network that learns from emotional speech alone.

Shapes: B waveforms, N samples at 16 kHz, T frames of 10 ms, S steps of 20 ms, M mel bands, W width of the
encoder, H attention heads, L layers (the embedded input and each block), F moments (2 L W), D embedding.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from multimodal_fer.labels import OPEN7
from multimodal_fer.layers.output import Output
from multimodal_fer.layers.sequences import check_lengths, present
from multimodal_fer.types import SAMPLE_RATE
from multimodal_fer.voice.network import SoundFeatures
from multimodal_fer.voice.reference import Reference, shrunk

BANDS = 80  # of tiny to medium; large-v3 has 128
TRANSFORM = 400  # samples of a window: 25 ms
HOP = 160  # samples from one frame to the next: 10 ms
LONGEST_STEPS = 1500  # positions that Whisper has learnt: 30 s
DYNAMIC_RANGE = 8.0  # decades under the loudest band that are kept
QUIET = 25.0  # decibels under the loud frames at which a frame counts half
SOFTNESS = 3.0  # decibels; width of the passage from quiet to loud
SMALLEST_VARIANCE = 1e-6  # of a moment


@dataclass(frozen=True)
class WhisperVoiceConfig:
    """Everything that inference has to agree on with training; stored as `config.json`."""

    labels: tuple[str, ...] = OPEN7  # names of the logits, in order
    width: int = 384  # of tiny
    heads: int = 6
    blocks: int = 3  # of the encoder, from the first; the others are left out
    last_mlp: bool = False  # if the last block ends with its MLP; without it, it is half as large
    units: int = 64  # of the hidden layer, the embedding
    dropout: float = 0.3
    # A person's own mean and deviation count as many utterances, the corpus's as many as this.
    reference_weight: float = 8.0
    # Assumed share of each label, whose logarithm is added to the logits; empty: all equal, as in training.
    prior: tuple[float, ...] = ()
    temperature: float = 1.0  # divides the logits; fitted on validation data

    def __post_init__(self) -> None:
        if self.width % self.heads or self.blocks < 1:
            raise ValueError(
                f"expected a width that the heads divide and at least one block, got width {self.width}, "
                f"{self.heads} heads, {self.blocks} blocks"
            )
        if self.prior and (len(self.prior) != len(self.labels) or min(self.prior) <= 0):
            raise ValueError(
                f"expected a positive share for each of {len(self.labels)} labels, got {self.prior}"
            )


class EncoderBlock(nn.Module):
    """A pre-norm transformer block of Whisper's encoder; parameter names are those of openai-whisper."""

    def __init__(self, width: int, heads: int, has_mlp: bool = True):
        super().__init__()
        self.heads = heads
        self.attn_ln = nn.LayerNorm(width)
        self.attn = nn.ModuleDict(
            {
                "query": nn.Linear(width, width),
                "key": nn.Linear(width, width, bias=False),
                "value": nn.Linear(width, width),
                "out": nn.Linear(width, width),
            }
        )
        self.has_mlp = has_mlp
        if has_mlp:
            self.mlp_ln = nn.LayerNorm(width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

    def forward(self, steps_BSW: Tensor, mask_B11S: Tensor) -> Tensor:
        normed_BSW = self.attn_ln(steps_BSW)
        query, key, value = (
            self.attn[name](normed_BSW).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask_B11S)
        steps_BSW = steps_BSW + self.attn["out"](mixed.transpose(1, 2).flatten(2))
        return steps_BSW + self.mlp(self.mlp_ln(steps_BSW)) if self.has_mlp else steps_BSW


class WhisperEncoder(nn.Module):
    """The convolutions and the first blocks of Whisper's encoder, for sound of any length up to 30 s.

    Whisper pads to 30 s; here the positional embedding is cut to the length instead, so that 4 s cost a
    seventh. Parameter names are those of openai-whisper.
    """

    def __init__(self, width: int, heads: int, blocks: int, last_mlp: bool = True):
        super().__init__()
        self.conv1 = nn.Conv1d(BANDS, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(
            [EncoderBlock(width, heads, last_mlp or n < blocks - 1) for n in range(blocks)]
        )
        self.register_buffer(
            "positional_embedding", sinusoids(LONGEST_STEPS, width), persistent=False
        )

    def forward(self, frames_BTM: Tensor, frames_B: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the embedded input and the output of each block, each (B, S, W), and the steps (B,)."""
        there_BT = present(frames_B, frames_BTM.shape[1]).unsqueeze(1)
        map_BWT = functional.gelu(self.conv1(frames_BTM.transpose(1, 2) * there_BT)) * there_BT
        steps_BSW = functional.gelu(self.conv2(map_BWT)).transpose(1, 2)
        steps_B = (frames_B + 1) // 2
        steps_BSW = steps_BSW + self.positional_embedding[: steps_BSW.shape[1]]  # type: ignore[index]
        mask_B11S = present(steps_B, steps_BSW.shape[1])[:, None, None, :]
        layers = [steps_BSW]
        for block in self.blocks:
            layers.append(block(layers[-1], mask_B11S))
        return layers, steps_B


class WhisperVoice(nn.Module):
    """Whisper's first layers, their mean and deviation over time, and a small network on these moments.

    `forward` takes mono 16 kHz waveforms in [-1, 1] (B, N) with their lengths in samples; what exceeds 30 s
    is cut off. Padding never changes a prediction. It consists of `extract_features`, `describe` and
    `judge`; `judge` can be given what is known about the voice of the person, so that a voice is compared
    with itself instead of with everybody's. Raises `ValueError` for a length of zero.
    """

    config: WhisperVoiceConfig

    def __init__(self, config: WhisperVoiceConfig):
        super().__init__()
        self.config = config
        self.encoder = WhisperEncoder(config.width, config.heads, config.blocks, config.last_mlp)
        self.size = 2 * config.width * (config.blocks + 1)
        # Mean and variance of each moment over the corpus.
        self.scale = nn.BatchNorm1d(self.size, eps=SMALLEST_VARIANCE, affine=False)
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(self.size, config.units)
        self.head = nn.Linear(config.units, len(config.labels))

    def forward(self, waveforms_BN: Tensor, lengths_B: Tensor) -> Output:
        return self.classify(self.extract_features(waveforms_BN, lengths_B))

    @torch.no_grad()
    def extract_features(self, waveforms_BN: Tensor, lengths_B: Tensor) -> SoundFeatures:
        """Return the features that `classify` reads; they have no parameters and need no gradient."""
        check_lengths(lengths_B, waveforms_BN.shape[1])
        longest = LONGEST_STEPS * 2 * HOP
        waveforms_BN, lengths_B = waveforms_BN[:, :longest], lengths_B.clamp(max=longest)
        return SoundFeatures(*whisper_log_mel(waveforms_BN, lengths_B), None)

    def classify(self, sound: SoundFeatures) -> Output:
        return self.judge(self.describe(sound))

    def describe(self, sound: SoundFeatures) -> Tensor:
        """Return the moments (B, F): each layer's mean and deviation over the loud steps."""
        layers, _ = self.encoder(sound.frames, sound.lengths)
        weights_BS1 = loudness_weights(sound.frames, sound.lengths).unsqueeze(2)
        moments = []
        for layer_BSW in layers:
            layer_BSW = layer_BSW.float()
            mean_B1W = (weights_BS1 * layer_BSW).sum(1, keepdim=True)
            variance_BW = (weights_BS1 * (layer_BSW - mean_B1W).square()).sum(1)
            # The variance of a single step is zero, where the slope of the root is infinite.
            moments += [mean_B1W.squeeze(1), (variance_BW + 1e-9).sqrt()]
        return torch.cat(moments, dim=1)

    def judge(self, moments_BF: Tensor, reference: Reference | None = None) -> Output:
        """Return logits and embedding for moments (B, F), relative to the corpus or to the person."""
        if reference is None:
            scaled_BF = self.scale(moments_BF)
        else:
            mean_BF, variance_BF = shrunk(
                reference,
                self.scale.running_mean,  # type: ignore[arg-type]
                self.scale.running_var,  # type: ignore[arg-type]
                self.config.reference_weight,
            )
            scaled_BF = (moments_BF - mean_BF) * (variance_BF + SMALLEST_VARIANCE).rsqrt()
        embedding_BD = functional.gelu(self.hidden(self.dropout(scaled_BF)))
        logits_BK = self.head(self.dropout(embedding_BD))
        if self.config.prior and not self.training:
            prior_K = torch.tensor(self.config.prior, device=logits_BK.device)
            logits_BK = logits_BK + (prior_K / prior_K.mean()).log()
        return Output(logits_BK, embedding_BD)


def loudness_weights(frames_BTM: Tensor, frames_B: Tensor) -> Tensor:
    """Return a weight for each step (B, S), near 0 in quiet ones; they sum to 1.

    A frame counts by its level against the clip's loud frames (the mean level, weighted by power), so that
    silence around speech and pauses change nothing.
    """
    there_BT = present(frames_B, frames_BTM.shape[1])
    power_BT = (10 ** (4 * frames_BTM - 4)).sum(2) * there_BT
    loud_B1 = power_BT.square().sum(1, keepdim=True) / power_BT.sum(1, keepdim=True).clamp(
        min=1e-12
    )
    decibels_BT = 10 * (power_BT.clamp(min=1e-12) / loud_B1.clamp(min=1e-12)).log10()
    weights_BT = torch.sigmoid((decibels_BT + QUIET) / SOFTNESS) * there_BT
    # A step holds a frame and the next one; as a convolution its length agrees with `conv2` in graphs.
    both_11K = weights_BT.new_tensor([[[0.0, 1.0, 1.0]]])
    weights_BS = functional.conv1d(weights_BT[:, None], both_11K, stride=2, padding=1)[:, 0]
    return weights_BS / weights_BS.sum(1, keepdim=True)


def whisper_log_mel(waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return Whisper's log mel spectrogram (B, T, 80), zero after each end, and the frames (B,).

    Base-10 logarithm of 80 Slaney bands of a Hann window of 25 ms every 10 ms, cut 8 decades under the
    loudest value of the waveform, then (x + 4) / 4 (openai-whisper, `log_mel_spectrogram`). Frames are
    centred, with silence around the waveform.
    """
    lengths_B = lengths_B.to(waveforms_BN.device)
    there_BN = present(lengths_B, waveforms_BN.shape[1])
    padded_BN = functional.pad(waveforms_BN * there_BN, (TRANSFORM // 2, TRANSFORM // 2))
    windows_BTW = padded_BN.unfold(1, TRANSFORM, HOP) * hann_window().to(padded_BN.device)
    spectrum_BTK = torch.fft.rfft(windows_BTW)
    power_BTK = spectrum_BTK.real.square() + spectrum_BTK.imag.square()
    mel_BTM = power_BTK @ slaney_filters().to(power_BTK.device)
    frames_B = (lengths_B // HOP).clamp(min=1)
    whole = waveforms_BN.shape[1] // HOP
    mel_BTM = mel_BTM[:, : whole if torch.compiler.is_exporting() else max(whole, 1)]
    log_BTM = mel_BTM.clamp(min=1e-10).log10()
    there_BT1 = present(frames_B, log_BTM.shape[1]).unsqueeze(2)
    loudest_B11 = log_BTM.masked_fill(~there_BT1, -torch.inf).amax((1, 2), keepdim=True)
    log_BTM = torch.maximum(log_BTM, loudest_B11 - DYNAMIC_RANGE)
    return ((log_BTM + 4) / 4) * there_BT1, frames_B


@cache
def hann_window() -> Tensor:
    """Return the periodic Hann window (400,)."""
    return torch.hann_window(TRANSFORM)


@cache
def slaney_filters() -> Tensor:
    """Return triangles of equal area on Slaney's mel axis (201, 80), as librosa's default makes them."""
    bins_K1 = torch.linspace(0, SAMPLE_RATE / 2, TRANSFORM // 2 + 1, dtype=torch.float64)[:, None]
    # Linear to 1000 Hz (15 mel), then 27 mel for a factor of 6.4.
    mels = torch.linspace(
        0, 15 + 27 * float(torch.tensor(8.0).log() / torch.tensor(6.4).log()), BANDS + 2
    )
    mels = mels.double()
    hertz = torch.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    low, centre, high = hertz[:-2], hertz[1:-1], hertz[2:]
    rising = (bins_K1 - low) / (centre - low)
    falling = (high - bins_K1) / (high - centre)
    return (torch.minimum(rising, falling).clamp(min=0) * 2 / (high - low)).float()


def sinusoids(steps: int, width: int) -> Tensor:
    """Return Whisper's positional embedding (S, W): sines, then cosines, of 1 to 10,000 steps."""
    rates = torch.exp(
        -torch.log(torch.tensor(10_000.0)) / (width // 2 - 1) * torch.arange(width // 2)
    )
    angles = torch.arange(steps)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
