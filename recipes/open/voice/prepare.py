"""Decode emotional speech once, so that training reads it from memory.

    python -m recipes.open.voice.prepare runs/speech FOLDER...

Each FOLDER is a speech corpus (see `speech.py`). Writes `samples.npy` (all clips one after the other, mono
16 kHz int16) and `clips.json`. A clip that cannot be decoded is named and left out.
"""

import json
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
    """All clips: `samples` (N,) int16, mapped from the disk; clip i is samples[edges[i]:edges[i + 1]].

    `spans` (C, 2) holds the seconds at which the speech of each clip starts and ends.
    """

    clips: list[Clip]
    samples: NDArray[numpy.int16]
    edges: NDArray[numpy.int64]
    spans: NDArray[numpy.float64]

    def waveform(self, number: int) -> NDArray[numpy.float32]:
        """Clip `number` as float32 in [-1, 1]."""
        piece = self.samples[self.edges[number] : self.edges[number + 1]]
        return piece.astype(numpy.float32) / numpy.float32(32768)


def main(output: str, *folders: str) -> None:
    """Decode, write, and say how much there is."""
    target = Path(output)
    target.mkdir(parents=True, exist_ok=True)
    kept: list[Clip] = []
    pieces: list[NDArray[numpy.int16]] = []
    spans: list[Span] = []
    for folder in folders:
        clips = read_corpus(folder)
        for clip in clips:
            try:
                sound = read_audio(clip.path, 0.0, LONGEST)
            except MediaError as error:
                print(f"left out: {error}")
                continue
            if not len(sound):
                print(f"left out: {clip.path}: holds no sound")
                continue
            kept.append(clip)
            pieces.append(numpy.round(sound * 32767).astype(numpy.int16))
            spans.append(find_span(sound))
        print(f"{folder}: {len(clips)} clips, {len({clip.speaker for clip in clips})} speakers")
    if not kept:
        raise DataError("no clip could be decoded")
    edges = numpy.cumsum([0, *(len(piece) for piece in pieces)])
    with replacing(target / "samples.npy") as temporary, temporary.open("wb") as file:
        numpy.save(file, numpy.concatenate(pieces))
    # Written last: where it is, the samples beside it are whole.
    clips_of = [asdict(clip) | {"path": ""} for clip in kept]  # paths of one machine help no other
    table = {"clips": clips_of, "edges": edges.tolist(), "spans": spans}
    write_json(target / "clips.json", table)
    hours = edges[-1] / SAMPLE_RATE / 3600
    print(f"written: {target}, {len(kept)} clips, {hours:.1f} h")


def find_span(sound: Waveform) -> Span:
    """Return the seconds from the first to the last detected speech; the whole clip if none is found."""
    spans = find_speech(sound)
    return (spans[0][0], spans[-1][1]) if spans else (0.0, len(sound) / SAMPLE_RATE)


def load_speech(folder: str | Path) -> Speech:
    """Read back what `main` wrote."""
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
