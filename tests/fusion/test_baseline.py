"""A person's rest: a known offset is estimated, changes do not depend on it, scores are kept."""

import copy
import math

import numpy
import pytest

from multimodal_fer.fusion.baseline import Change, Rest, change, log_odds, main_person, resting
from multimodal_fer.labels import OPEN7
from multimodal_fer.types import Analysis, Scores, Segment, strongest

CALM = numpy.array([2.5, 0.0, -0.2, 0.0, -0.1, -0.2, -0.1])  # logits of an unremarkable face
SAD_FACE = 2.0  # added to the logit of sadness by a face that looks sad at rest
STRONG = {"happiness": 6.0, "anger": 6.0}  # added to a logit by an expression


def scores_of(logits) -> dict[str, float]:
    powers = numpy.exp(logits - logits.max())
    return dict(zip(OPEN7, (powers / powers.sum()).tolist(), strict=True))


def logits(emotion=None, offset=0.0, noise=None):
    made = CALM.copy() + (0 if noise is None else noise)
    made[OPEN7.index("sadness")] += offset
    if emotion:
        made[OPEN7.index(emotion)] += STRONG[emotion]
    return made


def window(number, face, *, voice=None, words=None, face_id=0, text=None):
    return Segment(
        number * 4.0, number * 4.0 + 4.0, text, face_id, strongest(face), False, face,
        {"face": 1.0}, {"face": 1.0, "voice": 1.0, "text": 1.0},
        {"face": face, "voice": voice, "text": words},
    )  # fmt: skip


def session(offset=0.0, emotional=0.0, windows=100, seed=0):
    """Return an analysis in which a share of each 20 windows shows a strong emotion."""
    random = numpy.random.default_rng(seed)
    moved = {
        number
        for start in range(0, windows, 20)
        for number in range(start, start + round(20 * emotional))
    }
    segments = tuple(
        window(
            number,
            scores_of(
                logits(
                    ("happiness", "anger")[number // 20 % 2] if number in moved else None,
                    offset,
                    random.normal(0, 0.25, len(OPEN7)),
                )
            ),
        )
        for number in range(windows)
    )
    return Analysis("a.mp4", "open7@0", OPEN7, duration=4.0 * windows, segments=segments)


def face_of(one: Change) -> Scores:
    """Return the change of a window's face scores."""
    changes = one.log_odds["face"]
    assert changes is not None
    return changes


def by_label(scores) -> Scores:
    return dict(zip(OPEN7, log_odds(scores).tolist(), strict=True))


def rest_of(analysis, source="face") -> tuple[Scores, Rest]:
    """Return the log-odds at rest, and the whole estimate."""
    rest = resting([analysis]).rest[source]
    assert rest.scores is not None, rest.note
    return by_label(rest.scores), rest


@pytest.mark.parametrize("emotional", [0.0, 0.3, 0.45])
@pytest.mark.parametrize("offset", [0.0, SAD_FACE, -1.0])
def test_a_known_offset_is_estimated_between_strong_emotions(offset, emotional):
    plain = by_label(scores_of(logits()))
    found, rest = rest_of(session(offset, emotional))
    assert found["sadness"] - plain["sadness"] == pytest.approx(offset, abs=0.12)
    for label in set(OPEN7) - {"sadness"}:  # each other emotion falls by a sixth of it
        assert found[label] - plain[label] == pytest.approx(-offset / 6, abs=0.12)
    assert sum((rest.scores or {}).values()) == pytest.approx(1)
    assert rest.seconds == pytest.approx(400 * (1 - emotional), abs=24)


def test_a_plain_mean_misses_the_offset():
    """Check that trimming is needed, because emotional windows shift the mean."""
    analysis = session(SAD_FACE, 0.3)
    mean = numpy.mean([log_odds(segment.scores) for segment in analysis.segments], axis=0)
    truth = log_odds(scores_of(logits(offset=SAD_FACE)))
    found, _ = rest_of(analysis)
    assert abs(mean - truth).max() > 0.5
    assert abs(numpy.array(list(found.values())) - truth).max() < 0.12


def test_changes_do_not_depend_on_the_face_at_rest():
    """Check that an expression of equal strength is an equal change for each face at rest."""
    grown = {}
    for offset in (0.0, SAD_FACE):
        analysis = session(offset, 0.3)
        changes = change(analysis, resting([analysis]))
        angry = [
            changes[number] for number, s in enumerate(analysis.segments) if s.emotion == "anger"
        ]
        assert len(angry) == 12
        assert all(one.notable["face"][0] == "anger" for one in angry)
        grown[offset] = numpy.mean([face_of(one)["anger"] for one in angry])
    assert grown[0.0] > 3
    assert grown[SAD_FACE] == pytest.approx(grown[0.0], abs=0.35)


def test_a_sad_looking_face_at_rest_is_not_notable():
    analysis = session(SAD_FACE, 0.3)
    changes = change(analysis, resting([analysis]))
    calm = [one for number, one in enumerate(changes) if number % 20 >= 6]
    assert sum("sadness" in one.notable["face"] for one in calm) <= 0.06 * len(calm)
    assert numpy.mean([face_of(one)["sadness"] for one in calm]) == pytest.approx(0, abs=0.1)


def test_sadness_of_a_sad_looking_face_is_notable():
    analysis = session(SAD_FACE)
    sadder = window(100, scores_of(logits(offset=SAD_FACE + 2)))
    answer = Analysis("a.mp4", "open7@0", OPEN7, segments=(*analysis.segments, sadder))
    last = change(answer, resting([answer]))[-1]
    assert last.notable["face"] == ("sadness",)
    assert face_of(last)["sadness"] == pytest.approx(2.0, abs=0.3)


def test_raw_scores_and_their_order_are_untouched():
    analysis = session(SAD_FACE, 0.3)
    before = copy.deepcopy(analysis.to_dict())
    changes = change(analysis, resting([analysis]))
    assert analysis.to_dict() == before
    assert [(one.start, one.end) for one in changes] == [
        (segment.start, segment.end) for segment in analysis.segments
    ]


def test_too_little_evidence_gives_a_note_and_no_changes():
    short = session(SAD_FACE, windows=4)
    baseline = resting([short])
    assert baseline.known == ()
    assert "16 s in 4 windows" in baseline.rest["face"].note
    assert "at least 20 s" in baseline.rest["voice"].note
    for one in change(short, baseline):
        assert set(one.log_odds.values()) == {None}
        assert set(one.notable.values()) == {()}


def test_scores_that_vary_too_much_have_no_rest():
    random = numpy.random.default_rng(0)
    segments = tuple(window(n, scores_of(random.normal(0, 3, len(OPEN7)))) for n in range(40))
    rest = resting([Analysis("a.mp4", "open7@0", OPEN7, segments=segments)]).rest["face"]
    assert rest.scores is None and "vary too much" in rest.note


def test_windows_with_emotional_words_are_no_candidates():
    """Check that a face that is angry with angry words most of the time is not its rest."""
    angry, calm = scores_of(logits("anger")), scores_of(logits())
    segments = [window(n, angry, words=angry, text="this is awful") for n in range(12)]
    segments += [window(n, calm, words=calm, text="now the menu") for n in range(12, 20)]
    _, rest = rest_of(Analysis("a.mp4", "open7@0", OPEN7, segments=tuple(segments)))
    assert strongest(rest.scores or {}) == "neutral" and rest.windows == 8


def test_only_the_main_person_counts():
    guest = scores_of(logits("happiness"))
    segments = [window(n, scores_of(logits())) for n in range(20)]
    segments += [window(n, guest, face_id=1) for n in range(20, 32)]
    analysis = Analysis("a.mp4", "open7@0", OPEN7, segments=tuple(segments))
    assert main_person(analysis) == 0
    baseline = resting([analysis])
    assert baseline.rest["face"].windows == 20
    assert change(analysis, baseline)[25].log_odds["face"] is None


def test_several_recordings_add_up_and_must_be_of_one_bundle():
    first, second = session(SAD_FACE, windows=4), session(SAD_FACE, windows=4, seed=1)
    baseline = resting([first, second])
    assert baseline.recordings == 2 and "face" in baseline.known
    other = Analysis("b.mp4", "iemocap4@1", OPEN7)
    with pytest.raises(ValueError, match="one bundle"):
        resting([first, other])
    with pytest.raises(ValueError, match="one bundle"):
        resting([])
    with pytest.raises(ValueError, match="analyse both with one bundle"):
        change(other, baseline)


def test_certain_scores_give_finite_changes():
    sure = {label: float(label == "neutral") for label in OPEN7}
    segments = tuple(window(n, sure) for n in range(10))
    analysis = Analysis("a.mp4", "open7@0", OPEN7, segments=segments)
    for one in change(analysis, resting([analysis])):
        assert all(math.isfinite(value) for value in face_of(one).values())
        assert one.notable["face"] == ()
