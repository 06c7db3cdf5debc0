"""Augmentation of the silence around speech."""

import torch
from torch import Tensor

from multimodal_fer.types import SAMPLE_RATE

CUT_INTO_SPEECH = 0.15  # seconds of speech that a cut may remove, as word times are not exact


def vary_margins(
    waveform_N: Tensor, span: tuple[float, float], longest: float, generator: torch.Generator
) -> Tensor:
    """Cut or pad the silence before and after speech to random lengths of at most `longest` seconds.

    `span` holds the seconds at which the speech of the clip starts and ends. `analyze` cuts utterances at
    their words while clips of corpora have about a second of silence on each side; a network that is
    trained on such clips alone depends on the silence.
    """
    first, last = (round(seconds * SAMPLE_RATE) for seconds in span)
    draws = torch.rand(2, generator=generator) * (longest + CUT_INTO_SPEECH) - CUT_INTO_SPEECH
    lead, trail = (draws * SAMPLE_RATE).round().long().tolist()
    start, end = first - lead, last + trail
    kept_N = waveform_N[max(start, 0) : max(end, start + 1)]
    quiet_N = torch.cat([waveform_N[:first], waveform_N[last:]])
    before_N = _some_quiet(quiet_N, max(-start, 0), generator)
    after_N = _some_quiet(quiet_N, max(end - len(waveform_N), 0), generator)
    return torch.cat([before_N, kept_N, after_N])


def _some_quiet(quiet_N: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Return padding: digital silence or the clip's own silence repeated, each in half of the cases."""
    silent = torch.rand(1, generator=generator).item() < 0.5
    if silent or len(quiet_N) < SAMPLE_RATE // 10:
        return torch.zeros(size)
    there_and_back_N = torch.cat([quiet_N, quiet_N.flip(0)])
    return there_and_back_N.repeat(size // len(there_and_back_N) + 1)[:size]
