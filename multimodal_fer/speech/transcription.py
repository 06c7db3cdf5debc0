"""Detect speech with Silero's voice activity detector and transcribe it with Whisper.

Whisper receives speech spans only, because it invents words in silence. It is used for words alone, never
to infer anything about the speaker.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy

from multimodal_fer.speech.voice_activity import find_speech
from multimodal_fer.speech.whisper import Recogniser
from multimodal_fer.types import SAMPLE_RATE, Span, Waveform, Word

STILL_SPEAKING = 1.0  # seconds; a span that ends this close to the end of a block may continue
LEAD_IN = 1.0  # seconds processed again before a span that may continue or start at the block end
WHISPER_SECONDS = 30.0
JOINT = 0.8  # seconds of silence between joined spans, so that Whisper ends sentences there
VOTES = 3  # groups of up to 30 s of speech that decide the language of a recording


@dataclass
class SpeechResult:
    """Speech spans and words of one recording; times in seconds."""

    duration: float = 0.0
    spans: list[Span] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    language: str | None = None

    def by_modality(self) -> dict[str, list[Span]]:
        """Return the times with speech ("voice") and those with words ("text")."""
        return {"voice": self.spans, "text": [(word.start, word.end) for word in self.words]}


def transcribe(
    blocks: Iterable[tuple[float, Waveform]],
    recogniser: Recogniser | None,
    language: str | None = None,
) -> Iterator[SpeechResult]:
    """Transcribe blocks of sound; yield the same growing `SpeechResult` after each one and at the end.

    `blocks` are starts in seconds and mono 16 kHz waveforms without gaps. A span that may continue waits
    for the next block, so that little more than two blocks are kept in memory.
    """
    result = SpeechResult(language=language)
    transcriber = Transcriber(recogniser, result)
    waiting, offset = numpy.zeros(0, numpy.float32), 0.0
    for start, block in blocks:
        waiting = numpy.concatenate([waiting, block])
        result.duration = start + len(block) / SAMPLE_RATE
        spans, kept_from = _complete_spans(waiting)
        transcriber.add(waiting, spans, offset)
        waiting = waiting[round(kept_from * SAMPLE_RATE) :]
        offset = result.duration - len(waiting) / SAMPLE_RATE
        yield result
    transcriber.add(waiting, find_speech(waiting), offset)
    transcriber.finish()
    yield result


def _complete_spans(waveform: Waveform) -> tuple[list[Span], float]:
    """Return the spans that do not continue, and the second from which the sound is needed again."""
    spans, continues = find_speech(waveform), len(waveform) / SAMPLE_RATE
    if spans and spans[-1][1] > continues - STILL_SPEAKING:
        continues = spans.pop()[0]
    # The detector needs some sound before the start of a span to find it.
    return spans, max(continues - LEAD_IN, spans[-1][1] if spans else 0.0)


def group_spans(spans: Sequence[Span]) -> list[list[Span]]:
    """Group neighbouring spans that fit into the 30 s that Whisper always processes at once."""
    groups: list[list[Span]] = []
    room = 0.0
    for start, end in spans:
        if not groups or end - start > room:
            groups.append([])
            room = WHISPER_SECONDS
        groups[-1].append((start, end))
        room -= end - start + JOINT
    return groups


class SpanGroup(NamedTuple):
    """Speech spans joined into one waveform, and the start of their block (seconds)."""

    waveform: Waveform
    spans: list[Span]
    offset: float


class Transcriber:
    """Adds speech spans and their words to a result; without a recogniser only the spans.

    The language of a short answer ("mhm", "OK") is uncertain. The first `VOTES` groups of spans, at most
    90 s of speech, therefore decide it together, weighted by their durations.
    """

    def __init__(self, recogniser: Recogniser | None, result: SpeechResult) -> None:
        self.recogniser = recogniser
        self.result = result
        self.language = result.language
        if recogniser is not None and self.language is None and len(recogniser.languages) == 1:
            self.language = recogniser.languages[0]
        self.waiting: list[SpanGroup] = []

    def add(self, waveform: Waveform, spans: list[Span], offset: float) -> None:
        """Add spans of a waveform that starts at `offset` seconds; words follow with the language."""
        self.result.spans += [(offset + start, offset + end) for start, end in spans]
        silence = numpy.zeros(round(JOINT * SAMPLE_RATE), numpy.float32)
        for group in group_spans(spans) if self.recogniser is not None else ():
            parts: list[Waveform] = []
            for start, end in group:
                parts += [waveform[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)], silence]
            self.waiting.append(SpanGroup(numpy.concatenate(parts[:-1]), group, offset))
            if self.language is not None or len(self.waiting) == VOTES:
                self.finish()

    def finish(self) -> None:
        """Recognise the words of all waiting groups; also call it at the end of a recording."""
        if self.recogniser is None or not self.waiting:
            return
        if self.language is None:
            self.language = self._vote(self.recogniser)
        for group in self.waiting:
            words = self.recogniser.recognise(group.waveform, self.language).words
            self.result.words += [_to_recording(word, group.spans, group.offset) for word in words]
        self.waiting = []
        if self.result.words:
            self.result.language = self.language

    def _vote(self, recogniser: Recogniser) -> str:
        """Return the most probable language, with each group weighted by its duration."""
        votes: dict[str, float] = {}
        for group in self.waiting:
            for language, share in recogniser.detect_language(group.waveform).items():
                votes[language] = votes.get(language, 0.0) + share * len(group.waveform)
        return max(votes, key=votes.__getitem__)


def _to_recording(word: Word, spans: list[Span], offset: float) -> Word:
    """Move a word from the joined waveform to the recording, into the span that contains its middle."""
    middle, joined = (word.start + word.end) / 2, 0.0
    for start, end in spans:
        length = end - start
        if middle <= joined + length + JOINT / 2 or (start, end) == spans[-1]:
            first = min(max(word.start - joined, 0.0), length)
            final = min(max(word.end - joined, first), length)
            return Word(word.text, offset + start + first, offset + start + final, word.confidence)
        joined += length + JOINT
    raise AssertionError("a word needs at least one span")
