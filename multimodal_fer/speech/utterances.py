"""Cut a recording into windows: utterances, speech without recognised words, and stretches without speech."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from multimodal_fer.types import Span, Window, Word

SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！")
MIN_PAUSE = 0.7  # seconds between words that end an utterance
MAX_UTTERANCE = 15.0  # seconds; longer speech without a full stop or pause is cut at a word
MIN_WORDLESS = 1.0  # seconds; shorter speech without words beside an utterance belongs to it
MIN_SILENCE = 1.0  # seconds; a shorter gap between utterances gets no window
MAX_SILENT = 4.0  # seconds; longer silence is cut into equal windows no longer than this
MARGIN = 0.3  # seconds of sound on each side of an utterance that its voice is judged with


def make_windows(duration: float, spans: Sequence[Span], words: Sequence[Word]) -> list[Window]:
    """Cut a recording into windows in time order that never overlap.

    All detected speech lies in a spoken window, whether or not words were recognised in it: laughter,
    another language and recordings without a speech model are judged by voice.

    Parameters
    ----------
    duration
        float, seconds of the whole recording
    spans
        stretches of detected speech as (start, end), in time order
    words
        recognised words in time order; may be empty
    """
    spoken = add_wordless_speech(make_utterances(words), spans)
    windows = []
    reached = 0.0
    for window in [*spoken, Window(duration, duration, spoken=False)]:
        if window.start - reached >= MIN_SILENCE or (not spoken and window.start > reached):
            for start, end in split_evenly(reached, window.start, MAX_SILENT):
                windows.append(Window(start, end, spoken=False))
        if window.spoken:
            windows.append(window)
        reached = max(reached, window.end)
    return windows


def make_utterances(words: Iterable[Word]) -> list[Window]:
    """Join words into utterances that end with a sentence, a pause or the longest allowed time."""
    utterances: list[Window] = []
    current: list[Word] = []
    for word in words:
        if current and _ends_before(word, current):
            utterances.append(_join(current, utterances))
            current = []
        current.append(word)
    if current:
        utterances.append(_join(current, utterances))
    return utterances


def _ends_before(word: Word, current: Sequence[Word]) -> bool:
    return (
        current[-1].text.endswith(SENTENCE_ENDS)
        or word.start - current[-1].end >= MIN_PAUSE
        or word.end - current[0].start > MAX_UTTERANCE
    )


def _join(words: Sequence[Word], before: Sequence[Window]) -> Window:
    """Return one utterance; recognisers let neighbours overlap by a hair, windows may not."""
    start = max(words[0].start, before[-1].end if before else 0.0)
    end = max(start, words[-1].end)
    confidence = sum(word.confidence for word in words) / len(words)
    text = " ".join(word.text for word in words)
    return Window(start, end, spoken=True, text=text, confidence=confidence)


def add_wordless_speech(utterances: Sequence[Window], spans: Sequence[Span]) -> list[Window]:
    """Add the speech that holds no words: a short piece to the utterance beside it, a long one by itself.

    The recogniser's times of words are rough, so speech just before the first or just after the last word
    is mostly that word.
    """
    edges = [[window.start, window.end] for window in utterances]
    alone: list[Window] = []
    for piece in _uncovered(spans, utterances):
        touched = [number for number in (piece.before, piece.after) if number is not None]
        if piece.end - piece.start >= MIN_WORDLESS or not touched:
            parts = split_evenly(piece.start, piece.end, MAX_UTTERANCE)
            alone += [Window(*part, spoken=True) for part in parts]
            continue
        shared = (piece.start + piece.end) / 2
        if piece.before is not None:
            edges[piece.before][1] = piece.end if piece.after is None else shared
        if piece.after is not None:
            edges[piece.after][0] = piece.start if piece.before is None else shared
    widened = [
        replace(window, start=start, end=end)
        for (start, end), window in zip(edges, utterances, strict=True)
    ]
    return sorted([*widened, *alone], key=lambda window: window.start)


class _Piece(NamedTuple):
    """Speech in no utterance, and the numbers of the utterances that it touches."""

    start: float
    end: float
    before: int | None
    after: int | None


def _uncovered(spans: Iterable[Span], utterances: Sequence[Window]) -> Iterator[_Piece]:
    """Yield the pieces of `spans` that lie in no utterance; both are in time order."""
    first = 0
    for start, end in spans:
        while first < len(utterances) and utterances[first].end < start:
            first += 1
        reached, before, number = start, None, first
        while number < len(utterances) and utterances[number].start < end:
            if utterances[number].start > reached:
                yield _Piece(reached, utterances[number].start, before, number)
            if utterances[number].end >= reached:
                reached, before = utterances[number].end, number
            number += 1
        if end > reached:
            yield _Piece(reached, end, before, None)


def voice_spans(windows: Sequence[Window], duration: float) -> dict[int, Span]:
    """Return the stretch of sound from which the voice of each spoken window is judged.

    It reaches `MARGIN` seconds beyond the window, but at most half of the way to the next spoken one.
    """
    spoken = [(number, window) for number, window in enumerate(windows) if window.spoken]
    ends = [-duration, *(window.end for _, window in spoken)]
    starts = [*(window.start for _, window in spoken), 3 * duration]
    return {
        number: (
            max(0.0, window.start - min(MARGIN, (window.start - ends[place]) / 2)),
            min(duration, window.end + min(MARGIN, (starts[place + 1] - window.end) / 2)),
        )
        for place, (number, window) in enumerate(spoken)
    }


def split_evenly(start: float, end: float, longest: float) -> list[Span]:
    """Cut a stretch into equal parts no longer than `longest`."""
    parts = max(1, -int(-(end - start) // longest))
    step = (end - start) / parts
    edges = [start + step * number for number in range(parts)] + [end]
    return list(pairwise(edges))
