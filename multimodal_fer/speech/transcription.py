"""Where somebody speaks, by Silero's voice activity detector, and which words, by Whisper.

Only stretches of speech reach Whisper, which otherwise invents words in silence. Whisper is used for
words alone, never to infer anything about the speaker.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy

from multimodal_fer.speech.voice_activity import find_speech
from multimodal_fer.speech.whisper import Recogniser
from multimodal_fer.types import SAMPLE_RATE, Span, Waveform, Word

STILL_SPEAKING = 1.0  # seconds; a span this near the end of a block may go on in the next one
LEAD_IN = 1.0  # seconds heard again before a span that is kept back or may just begin
WHISPER_SECONDS = 30.0
JOINT = 0.8  # seconds of silence between joined spans, so that sentences end where a pause was
VOTES = 3  # stretches of up to 30 s of speech that decide the language of a recording


@dataclass
class SpeechResult:
    """Everything the sound of one recording gave."""

    duration: float = 0.0
    spans: list[Span] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    language: str | None = None

    def by_modality(self) -> dict[str, list[Span]]:
        """When there was a voice to judge, and when there were words."""
        return {"voice": self.spans, "text": [(word.start, word.end) for word in self.words]}


def listen(
    blocks: Iterable[tuple[float, Waveform]],
    recogniser: Recogniser | None,
    language: str | None = None,
) -> Iterator[SpeechResult]:
    """Hear a stream of blocks; yields the same growing `SpeechResult` after each, complete at the last.

    Little more than two blocks are held: a span that may go on is kept back for the next block.
    """
    heard = SpeechResult(language=language)
    transcriber = None if recogniser is None else Transcriber(recogniser, heard)
    held, offset = numpy.zeros(0, numpy.float32), 0.0
    for start, block in blocks:
        held = numpy.concatenate([held, block])
        heard.duration = start + len(block) / SAMPLE_RATE
        kept_from = _hear(held, offset, transcriber, heard, last=False)
        held = held[round(kept_from * SAMPLE_RATE) :]
        offset = heard.duration - len(held) / SAMPLE_RATE
        yield heard
    _hear(held, offset, transcriber, heard, last=True)
    if transcriber is not None:
        transcriber.finish()
    yield heard


def _hear(
    waveform: Waveform,
    offset: float,
    transcriber: "Transcriber | None",
    heard: SpeechResult,
    *,
    last: bool,
) -> float:
    """Add what one stretch of sound holds; returns the second from which it must be heard again."""
    length = len(waveform) / SAMPLE_RATE
    spans, goes_on = find_speech(waveform), length
    if spans and not last and spans[-1][1] > length - STILL_SPEAKING:
        goes_on = spans.pop()[0]
    # The detector needs some sound before a start to find it: what may be one is heard again with it.
    kept_from = length if last else max(goes_on - LEAD_IN, spans[-1][1] if spans else 0.0)
    heard.spans += [(offset + start, offset + end) for start, end in spans]
    if transcriber is not None:
        for group in group_spans(spans):
            transcriber.add(waveform, group, offset)
    return kept_from


def group_spans(spans: Sequence[Span]) -> list[list[Span]]:
    """Neighbouring spans that fit together into what Whisper hears at once: one run costs the same."""
    groups: list[list[Span]] = []
    room = 0.0
    for start, end in spans:
        if not groups or end - start > room:
            groups.append([])
            room = WHISPER_SECONDS
        groups[-1].append((start, end))
        room -= end - start + JOINT
    return groups


class Stretch(NamedTuple):
    """Some spans of speech joined into one waveform, and the second at which their block started."""

    waveform: Waveform
    spans: list[Span]
    offset: float


class Transcriber:
    """Recognise the words of a recording in one language, which its first stretches decide together.

    One short answer ("mhm", "OK") sounds like many languages, so up to `VOTES` stretches are kept until
    all of them have voted, each with its seconds; no more than 90 s of speech are held.
    """

    def __init__(self, recogniser: Recogniser, heard: SpeechResult) -> None:
        self.recogniser = recogniser
        self.heard = heard
        self.language = heard.language
        if self.language is None and len(recogniser.languages) == 1:
            self.language = recogniser.languages[0]
        self.waiting: list[Stretch] = []

    def add(self, waveform: Waveform, spans: list[Span], offset: float) -> None:
        """Recognise the words of some spans in one run, or keep them until the language is known."""
        silence = numpy.zeros(round(JOINT * SAMPLE_RATE), numpy.float32)
        pieces: list[Waveform] = []
        for start, end in spans:
            pieces += [waveform[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)], silence]
        self.waiting.append(Stretch(numpy.concatenate(pieces[:-1]), spans, offset))
        if self.language is not None or len(self.waiting) == VOTES:
            self.finish()

    def finish(self) -> None:
        """Recognise everything that waits; called once more at the end of a recording."""
        if self.waiting and self.language is None:
            self.language = self._vote()
        for stretch in self.waiting:
            words = self.recogniser.recognise(stretch.waveform, self.language).words
            self.heard.words += [_put_back(word, stretch.spans, stretch.offset) for word in words]
        self.waiting = []
        if self.heard.words:
            self.heard.language = self.language

    def _vote(self) -> str:
        """Return the language with the most seconds, each stretch split by its probabilities."""
        votes: dict[str, float] = {}
        for stretch in self.waiting:
            for language, share in self.recogniser.detect_language(stretch.waveform).items():
                votes[language] = votes.get(language, 0.0) + share * len(stretch.waveform)
        return max(votes, key=votes.__getitem__)


def _put_back(word: Word, spans: list[Span], offset: float) -> Word:
    """Undo the joining of spans: a word belongs to the span in which its middle lies."""
    middle, joined = (word.start + word.end) / 2, 0.0
    for start, end in spans:
        length = end - start
        if middle <= joined + length + JOINT / 2 or (start, end) == spans[-1]:
            first = min(max(word.start - joined, 0.0), length)
            final = min(max(word.end - joined, first), length)
            return Word(word.text, offset + start + first, offset + start + final, word.confidence)
        joined += length + JOINT
    raise AssertionError("a word needs at least one span")
