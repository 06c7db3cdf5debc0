"""What gets an answer of its own: utterances, and pieces of the time in which nobody speaks."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from multimodal_fer.types import Window, Word

SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！")
MIN_PAUSE = 0.7  # seconds between words that end an utterance
MAX_UTTERANCE = 15.0  # seconds; longer speech without a full stop or pause is cut at a word
MIN_SILENCE = 1.0  # seconds; a shorter gap between utterances gets no answer of its own
MAX_SILENT = 4.0  # seconds; longer silence is cut into equal windows no longer than this

Span = tuple[float, float]


def make_windows(duration: float, spans: Sequence[Span], words: Sequence[Word]) -> list[Window]:
    """Cut a recording into windows in time order, never overlapping.

    Parameters
    ----------
    duration
        float, seconds of the whole recording
    spans
        stretches of speech as (start, end); they stand for utterances where no words are known
    words
        recognised words in time order; may be empty
    """
    if words:
        spoken = make_utterances(words)
    else:
        spoken = [
            Window(start, end, spoken=True)
            for span in spans
            for start, end in split_evenly(*span, MAX_UTTERANCE)
        ]
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
    """One utterance; recognisers let neighbours overlap by a hair, windows may not."""
    start = max(words[0].start, before[-1].end if before else 0.0)
    end = max(start, words[-1].end)
    return Window(start, end, spoken=True, text=" ".join(word.text for word in words))


def split_evenly(start: float, end: float, longest: float) -> list[Span]:
    """Cut a stretch into equal parts no longer than `longest`."""
    parts = max(1, -int(-(end - start) // longest))
    step = (end - start) / parts
    edges = [start + step * number for number in range(parts)] + [end]
    return list(pairwise(edges))
