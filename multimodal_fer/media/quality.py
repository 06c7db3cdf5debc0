"""Measure how well a modality can be recognised, from 0 (not at all) to 1; late attention reads it.

The limits were chosen on validation data: clean and corrupted images and speech differ clearly.
"""

import cv2
import numpy

from multimodal_fer.types import SAMPLE_RATE, Image, Waveform

FACE_SIZE = 48  # pixels to which a face is reduced; smaller faces look blurred at this size
SHARP = 0.5  # ratio of edges to contrast at and above which a face counts as sharp
FRAME = SAMPLE_RATE // 40  # samples of 25 ms
LOUD_SHARE, QUIET_SHARE = 0.3, 0.1  # of the frames, that count as speech and as background
NOISY_DB, CLEAN_DB = 5.0, 30.0  # from the background to the speech: white noise, a quiet room
SHORTEST, LONG_ENOUGH = 0.2, 1.0  # seconds of voice
SILENCE = 1e-9  # power below which a frame is silent


def face_quality(crop: Image) -> float:
    """Return the sharpness of a face, grey (H, W) or RGB (H, W, 3)."""
    grey = crop if crop.ndim == 2 else cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    method = cv2.INTER_AREA if min(grey.shape) > FACE_SIZE else cv2.INTER_CUBIC
    small = cv2.resize(grey, (FACE_SIZE, FACE_SIZE), interpolation=method).astype(numpy.float32)
    edges = cv2.Laplacian(small, cv2.CV_32F)[1:-1, 1:-1]
    return float(min(1.0, edges.std() / (small.std() + 1e-3) / SHARP))


def voice_quality(waveform: Waveform) -> float:
    """Return how far speech (N,) stands out from its background, less if it is very short."""
    count = len(waveform) // FRAME
    if count == 0:
        return 0.0
    frames = waveform[: count * FRAME].reshape(count, FRAME)
    power = numpy.sort(numpy.square(frames, dtype=numpy.float64).mean(1)) + SILENCE
    loud = power[-max(1, round(LOUD_SHARE * count)) :].mean()
    quiet = power[: max(1, round(QUIET_SHARE * count))].mean()
    clarity = (10 * numpy.log10(loud / quiet) - NOISY_DB) / (CLEAN_DB - NOISY_DB)
    length = (len(waveform) / SAMPLE_RATE - SHORTEST) / (LONG_ENOUGH - SHORTEST)
    return float(numpy.clip(clarity, 0, 1) * numpy.clip(length, 0, 1))
