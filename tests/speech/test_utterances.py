"""Test windows from hand-made words against results computed by hand."""

from itertools import pairwise

import pytest

from multimodal_fer.speech.utterances import (
    MARGIN,
    MAX_SILENT,
    MAX_UTTERANCE,
    make_utterances,
    make_windows,
    voice_spans,
)
from multimodal_fer.types import Window, Word


def words(text: str, start: float, step: float = 0.4) -> list[Word]:
    return [
        Word(word, start + step * i, start + step * (i + 1), 0.9)
        for i, word in enumerate(text.split())
    ]


def test_a_sentence_end_and_a_pause_each_end_an_utterance():
    spoken = [*words("we did it. and now", 1.0), *words("what", 5.0)]
    found = make_utterances(spoken)
    assert [(w.text, round(w.start, 2), round(w.end, 2)) for w in found] == [
        ("we did it.", 1.0, 2.2),
        ("and now", 2.2, 3.0),
        ("what", 5.0, 5.4),
    ]


def test_endless_speech_is_cut():
    found = make_utterances(words("so " * 100, 0.0))
    assert len(found) == 3
    assert all(window.end - window.start <= MAX_UTTERANCE + 1e-9 for window in found)


def test_silence_gets_even_windows_and_short_gaps_none():
    found = make_windows(20.0, [], [*words("hello there.", 2.0), *words("yes.", 3.5)])
    assert [(round(w.start, 2), round(w.end, 2), w.spoken) for w in found] == [
        (0.0, 2.0, False),
        (2.0, 2.8, True),
        (3.5, 3.9, True),  # the gap of 0.7 s before it is too short for a window
        (3.9, 7.12, False),
        (7.12, 10.34, False),
        (10.34, 13.56, False),
        (13.56, 16.78, False),
        (16.78, 20.0, False),
    ]


def test_speech_without_words_is_cut_by_its_spans():
    found = make_windows(40.0, [(1.0, 31.0)], [])
    assert [(w.start, w.end) for w in found if w.spoken] == [(1.0, 16.0), (16.0, 31.0)]
    assert all(window.text is None for window in found)


def test_a_tiny_recording_is_one_window():
    assert [(w.start, w.end) for w in make_windows(0.2, [], [])] == [(0.0, 0.2)]
    assert make_windows(0.0, [], []) == []


@pytest.mark.parametrize("duration", [0.3, 3.9, 4.1, 61.7])
def test_windows_never_overlap_and_cover_silence_whole(duration):
    found = make_windows(duration, [], [])
    assert found[0].start == 0 and found[-1].end == duration
    assert all(a.end == b.start for a, b in pairwise(found))
    assert max(w.end - w.start for w in found) <= MAX_SILENT + 1e-9


def test_overlapping_words_give_windows_that_do_not_overlap():
    spoken = [Word("yes.", 1.0, 2.0, 1.0), Word("no.", 1.9, 2.5, 1.0)]
    first, second = make_utterances(spoken)
    assert first.end <= second.start


def test_speech_without_words_gets_its_own_window_if_it_lasts():
    spans = [(0.8, 3.4), (6.0, 7.5), (9.0, 9.6)]
    found = make_windows(12.0, spans, words("hello there.", 1.0))
    spoken = [(round(w.start, 2), round(w.end, 2), w.text) for w in found if w.spoken]
    assert spoken == [
        (0.8, 1.8, "hello there."),  # with 0.2 s before the first word
        (1.8, 3.4, None),  # 1.6 s after the last word, such as laughter
        (6.0, 7.5, None),
        (9.0, 9.6, None),  # short, but without an adjacent utterance
    ]
    silent = [(w.start, w.end) for w in found if not w.spoken]
    assert silent == [(3.4, 6.0), (7.5, 9.0), (9.6, 12.0)]


def test_a_short_piece_between_two_utterances_is_shared():
    spoken = [*words("yes.", 1.0), *words("no.", 2.0)]
    first, second = (w for w in make_windows(3.0, [(1.0, 2.4)], spoken) if w.spoken)
    assert (first.end, second.start) == (pytest.approx(1.7), pytest.approx(1.7))


def test_every_second_of_speech_lies_in_a_spoken_window():
    spans = [(0.2, 14.0), (14.6, 55.0), (58.0, 58.5)]
    spoken = [*words("one two three.", 3.0), *words("four", 15.0), *words("five six.", 50.0)]
    found = make_windows(60.0, spans, spoken)
    assert all(a.end <= b.start + 1e-9 for a, b in pairwise(found))
    for start, end in spans:
        covered = sum(max(0.0, min(w.end, end) - max(w.start, start)) for w in found if w.spoken)
        assert covered == pytest.approx(end - start)


def test_a_voice_is_judged_with_a_margin_that_takes_nothing_from_its_neighbours():
    windows = [
        Window(0.1, 2.0, spoken=True),
        Window(2.0, 3.2, spoken=False),
        Window(3.2, 4.0, spoken=True),
        Window(4.2, 9.9, spoken=True),
    ]
    assert voice_spans(windows, 10.0) == {
        0: (0.0, pytest.approx(2.0 + MARGIN)),
        2: (pytest.approx(3.2 - MARGIN), pytest.approx(4.1)),
        3: (pytest.approx(4.1), 10.0),
    }
    assert voice_spans([], 10.0) == {}


def test_an_utterance_keeps_the_mean_confidence_of_its_words():
    spoken = [Word("well", 0.0, 0.4, 0.9), Word("no.", 0.4, 0.8, 0.5)]
    assert make_utterances(spoken)[0].confidence == pytest.approx(0.7)
