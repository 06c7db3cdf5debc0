"""Answers of `analyze` for held-out faces of FER+, as short videos.

The 48x48 pixels are enlarged to 192 (cubic) and drift by a few pixels over a grey picture of 320x240, for one
second at ten frames a second, encoded as H.264. This layout was chosen on 200 validation images (seed 0), of
which the detector finds 99 %; it finds fewer at 160 pixels (98 %) and 96 pixels (93 %), and with a border of
repeated or mirrored pixels (97 % and 98 % at 192).
"""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy
import torch
from numpy.typing import NDArray

from benchmarks.answers.figures import (
    Measured,
    answer_of,
    chosen,
    open_analyzer,
    parts_of,
    row_of,
    with_progress,
)
from multimodal_fer.labels import FER_PLUS, FER_PLUS_TO_OPEN7
from recipes.ferplus.corpus.releases import read_split
from recipes.ferplus.corpus.votes import counted, majority_targets
from recipes.ferplus.learning.views import predict

PROTOCOL = (
    "analyze, without words, on a video of one second of each image of FER2013Test on which the majority "
    "rule of the released FER+ code finds an emotion (cntk-majority), contempt counting as disgust; part: "
    "the facial network on the image itself"
)
WIDTH, HEIGHT, GREY = 320, 240, 128
FACE = 192  # pixels to which an image is enlarged
DRIFT = 6.0  # pixels from the middle
FRAMES, RATE = 10, 10  # number of frames, frames per second
QUALITY = {"crf": "18", "preset": "veryfast"}  # of H.264, without visible loss


def measure(root: str, bundle: str, limit: int) -> dict[str, Any]:
    """Return the result on the held-out images, or on `limit` of them."""
    analyzer = open_analyzer(bundle, "face")
    network = analyzer.bundle.face
    assert network is not None
    split = read_split(root, "test")
    targets = majority_targets(split.votes)
    picks = chosen(counted(targets).tolist(), limit)
    logits = predict(network, torch.from_numpy(split.images[picks]))
    parts = parts_of(logits.cpu(), network.config, analyzer.bundle)
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "face.mp4"
        for number, pick in enumerate(with_progress("FER+", picks)):
            write_video(path, split.images[pick])
            truth = FER_PLUS_TO_OPEN7[FER_PLUS[int(targets[pick].argmax())]]
            measured.append(Measured(truth, parts[number], answer_of(analyzer.analyze(path))))
    row = row_of("FER+ test", measured)
    row["found"] = 1 - row["answer"]["unanswered"] / row["files"]
    return {"bundle": analyzer.bundle.version, "protocol": PROTOCOL, "rows": [row]}


def drifting(face: NDArray[numpy.uint8]) -> Iterator[NDArray[numpy.uint8]]:
    """Yield frames (240, 320, 3) in which a grey face (48, 48) drifts in a circle."""
    large = cv2.resize(face, (FACE, FACE), interpolation=cv2.INTER_CUBIC)
    for number in range(FRAMES):
        angle = 2 * math.pi * number / FRAMES
        left = (WIDTH - FACE) // 2 + round(DRIFT * math.cos(angle))
        top = (HEIGHT - FACE) // 2 + round(DRIFT * math.sin(angle))
        picture = numpy.full((HEIGHT, WIDTH), GREY, numpy.uint8)
        picture[top : top + FACE, left : left + FACE] = large
        yield numpy.repeat(picture[:, :, None], 3, axis=2)


def write_video(path: Path, face: NDArray[numpy.uint8]) -> None:
    """Write a short H.264 video of one face."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options=QUALITY)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.thread_count = 1  # the same file on every machine
        for picture in drifting(face):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
