"""Decode corpora of emotional speech once for training.

    python -m recipes.open.voice.prepare runs/speech FOLDER...

Each FOLDER is a speech corpus (see `corpora.py`). Writes `samples.npy` (all clips one after the other, mono
16 kHz int16) and `clips.json`. Clips that cannot be decoded are listed and left out.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from multimodal_fer.errors import DataError, MediaError
from multimodal_fer.media.sound import read_audio
from multimodal_fer.speech.voice_activity import find_speech
from multimodal_fer.types import SAMPLE_RATE, Span, Waveform
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import replacing, write_json
from recipes.open.voice.corpora import Clip, read_corpus

LONGEST = 12.0  # seconds of a clip that are kept


class Speech(NamedTuple):
    """All clips: `samples` (N,) int16, memory-mapped; clip i is samples[edges[i]:edges[i + 1]].

    `spans` (C, 2) holds the seconds at which speech starts and ends in each clip.
    """

    clips: list[Clip]
    samples: NDArray[numpy.int16]
    edges: NDArray[numpy.int64]
    spans: NDArray[numpy.float64]

    def waveform(self, number: int) -> NDArray[numpy.float32]:
        """Return clip `number` as float32 in [-1, 1]."""
        piece = self.samples[self.edges[number] : self.edges[number + 1]]
        return piece.astype(numpy.float32) / numpy.float32(32768)


def main(output: str, *folders: str) -> None:
    """Decode and write the clips, and print how many there are."""
    target = Path(output)
    target.mkdir(parents=True, exist_ok=True)
    kept: list[Clip] = []
    pieces: list[NDArray[numpy.int16]] = []
    spans: list[Span] = []
    for folder in folders:
        clips = read_corpus(folder)
        for clip in clips:
            if (sound := read_sound(clip.path, LONGEST)) is None:
                continue
            kept.append(clip)
            pieces.append(numpy.round(sound * 32767).astype(numpy.int16))
            spans.append(find_span(sound))
        print(f"{folder}: {len(clips)} clips, {len({clip.speaker for clip in clips})} speakers")
    if not kept:
        raise DataError(f"{', '.join(folders)}: no clip could be decoded; unpack the corpora again")
    edges = numpy.cumsum([0, *(len(piece) for piece in pieces)])
    with replacing(target / "samples.npy") as temporary, temporary.open("wb") as file:
        numpy.save(file, numpy.concatenate(pieces))
    # Paths are left out: they differ on other machines. The table is written last: it marks complete samples.
    table = {"clips": [asdict(clip) | {"path": ""} for clip in kept], "edges": edges.tolist()}
    write_json(target / "clips.json", table | {"spans": spans})
    hours = edges[-1] / SAMPLE_RATE / 3600
    print(f"written: {target}, {len(kept)} clips, {hours:.1f} h")


def read_sound(path: str, seconds: float | None = None) -> Waveform | None:
    """Return the sound of a clip; report on stderr and return None if it has none or cannot be decoded."""
    try:
        sound = read_audio(path, 0.0, seconds)
    except MediaError as error:
        print(f"left out: {error}", file=sys.stderr)
        return None
    if not len(sound):
        print(f"left out: {path}: holds no sound", file=sys.stderr)
        return None
    return sound


def find_span(sound: Waveform) -> Span:
    """Return the seconds from the first to the last detected speech; the whole clip if none is found."""
    spans = find_speech(sound)
    return (spans[0][0], spans[-1][1]) if spans else (0.0, len(sound) / SAMPLE_RATE)


def load_speech(folder: str | Path) -> Speech:
    """Read prepared speech. Raises `DataError` if it cannot be read."""
    try:
        table = json.loads((Path(folder) / "clips.json").read_text(encoding="utf-8"))
        samples = numpy.load(Path(folder) / "samples.npy", mmap_mode="r", allow_pickle=False)
        clips = [Clip(**clip) for clip in table["clips"]]
        return Speech(clips, samples, numpy.array(table["edges"]), numpy.array(table["spans"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder}: cannot be read ({error}); make it with python -m recipes.open.voice.prepare"
        ) from None


if __name__ == "__main__":
    run_command(main, __doc__, 2, more=True)
