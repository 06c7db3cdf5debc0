"""Cut a recording into windows: utterances, speech without recognised words, and silence."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from multimodal_fer.types import Span, Window, Word

SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！")
MIN_PAUSE = 0.7  # seconds between words that end an utterance
MAX_UTTERANCE = 15.0  # seconds; longer speech without a sentence end or pause is cut at a word
MIN_WORDLESS = 1.0  # seconds; shorter speech without words joins the adjacent utterance
MIN_SILENCE = 1.0  # seconds; a shorter gap between utterances gets no window
MAX_SILENT = 4.0  # seconds; longer silence is cut into equal windows no longer than this
MARGIN = 0.5  # seconds of sound on each side of an utterance that the voice network receives


def make_windows(duration: float, spans: Sequence[Span], words: Sequence[Word]) -> list[Window]:
    """Cut a recording into windows, in time order and without overlap.

    All detected speech lies in a spoken window, with or without recognised words, so that the voice
    network also receives laughter, other languages and recordings without a transcript. `duration` is in
    seconds; `spans` (detected speech) and `words` are in time order and may be empty.
    """
    spoken = _add_wordless_speech(make_utterances(words), spans)
    windows = []
    reached = 0.0
    for window in [*spoken, Window(duration, duration, spoken=False)]:
        if window.start - reached >= MIN_SILENCE or (not spoken and window.start > reached):
            for start, end in _split_evenly(reached, window.start, MAX_SILENT):
                windows.append(Window(start, end, spoken=False))
        if window.spoken:
            windows.append(window)
        reached = max(reached, window.end)
    return windows


def make_utterances(words: Iterable[Word]) -> list[Window]:
    """Join words into utterances that end at a sentence end, at a pause or after `MAX_UTTERANCE`."""
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
    """Return one utterance; words may overlap slightly, windows may not."""
    start = max(words[0].start, before[-1].end if before else 0.0)
    end = max(start, words[-1].end)
    confidence = sum(word.confidence for word in words) / len(words)
    text = " ".join(word.text for word in words)
    return Window(start, end, spoken=True, text=text, confidence=confidence)


def _add_wordless_speech(utterances: Sequence[Window], spans: Sequence[Span]) -> list[Window]:
    """Add speech without words: short pieces to the adjacent utterance, long ones as own windows.

    Word times are rough, so speech just before the first or after the last word mostly belongs to it.
    """
    edges = [[window.start, window.end] for window in utterances]
    wordless: list[Window] = []
    for start, end, before, after in _uncovered(spans, utterances):
        if end - start >= MIN_WORDLESS or (before is None and after is None):
            parts = _split_evenly(start, end, MAX_UTTERANCE)
            wordless += [Window(*part, spoken=True) for part in parts]
            continue
        middle = (start + end) / 2
        if before is not None:
            edges[before][1] = end if after is None else middle
        if after is not None:
            edges[after][0] = start if before is None else middle
    widened = [
        replace(window, start=start, end=end)
        for (start, end), window in zip(edges, utterances, strict=True)
    ]
    return sorted([*widened, *wordless], key=lambda window: window.start)


def _uncovered(
    spans: Iterable[Span], utterances: Sequence[Window]
) -> Iterator[tuple[float, float, int | None, int | None]]:
    """Yield start and end of speech outside utterances, and the indices of the adjacent ones."""
    ends = [window.end for window in utterances]
    for start, end in spans:
        reached, before, number = start, None, bisect_left(ends, start)
        while number < len(utterances) and utterances[number].start < end:
            if utterances[number].start > reached:
                yield reached, utterances[number].start, before, number
            if ends[number] >= reached:
                reached, before = ends[number], number
            number += 1
        if end > reached:
            yield reached, end, before, None


def voice_spans(windows: Sequence[Window], duration: float) -> dict[int, Span]:
    """Return the span of sound (seconds) of each spoken window, by the window's index.

    It extends the window by `MARGIN` on each side, but at most halfway to the next spoken window.
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


def _split_evenly(start: float, end: float, longest: float) -> list[Span]:
    """Cut a span into equal parts that are no longer than `longest`."""
    parts = max(1, -int(-(end - start) // longest))
    step = (end - start) / parts
    edges = [start + step * number for number in range(parts)] + [end]
    return list(pairwise(edges))
