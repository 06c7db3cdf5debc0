"""Label sets and folds of IEMOCAP: published sizes, separate speakers, the same on every machine."""

import json
from hashlib import sha256

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_iemocap_release import turn_of, whole_release

from multimodal_fer.errors import ConfigError, DataError
from recipes.iemocap.corpus import published_counts
from recipes.iemocap.corpus.emotions import (
    LABEL_SETS,
    TARGETS,
    dimension_targets,
    label_numbers,
    select_turns,
)
from recipes.iemocap.corpus.protocols import (
    PARTS,
    PROTOCOLS,
    YOON_FIFTH,
    compare_with_yoon,
    make_folds,
)

YOON_SIZES = [  # of the parts of each fold of Yoon et al. 2018
    (4445, 313, 773), (4374, 386, 771), (4399, 353, 779), (4432, 343, 756), (4474, 307, 750),
]  # fmt: skip
quick = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module")
def turns():
    return whole_release()


def sizes(fold):
    return tuple(len(fold.part(part)) for part in PARTS)


def fold_ids(turns, protocol):
    return {fold.name: fold.to_dict() for fold in make_folds(turns, protocol)}


def sessions_of(names):
    return {int(name[4]) for name in names}


def speakers_of(names):
    """Return session and the letter after the last "_"."""
    return {name[:5] + name.rsplit("_", 1)[1][0] for name in names}


# --- label sets ---


def test_label_sets_have_the_published_sizes(turns):
    found = {target: len(select_turns(turns, target)) for target in TARGETS}
    four = select_turns(turns, "four")
    assert found["four"] == 5_531 and found["five"] == found["six"] == 7_380
    assert found["dimensions"] == 10_039
    assert found["four-improvised"] == sum(turn.improvised for turn in four)


def test_excitement_is_happiness_but_among_six():
    excited = turn_of("Ses01F_impro01_F000", label="exc")
    assert [LABEL_SETS[name].label_of(excited) for name in ("four", "five", "six")] == [
        "happiness",
        "happiness",
        "excitement",
    ]
    assert LABEL_SETS["four"].labels == ("anger", "happiness", "sadness", "neutral")
    assert len(LABEL_SETS["five"].labels) == 5 and len(LABEL_SETS["six"].labels) == 6
    for code in ("xxx", "sur", "fea", "oth", "dis"):
        nothing = turn_of("Ses01F_impro01_F000", label=code)
        assert not any(labels.label_of(nothing) for labels in LABEL_SETS.values())


def test_targets_are_numbers_in_the_order_of_the_turns():
    turns = [
        turn_of("Ses01F_impro01_F000", label="neu", valence=1.5),
        turn_of("Ses01F_impro01_F001", label="exc", dominance=4.25),
    ]
    assert label_numbers(turns, "four").tolist() == [3, 1]
    assert dimension_targets(turns).tolist() == [[1.5, 2.5, 3.0], [3.0, 2.5, 4.25]]
    assert dimension_targets([]).shape == (0, 3) and dimension_targets([]).dtype == numpy.float32
    with pytest.raises(ValueError, match="not in tuple"):
        label_numbers([turn_of("Ses01F_script01_1_F000")], "four-improvised")


def test_unknown_names_are_reported(turns):
    with pytest.raises(ConfigError, match="unknown label set 'seven'; known: four"):
        make_folds(turns, "loso5", "seven")
    with pytest.raises(ConfigError, match="unknown protocol 'loso6'; known: loso5"):
        make_folds(turns, "loso6")
    with pytest.raises(ConfigError, match="unknown part 'dev'"):
        make_folds(turns)[0].part("dev")


# --- all protocols ---


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("target", TARGETS)
def test_folds_divide_the_turns(turns, protocol, target):
    chosen = {turn.id for turn in select_turns(turns, target)}
    folds = make_folds(turns, protocol, target)
    tested = [name for fold in folds for name in fold.test]
    for fold in folds:
        parts = [fold.part(part) for part in PARTS]
        assert sum(map(len, parts)) == len(chosen) == len(set().union(*parts))
        assert all(list(part) == sorted(part) for part in parts)
        if PROTOCOLS[protocol].unseen_test_speakers:
            assert not speakers_of(fold.test) & speakers_of(fold.train + fold.validation)
        if PROTOCOLS[protocol].unseen_validation_speakers:
            assert not speakers_of(fold.validation) & speakers_of(fold.train)
    assert len(set(tested)) == len(tested)
    if protocol != "yoon-random5":  # which holds some turns back for validation
        assert set(tested) == chosen


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_folds_do_not_depend_on_the_order_of_the_turns(turns, protocol):
    assert make_folds(turns, protocol) == make_folds(turns[::-1], protocol)


def test_ids_are_kept_as_json(turns):
    kept = json.loads(json.dumps(fold_ids(turns, "loso10")))
    assert list(kept) == [f"Ses0{session}{letter}" for session in range(1, 6) for letter in "FM"]
    assert kept["Ses03M"]["test"] == list(make_folds(turns, "loso10")[5].test)


# --- each protocol ---


def test_loso5_tests_a_session_and_validates_on_the_next(turns):
    counts = [sum(row) for row in zip(*published_counts.FOUR.values(), strict=True)]
    for index, fold in enumerate(make_folds(turns)):
        following = (index + 1) % 5
        assert fold.name == f"session{index + 1}"
        assert sessions_of(fold.test) == {index + 1}
        assert sessions_of(fold.validation) == {following + 1}
        others = 5_531 - counts[index] - counts[following]
        assert sizes(fold) == (others, counts[following], counts[index])


def test_loso10_tests_a_speaker_and_validates_on_the_partner(turns):
    folds = make_folds(turns, "loso10", "dimensions")
    assert len(folds) == 10
    for fold in folds:
        partner = fold.name[:-1] + {"F": "M", "M": "F"}[fold.name[-1]]
        assert speakers_of(fold.test) == {fold.name}
        assert speakers_of(fold.validation) == {partner}
        assert len(sessions_of(fold.train)) == 4


def test_yoon_has_the_published_sizes(turns):
    assert [sizes(fold) for fold in make_folds(turns, "yoon-random5")] == YOON_SIZES
    assert sum(YOON_FIFTH.values()) == YOON_SIZES[4][2]


def test_yoon_says_whether_its_folds_are_the_published_ones(turns, monkeypatch):
    sentence = compare_with_yoon(turns)
    assert sentence.endswith("not the same folds") and "anger 156" in sentence
    chosen = {turn.id: LABEL_SETS["four"].label_of(turn) for turn in turns}
    names = [chosen[name] for name in make_folds(turns, "yoon-random5")[4].test]
    counts = {label: names.count(label) for label in YOON_FIFTH}
    monkeypatch.setattr("recipes.iemocap.corpus.protocols.YOON_FIFTH", counts)
    assert compare_with_yoon(turns).endswith("as published")


def test_s3prl_validates_on_a_fixed_fifth_of_the_other_sessions(turns):
    for index, fold in enumerate(make_folds(turns, "s3prl5")):
        assert sessions_of(fold.test) == {index + 1}
        assert (
            sessions_of(fold.validation) == sessions_of(fold.train) == {1, 2, 3, 4, 5} - {index + 1}
        )
        others = 5_531 - len(fold.test)
        assert len(fold.train) == int(0.8 * others)


def test_draws_are_the_same_on_every_machine():
    """Check folds of invented ids; a change would make earlier figures irreproducible."""
    some = [
        turn_of(f"Ses0{session}F_impro01_{letter}{number:03}")
        for session in range(1, 6)
        for letter in "FM"
        for number in range(20)
    ]
    digests = {
        protocol: sha256(json.dumps(fold_ids(some, protocol)).encode()).hexdigest()[:12]
        for protocol in PROTOCOLS
    }
    assert digests == {
        "loso5": "d50699b7f3b3",
        "loso10": "a33a6e689f93",
        "yoon-random5": "7e508ae9980e",
        "s3prl5": "537b2cbe1760",
    }


# --- parts of a release ---


def test_of_three_sessions_the_next_that_is_there_validates():
    some = [turn_of(f"Ses0{s}F_impro01_{letter}000") for s in (1, 3, 4) for letter in "FM"]
    folds = make_folds(some)
    assert [sessions_of(fold.validation) for fold in folds] == [{3}, {4}, {1}]


@pytest.mark.parametrize(
    ("protocol", "sessions", "place"),
    [
        ("loso5", (1,), "session1"),
        ("loso5", (1, 2), r"session1 \(train\)"),
        ("loso10", (1,), r"Ses01F \(train\)"),
        ("s3prl5", (2,), r"session2 \(train\)"),
        ("yoon-random5", (1,), "fold"),
        ("loso5", (), "any"),
    ],
)
def test_too_few_turns_are_reported(protocol, sessions, place):
    some = [turn_of(f"Ses0{s}F_impro01_{letter}000") for s in sessions for letter in "FM"]
    with pytest.raises(
        DataError, match=rf"{protocol}: expected turns of four .*{place}.*take more sessions"
    ):
        make_folds(some, protocol)


def test_a_turn_that_comes_twice_is_refused(turns):
    with pytest.raises(ValueError, match="every turn must occur once"):
        make_folds([*turns, turns[0]])


@quick
@given(
    names=st.sets(
        st.builds(
            "Ses0{}{}_{}_{}{:03}".format,
            st.integers(1, 5),
            st.sampled_from("FM"),
            st.sampled_from(["impro01", "impro05a", "script01_1", "script01_1b"]),
            st.sampled_from("FM"),
            st.integers(0, 999),
        ),
        max_size=60,
    ),
    protocol=st.sampled_from(sorted(PROTOCOLS)),
)
def test_any_turns_are_divided_or_refused(names, protocol):
    some = [turn_of(name) for name in names]
    try:
        folds = make_folds(some, protocol)
    except DataError:
        return
    for fold in folds:
        assert sorted(fold.train + fold.validation + fold.test) == sorted(names)
        if PROTOCOLS[protocol].unseen_test_speakers:
            assert not speakers_of(fold.test) & speakers_of(fold.train + fold.validation)
