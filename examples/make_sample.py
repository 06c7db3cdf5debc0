"""Make the sample recording: a spoken answer of a usability test, with a face in front of a webcam.

    python examples/make_sample.py examples/sample.mp4

Needs espeak-ng on PATH and the packages scikit-image, numpy, opencv-python-headless and av.
The face is the portrait in scikit-image (`skimage.data.astronaut`, NASA, public domain). A
window moves over it as a head would move in front of a camera, and slides up to the bare wall
for a while, as if the person bent down. Nothing is random.
"""

import argparse
import math
import os
import shutil
import subprocess
import tempfile
import wave
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.container import OutputContainer
from skimage import data

SENTENCES = (
    "I looked for the search button, but I could not find it anywhere.",
    "In the end I found it in the menu.",
    "From there it was very easy, and I really like the new design.",
)
SILENCE_BEFORE = (0.6, 2.4, 1.6)  # seconds of silence before each sentence
SILENCE_AT_END = 0.8
VOICE = ("-v", "en-gb", "-s", "150")

WIDTH, HEIGHT, FRAME_RATE = 640, 360, 25
SAMPLE_RATE = 48_000
WINDOW_HEIGHT = 220.0  # portrait pixels that fill the frame's height when the head is at rest
FACE_CENTRE = (228.0, 122.0)  # where the window rests on the portrait
WALL_ROWS = 400  # rows of wall put on top of the portrait
WALL_DISTANCE = 240.0  # from the face up to a window with nothing but the wall
LEAVES_BEFORE_END = 0.8  # the person starts to bend down this long before sentence 1 ends
AWAY_SECONDS = 3.0  # from the start of bending down to sitting up again
BEND_SECONDS = 0.5


class Spoken(NamedTuple):
    """One sentence and its time, in seconds."""

    start: float
    end: float
    text: str


def speak(text: str, folder: Path) -> tuple[np.ndarray, int]:
    """Return the sentence as 16-bit samples without silence around it, and their rate."""
    if shutil.which("espeak-ng") is None:
        raise SystemExit("espeak-ng is not on PATH; install it, e.g. apt-get install espeak-ng")
    path = folder / "sentence.wav"
    subprocess.run(["espeak-ng", *VOICE, "-w", str(path), text], check=True)
    with wave.open(str(path), "rb") as recording:
        rate = recording.getframerate()
        samples = np.frombuffer(recording.readframes(recording.getnframes()), dtype="<i2")
    # espeak-ng pads every sentence; without the padding the pauses are exactly those above.
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > 200)
    return samples[loud[0] : loud[-1] + 1], rate


def build_speech() -> tuple[np.ndarray, int, list[Spoken]]:
    """Return the whole track's samples, their rate, and the times of the sentences."""
    parts: list[np.ndarray] = []
    spoken: list[Spoken] = []
    length = 0
    with tempfile.TemporaryDirectory() as folder:
        utterances = [speak(text, Path(folder)) for text in SENTENCES]
    rate = utterances[0][1]
    for silence, text, (samples, _) in zip(SILENCE_BEFORE, SENTENCES, utterances, strict=True):
        start = length + round(silence * rate)
        parts += [np.zeros(start - length, np.int16), samples]
        length = start + len(samples)
        spoken.append(Spoken(start / rate, length / rate, text))
    # The track ends with a whole video frame, so that both streams are equally long.
    frames = math.ceil((length / rate + SILENCE_AT_END) * FRAME_RATE)
    parts.append(np.zeros(round(frames / FRAME_RATE * rate) - length, np.int16))
    return np.concatenate(parts), rate, spoken


def smooth_step(position: float) -> float:
    """Return a smooth step from 0 to 1 while `position` goes from 0 to 1."""
    position = min(max(position, 0.0), 1.0)
    return position * position * (3.0 - 2.0 * position)


def bend(seconds: float, leaves: float) -> float:
    """Return how far the person has bent down: from 0 (seated) to 1 (not visible)."""
    down = smooth_step((seconds - leaves) / BEND_SECONDS)
    up = smooth_step((leaves + AWAY_SECONDS - seconds) / BEND_SECONDS)
    return min(down, up)


def load_scene() -> np.ndarray:
    """Return the portrait below a stretch of wall."""
    portrait = data.astronaut()
    # The top row of the portrait shows the background alone; blurring removes lines of its grain.
    wall = cv2.GaussianBlur(np.repeat(portrait[:1], WALL_ROWS, axis=0), (0, 0), sigmaX=6)
    return np.vstack([wall, portrait])


def draw_frame(scene: np.ndarray, seconds: float, leaves: float) -> np.ndarray:
    """Cut the window at this time out of the scene and scale it to the frame's size."""
    # The periods have no common multiple in the clip, so the movement does not repeat.
    centre_x = FACE_CENTRE[0] + 14.0 * math.sin(2 * math.pi * seconds / 5.3)
    centre_y = WALL_ROWS + FACE_CENTRE[1] + 5.0 * math.sin(2 * math.pi * seconds / 3.7)
    centre_y -= WALL_DISTANCE * bend(seconds, leaves)
    roll = 3.0 * math.sin(2 * math.pi * seconds / 6.1)  # degrees
    zoom = 1.0 + 0.05 * math.sin(2 * math.pi * seconds / 8.9)
    matrix = cv2.getRotationMatrix2D((centre_x, centre_y), roll, zoom * HEIGHT / WINDOW_HEIGHT)
    matrix[:, 2] += (WIDTH / 2 - centre_x, HEIGHT / 2 - centre_y)
    return cv2.warpAffine(scene, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)


def write_video(output: OutputContainer, frame_count: int, leaves: float) -> None:
    """Encode the frames into the first stream."""
    scene = load_scene()
    stream = output.streams.video[0]
    for index in range(frame_count):
        picture = draw_frame(scene, index / FRAME_RATE, leaves)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = index
        frame.time_base = Fraction(1, FRAME_RATE)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def write_audio(output: OutputContainer, samples: np.ndarray, rate: int) -> None:
    """Resample the speech to the stream's rate and encode it."""
    stream = output.streams.audio[0]
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis, :], format="s16", layout="mono")
    frame.sample_rate = rate
    frame.pts = 0
    frame.time_base = Fraction(1, rate)
    for resampled in [*resampler.resample(frame), *resampler.resample(None)]:
        output.mux(stream.encode(resampled))
    output.mux(stream.encode(None))


def make_sample(path: Path) -> list[Spoken]:
    """Write the recording to `path` and return the times of its sentences."""
    samples, rate, spoken = build_speech()
    frame_count = round(len(samples) / rate * FRAME_RATE)
    # A failed run must leave no half-written file.
    unfinished = path.with_name(f".{path.stem}.unfinished.mp4")
    try:
        with av.open(str(unfinished), "w", options={"movflags": "+faststart"}) as output:
            video = output.add_stream("libx264", rate=FRAME_RATE)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            video.options = {"crf": "23", "preset": "slow", "g": str(2 * FRAME_RATE)}
            audio = output.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
            audio.bit_rate = 64_000
            write_video(output, frame_count, leaves=spoken[0].end - LEAVES_BEFORE_END)
            write_audio(output, samples, rate)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return spoken


def main() -> None:
    """Read the command line, write the recording and print the time of each sentence."""
    parser = argparse.ArgumentParser(description="Make the sample recording.")
    parser.add_argument("output", type=Path, help="the mp4 file to write")
    path = parser.parse_args().output
    for sentence in make_sample(path):
        print(f"{sentence.start:6.2f} to {sentence.end:5.2f} s  {sentence.text}")
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
