"""Make a sample study: six short sessions of three made-up participants (video, voice and writing).

    python examples/make_study.py sessions
    multimodal-fer study sessions --out results --participants sessions/participants.csv

Has the requirements of `make_sample.py`, and uses the same portrait and speech synthesiser. The study shows
the output of the package, not how well emotions are recognised. Nothing is random.
"""

import argparse
import csv
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from make_sample import (
    FRAME_RATE,
    HEIGHT,
    SAMPLE_RATE,
    WIDTH,
    draw_frame,
    load_scene,
    speak,
    write_audio,
)

PAUSE = 1.2  # seconds of silence around each sentence
NEVER = 1e6  # seconds: the person stays in the frame


class Spoken(NamedTuple):
    """One spoken session: its sentences and the changes to face and voice."""

    sentences: tuple[str, ...]
    shift: float  # seconds by which the movement of the head is ahead
    pitch: float  # factor on the pitch and speed of the voice
    mirrored: bool


SPOKEN = {
    "P01_search.mp4": Spoken(
        ("Where is the search field?", "Oh, I found it. That was easy, I love it."), 0, 1.0, False
    ),
    "P01_checkout.mp4": Spoken(
        ("It says my card is wrong, and it does not say why.", "This makes me so angry."),
        2,
        1.0,
        False,
    ),
    "P02_search.mp4": Spoken(
        ("I typed the name and there it was.", "Great work, thank you."), 4, 1.12, True
    ),
    "P02_checkout.wav": Spoken(
        ("I do not know whether I paid now.", "I am afraid that I paid twice."), 0, 1.12, False
    ),
}
WRITTEN = {
    "P03_search.txt": "I looked everywhere and gave up. I was really disappointed.",
    "P03_checkout.txt": "Paying was quick and simple, thank you!",
}
AGES = {"P01": "18-29", "P02": "30-44", "P03": "45-64"}


def build_sound(session: Spoken) -> tuple[np.ndarray, int]:
    """Return the sentences with pauses around them, as 16-bit samples, and the sample rate."""
    with tempfile.TemporaryDirectory() as folder:
        utterances = [speak(text, Path(folder)) for text in session.sentences]
    rate = round(utterances[0][1] * session.pitch)
    pause = np.zeros(round(PAUSE * rate), np.int16)
    sound = np.concatenate(
        [part for samples, _ in utterances for part in (pause, samples)] + [pause]
    )
    frames = -(-len(sound) * FRAME_RATE // rate)  # both streams end with a whole frame
    return np.pad(sound, (0, round(frames * rate / FRAME_RATE) - len(sound))), rate


def write_session(path: Path, session: Spoken) -> None:
    """Write a recording: MP4 with a face, or WAV without."""
    sound, rate = build_sound(session)
    with av.open(str(path), "w") as output:
        video = None
        if path.suffix == ".mp4":
            video = output.add_stream("libx264", rate=FRAME_RATE)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            video.options = {"crf": "25"}
            output.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        else:
            output.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        if video is not None:
            scene = load_scene()
            for index in range(round(len(sound) / rate * FRAME_RATE)):
                picture = draw_frame(scene, index / FRAME_RATE + session.shift, NEVER)
                turned = np.ascontiguousarray(picture[:, ::-1] if session.mirrored else picture)
                frame = av.VideoFrame.from_ndarray(turned, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, FRAME_RATE)
                output.mux(video.encode(frame))
            output.mux(video.encode(None))
        write_audio(output, sound, rate)


def make_study(folder: Path) -> None:
    """Write the six sessions and the table that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, session in SPOKEN.items():
        write_session(folder / name, session)
    for name, text in WRITTEN.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")
    with (folder / "participants.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "participant", "task", "age group"])
        for name in sorted([*SPOKEN, *WRITTEN]):
            participant, task = Path(name).stem.split("_")
            writer.writerow([name, participant, task, AGES[participant]])


def main() -> None:
    """Read the command line and write the study."""
    parser = argparse.ArgumentParser(description="Make a sample study of six sessions.")
    parser.add_argument("folder", type=Path, help="the folder to write")
    folder = parser.parse_args().folder
    make_study(folder)
    for path in sorted(folder.iterdir()):
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
