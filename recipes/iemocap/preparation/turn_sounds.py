"""The sound of a turn: its samples, and the features of the recurrent voice networks."""

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

FULL_SCALE = 32_768  # `media` divides 16-bit samples by it, so converting back is exact
MARGIN = 0.1  # seconds by which a sound may differ from its turn
MOST_EXTRA = 5.0  # seconds read beyond a turn's length; a wrong file must not fill the memory
HEADER_MARGIN = 1024  # bytes of padding that a header may count although they are missing


class Features(NamedTuple):
    """Features that are computed once for all trainings."""

    mfcc: NDArray[numpy.float16]  # (T, 39); 11 significant bits
    prosody: NDArray[numpy.float32]  # (35,)


def read_samples(path: Path, duration: float, warn: Warn) -> NDArray[numpy.int16]:
    """Read a turn's sound (N,) as recorded: mono 16 kHz.

    `warn` gets a sentence if the length differs from the turn's. Raises `MediaError` if the file has no sound
    or is cut short.
    """
    most = round((duration + MOST_EXTRA) * SAMPLE_RATE)
    blocks, count = [numpy.zeros(0, numpy.float32)], 0
    for _, block in iter_audio(path, block=1.0, warn=warn):
        blocks.append(block)
        count += len(block)
        if count >= most:
            break
    if not count:
        raise MediaError(f"{path}: holds no sound; copy it again")
    seconds = count / SAMPLE_RATE
    if seconds < duration - MARGIN and is_truncated(path):
        raise MediaError(
            f"{path}: expected {duration:.1f} s, found {seconds:.1f} s and no end; copy it again"
        )
    if abs(seconds - duration) > MARGIN:
        found = f"over {seconds:.0f} s" if count >= most else f"{seconds:.2f} s"
        warn(f"{path}: lasts {found}, its turn {duration:.2f} s; used as it is")
    samples = numpy.concatenate(blocks)[:most] * FULL_SCALE
    return numpy.round(samples).clip(-FULL_SCALE, FULL_SCALE - 1).astype(numpy.int16)


def is_truncated(path: Path) -> bool:
    """Check for a wav or avi that is shorter than its header says, as after an interrupted copy."""
    with path.open("rb") as file:
        head = file.read(8)
    if len(head) < 8 or not head.startswith(b"RIFF"):
        return False
    expected = struct.unpack("<I", head[4:])[0] + 8
    streamed = expected in (8, 2**32 + 7)  # written with unknown size
    return not streamed and path.stat().st_size < expected - HEADER_MARGIN


def as_waveform(samples: NDArray[numpy.int16]) -> NDArray[numpy.float32]:
    """Convert samples to float32 in [-1, 1], as `media` returns them."""
    return samples.astype(numpy.float32) / numpy.float32(FULL_SCALE)


@torch.inference_mode()
def compute_features(samples: NDArray[numpy.int16]) -> Features:
    """Compute MFCC and prosody of a single turn; batching would change the last digits."""
    waveform_BN = torch.from_numpy(as_waveform(samples))[None]
    lengths_B = torch.tensor([len(samples)])
    frames_BTD, _ = mfcc(waveform_BN, lengths_B)
    return Features(
        frames_BTD[0].numpy().astype(numpy.float16), prosody(waveform_BN, lengths_B)[0].numpy()
    )
