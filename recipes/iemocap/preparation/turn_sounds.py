"""The sound of a turn: its samples, and what voice networks read of them."""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
from numpy.typing import NDArray

from multimodal_fer.errors import MediaError
from multimodal_fer.media.container import Warn
from multimodal_fer.media.sound import iter_audio
from multimodal_fer.types import SAMPLE_RATE
from multimodal_fer.voice.mfcc import mfcc
from multimodal_fer.voice.prosody import prosody

FULL_SCALE = 32_768  # what `media` divides 16-bit samples by, so nothing is rounded on the way back
MARGIN = 0.1  # seconds that a sound may differ from its turn; the release cuts exactly
SLACK = (
    5.0  # seconds past a turn's length where reading stops: a wrong file must not fill the memory
)
PROMISE_MARGIN = 1024  # bytes of a file's end that may be missing: padding is counted in many ways


class Features(NamedTuple):
    """What is computed once, since every training of a recurrent network reads it."""

    mfcc: NDArray[numpy.float16]  # (T, 39); a half has 11 bits, far finer than two takes of a word
    prosody: NDArray[numpy.float32]  # (35,)


def read_samples(path: Path, duration: float, warn: Warn) -> NDArray[numpy.int16]:
    """A turn's sound (N,) as it was recorded: mono 16 kHz.

    `warn` gets a sentence where it is not as long as its turn. Raises `MediaError` where there is no sound
    in the file, or its end is missing.
    """
    most = round((duration + SLACK) * SAMPLE_RATE)
    blocks, held = [numpy.zeros(0, numpy.float32)], 0
    for _, block in iter_audio(path, block=1.0, warn=warn):
        blocks.append(block)
        held += len(block)
        if held >= most:
            break
    if not held:
        raise MediaError(f"{path}: holds no sound; copy it again")
    seconds = held / SAMPLE_RATE
    if seconds < duration - MARGIN and is_cut(path):
        raise MediaError(
            f"{path}: expected {duration:.1f} s, found {seconds:.1f} s and no end; copy it again"
        )
    if abs(seconds - duration) > MARGIN:
        found = f"over {seconds:.0f} s" if held >= most else f"{seconds:.2f} s"
        warn(f"{path}: lasts {found}, its turn {duration:.2f} s; taken as it is")
    samples = numpy.concatenate(blocks)[:most] * FULL_SCALE
    return numpy.round(samples).clip(-FULL_SCALE, FULL_SCALE - 1).astype(numpy.int16)


def is_cut(path: Path) -> bool:
    """Whether a wav or avi is shorter than its own header says: a copy that was broken off."""
    with path.open("rb") as file:
        head = file.read(8)
    if len(head) < 8 or not head.startswith(b"RIFF"):
        return False
    promised = struct.unpack("<I", head[4:])[0] + 8
    streamed = promised in (8, 2**32 + 7)  # written without knowing the size
    return not streamed and path.stat().st_size < promised - PROMISE_MARGIN


def as_waveform(samples: NDArray[numpy.int16]) -> NDArray[numpy.float32]:
    """Samples as float32 in [-1, 1], as `media` gives them."""
    return samples.astype(numpy.float32) / numpy.float32(FULL_SCALE)


@torch.inference_mode()
def compute_features(samples: NDArray[numpy.int16]) -> Features:
    """MFCC and prosody of one turn, by itself: what else is in a batch must not change a bit."""
    waveform_BN = torch.from_numpy(as_waveform(samples))[None]
    lengths_B = torch.tensor([len(samples)])
    frames_BTD, _ = mfcc(waveform_BN, lengths_B)
    return Features(
        frames_BTD[0].numpy().astype(numpy.float16), prosody(waveform_BN, lengths_B)[0].numpy()
    )
