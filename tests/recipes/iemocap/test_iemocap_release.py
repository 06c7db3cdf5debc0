"""Readers of IEMOCAP's files, tested on invented content in the published format, valid and damaged."""

import os
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iemocap_corpus import CorpusConfig, write_corpus

from multimodal_fer.errors import DataError, OutputError
from multimodal_fer.labels import IEMOCAP_CODES
from recipes.iemocap.corpus import published_counts
from recipes.iemocap.corpus.release import (
    find_release,
    list_release,
    published_dialogs,
    refuse_inside,
)
from recipes.iemocap.corpus.turns import (
    TURN,
    Rating,
    Turn,
    parse_evaluation,
    parse_transcription,
    read_all_turns,
    read_turns,
    without_tags,
)

DIALOG = "Ses01F_impro01"
EVALUATION = Path(f"{DIALOG}.txt")
HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
BLOCK = (
    f"[6.2000 - 8.4500]\t{DIALOG}_F000\tfru\t[2.0000, 3.5000, 3.0000]\n"
    "C-E1:\tFrustration;\t()\n"
    "C-E3:\tAnger; Frustration;\t()\n"
    "C-E4:\tFrustration;\t(louder; than before, (twice)\n"
    "C-F1:\tNeutral;\t()\n"
    "A-E3:\tval 2; act 4; dom  3;\t()\n"
    "A-E4:\tval 2; act 3; dom  ;\t(half; an answer)\n"
    "A-F1:\tval 1; act 5; dom  4;\t()\n"
    "\n"
)
ALL_DIALOGS = published_dialogs()
quick = settings(max_examples=50, deadline=None, derandomize=True, database=None)


# --- invented files ---


def turn_of(name, **changes):
    """Return a turn with arbitrary values."""
    values = {"start": 1.0, "end": 2.5, "label": "neu"}
    values |= {"valence": 3.0, "arousal": 2.5, "dominance": 3.0, **changes}
    return Turn(name, **values)


def written(number):
    """Format with four decimals, or nine if needed."""
    return f"{number:.4f}" if round(number, 4) == number else f"{number:.9f}"


def block_of(turn):
    """Return a turn's block of the summary."""
    means = ", ".join(map(written, (turn.valence, turn.arousal, turn.dominance)))
    times = f"[{written(turn.start)} - {written(turn.end)}]"
    lines = [f"{times}\t{turn.id}\t{turn.label}\t[{means}]"]
    for rating in (rating for rating in turn.ratings if rating.labels):
        lines.append(f"C-{rating.rater}:\t{''.join(f'{label}; ' for label in rating.labels)}\t()")
    for rating in turn.ratings:
        numbers = (rating.valence, rating.arousal, rating.dominance)
        if numbers == (None, None, None):
            continue
        valence, arousal, dominance = ("" if value is None else f"{value:g}" for value in numbers)
        lines.append(f"A-{rating.rater}:\tval {valence}; act {arousal}; dom  {dominance};\t()")
    return "\n".join(lines) + "\n\n"


def line_of(turn, words):
    return f"{turn.id} [{turn.start:08.4f}-{turn.end:08.4f}]: {words}\n"


def write_dialog(root, name, turns, words="nothing much"):
    """Write label summary, transcription, sound folder and video of one dialog."""
    folder = root / f"Session{name[4]}"
    files = {
        folder / "dialog" / "EmoEvaluation" / f"{name}.txt": HEADER + "".join(map(block_of, turns)),
        folder / "dialog" / "transcriptions" / f"{name}.txt": "".join(
            line_of(turn, words) for turn in turns
        ),
        folder / "sentences" / "wav" / name / f"{name}_F000.wav": "",
        folder / "dialog" / "avi" / "DivX" / f"{name}.avi": "",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def root(tmp_path):
    """Write one dialog of each session."""
    place = tmp_path / "IEMOCAP_full_release"
    for session in range(1, 6):
        name = f"Ses0{session}F_impro01"
        write_dialog(place, name, [turn_of(f"{name}_F000"), turn_of(f"{name}_M000", start=0.5)])
    return place


def whole_release():
    """Return turns with the published counts and invented positions of the labels."""
    chance = random.Random(0)
    four = {"anger": ["ang"], "sadness": ["sad"], "neutral": ["neu"], "happiness": ["hap", "exc"]}
    merged = {
        label: iter([code for code in codes for _ in range(published_counts.LABELS[code])])
        for label, codes in four.items()
    }
    others = ("fru", "sur", "fea", "oth", "dis", "xxx")
    rest = iter([code for code in others for _ in range(published_counts.LABELS[code])])
    kinds = ["impro"] * published_counts.KINDS["improvised"] + ["script"] * published_counts.KINDS[
        "scripted"
    ]
    letters = [letter for letter, count in published_counts.LETTERS.items() for _ in range(count)]
    chance.shuffle(kinds)
    chance.shuffle(letters)
    numbers = Counter()
    turns = []
    for index, count in enumerate(published_counts.TURNS):
        dialogs = [name for name in ALL_DIALOGS if name[4] == str(index + 1)]
        codes = [
            next(merged[label])
            for label, row in published_counts.FOUR.items()
            for _ in range(row[index])
        ]
        for code in codes + [next(rest) for _ in range(count - len(codes))]:
            kind = kinds.pop()
            dialog = chance.choice([name for name in dialogs if kind in name])
            speaker = f"{dialog}_{letters.pop()}"
            turns.append(turn_of(f"{speaker}{numbers[speaker]:03}", label=code))
            numbers[speaker] += 1
    return turns


# --- the label summaries ---


def test_a_summary_is_read_as_published():
    (turn,) = parse_evaluation(HEADER + BLOCK, EVALUATION)
    assert (turn.id, turn.start, turn.end, turn.label) == (f"{DIALOG}_F000", 6.2, 8.45, "fru")
    assert (turn.valence, turn.arousal, turn.dominance) == (2.0, 3.5, 3.0)
    assert turn.ratings == (
        Rating("E1", ("Frustration",)),
        Rating("E3", ("Anger", "Frustration"), 2, 4, 3),
        Rating("E4", ("Frustration",), 2, 3, None),
        Rating("F1", ("Neutral",), 1, 5, 4),
    )
    assert [rating.by_actor for rating in turn.ratings] == [False, False, False, True]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ses01F_impro01_F000", (1, "Ses01F_impro01", "Ses01F", "Ses01F", True, "left")),
        ("Ses01F_impro01_M012", (1, "Ses01F_impro01", "Ses01F", "Ses01M", True, "right")),
        ("Ses03M_impro05a_F003", (3, "Ses03M_impro05a", "Ses03M", "Ses03F", True, "right")),
        ("Ses05M_script01_1b_M001", (5, "Ses05M_script01_1b", "Ses05M", "Ses05M", False, "left")),
    ],
)
def test_all_else_follows_from_the_id(name, expected):
    turn = turn_of(name)
    found = (turn.session, turn.dialog, turn.wearer, turn.speaker, turn.improvised, turn.side)
    assert found == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "Ses01F_impro01_FXX0"},
        {"id": "Ses06F_impro01_F000"},
        {"end": 1.0},
        {"start": float("nan")},
        {"label": "joy"},
    ],
)
def test_a_turn_is_checked_when_made(changes):
    with pytest.raises(ValueError, match="a turn"):
        replace(turn_of("Ses01F_impro01_F000"), **changes)


@pytest.mark.parametrize("dominance", ["dom;", "dom  ;", "dom ;", ""])
def test_a_missing_dominance_is_none(dominance):
    text = HEADER + BLOCK.replace("dom  3;", dominance)
    (turn,) = parse_evaluation(text, EVALUATION)
    assert turn.ratings[1] == Rating("E3", ("Anger", "Frustration"), 2, 4, None)


def test_an_actor_may_leave_out_any_number_and_the_label():
    text = HEADER + BLOCK.replace("val 1; act 5; dom  4;", "val ; act ; dom  ;")
    text = text.replace("C-F1:\tNeutral;", "C-F1:\t;")
    (turn,) = parse_evaluation(text, EVALUATION)
    assert turn.ratings[3] == Rating("F1")


def test_a_comment_may_go_on_below_and_hold_anything():
    text = HEADER + BLOCK.replace("(half; an answer)", "(half;\nan answer, ] [ (or none\nat all)")
    assert parse_evaluation(text, EVALUATION) == parse_evaluation(HEADER + BLOCK, EVALUATION)


def test_spaces_and_windows_line_ends_do_no_harm(tmp_path):
    write_dialog(tmp_path, DIALOG, [turn_of(f"{DIALOG}_F000")])
    folder = tmp_path / "Session1" / "dialog" / "EmoEvaluation"
    (folder / f"{DIALOG}.txt").write_bytes((HEADER + BLOCK).replace("\n", " \r\n").encode())
    (dialog,) = list_release(tmp_path, allow_partial=True).dialogs
    assert read_turns(dialog)[0].label == "fru"


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        ("% [START", "[START", 1, "the header"),
        ("D]\n\n", "D]\n", 2, "an empty line below the header"),
        ("[6.2000 - ", "[6.2000-", 3, "[start - end]"),
        ("\tfru\t", " fru ", 3, "[start - end]"),
        ("8.4500]", "6.2000]", 3, "an end after the start"),
        ("\tfru\t", "\tjoy\t", 3, "one of ang, hap"),
        ("_F000\t", "_FXX0\t", 3, "a turn of Ses01F_impro01"),
        ("impro01_F000", "impro02_F000", 3, "a turn of Ses01F_impro01"),
        (", 3.0000]", "]", 3, "[start - end]"),
        ("C-E1:", "E1:", 4, "a rater's line"),
        ("C-E1:\tFrustration;\t()", "C-E1:\tFrustration;", 4, "a comment in brackets"),
        ("C-E1:\tFrustration;", "C-E1:\tFrustration", 4, "categories"),
        ("Anger; Frustration", "Anger, Frustration", 5, "categories"),
        ("C-E3:", "C-E1:", 5, "one line C-E1"),
        ("val 2; act 4", "val ; act 4", 8, "val 1; act 2"),
        ("val 2; act 4", "act 4; val 2", 8, "val 1; act 2"),
        ("val 2; act 4", "val 25; act 4", 8, "val 1; act 2"),
        ("C-F1:", "\nC-F1:", 8, "[start - end]"),
        ("()\nC-E3:", "() C-E3:", 4, "each rater's line on a line of its own"),
    ],
)
def test_a_damaged_summary_is_reported_with_file_line_and_form(old, new, line, expected):
    text = (HEADER + BLOCK).replace(old, new, 1)
    assert text != HEADER + BLOCK
    with pytest.raises(DataError) as error:
        parse_evaluation(text, EVALUATION)
    assert str(error.value).startswith(f"{EVALUATION}, line {line}: expected {expected}")
    assert "found" in str(error.value) and "take the file as published" in str(error.value)


@pytest.mark.parametrize("text", ["", "\n\n", HEADER, "\x00\x05\x16\x07\ufffd\n"])
def test_a_summary_without_turns_is_an_error(text):
    with pytest.raises(DataError, match="expected"):
        parse_evaluation(text, EVALUATION)


def test_a_turn_that_comes_twice_is_an_error():
    with pytest.raises(DataError, match="line 12: expected every turn once"):
        parse_evaluation(HEADER + BLOCK + BLOCK, EVALUATION)


# --- transcriptions ---


def test_a_transcription_is_read_with_its_oddities():
    text = (
        f"{DIALOG}_F000 [006.2000-008.4500]: A colon: it stays]: too, [LAUGHTER] you see.\n"
        "M: sorry\n"
        f"{DIALOG}_MXX0 [008.0000-008.2000]: [BREATHING]\n"
        "\n"
        f"{DIALOG}_M000 [008.1000-009.0000]:\n"
        "F: [LAUGHTER] what?\n"
        f"{DIALOG}_FXX1\n"
    )
    assert parse_transcription(text, EVALUATION) == {
        f"{DIALOG}_F000": "A colon: it stays]: too, [LAUGHTER] you see.",
        f"{DIALOG}_M000": "",
    }


def test_tags_can_be_left_out():
    assert without_tags("[LAUGHTER] Oh [sic me], [BREATHING]no.") == "Oh [sic me], no."


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{DIALOG}_F000 [006.2000-008.4500] no colon", "turn [start-end]: words"),
        (f"{DIALOG}_F000: no times", "turn [start-end]: words"),
        (f"{DIALOG}_F00 [006.2000-008.4500]: short id", f"a turn of {DIALOG}"),
        ("es01F_impro01_F000 [006.2000-008.4500]: cut id", f"a turn of {DIALOG}"),
        ("Ses01F_impro02_F000 [006.2000-008.4500]: elsewhere", f"a turn of {DIALOG}"),
        ("Ses01F_impro02_FXX0 [006.2000-008.4500]: elsewhere", f"a turn of {DIALOG}"),
        ("M: an aside with times [006.2000-008.4500]: hm", "turn [start-end]: words"),
        ("and the rest of a sentence", "turn [start-end]: words"),
        (f"{DIALOG}_F000 [1.0-2.0]: two {DIALOG}_F001 [2.0-3.0]: in one", "each turn on a line"),
    ],
)
def test_a_damaged_transcription_is_reported_with_file_line_and_form(line, expected):
    with pytest.raises(DataError) as error:
        parse_transcription(f"\n{line}\n", EVALUATION)
    assert str(error.value).startswith(f"{EVALUATION}, line 2: expected {expected}")


# --- properties of the readers ---

ticks = st.integers(0, 9_999_999)
rating_numbers = st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0])
words = st.sampled_from(["Anger", "Neutral", "Frustration", "Excited", "Neutral state"])
labels = st.lists(words, min_size=1, max_size=3).map(tuple)
# What a comment or a sentence may hold; a line ends at "\n" alone.
phrases = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=30)


@st.composite
def ratings(draw):
    outside = draw(st.lists(st.sampled_from(["E1", "E2", "E3", "F1"]), max_size=4, unique=True))
    return tuple(
        Rating(
            rater,
            draw(labels),
            draw(rating_numbers),
            draw(rating_numbers),
            draw(st.none() | rating_numbers),
        )
        for rater in outside
    )


@st.composite
def turn_lists(draw, dialog=DIALOG):
    """Draw turns of one dialog, with times and means of four decimals."""
    names = draw(
        st.lists(
            st.builds("{}{:03}".format, st.sampled_from("FM"), st.integers(0, 120)),
            min_size=1,
            max_size=3,
            unique=True,
        )
    )
    turns = []
    for name in names:
        start = draw(ticks)
        means = [draw(st.integers(10_000, 50_000)) / 10_000 for _ in range(3)]
        turns.append(
            Turn(
                f"{dialog}_{name}",
                start / 10_000,
                (start + 1 + draw(ticks)) / 10_000,
                draw(st.sampled_from(sorted(IEMOCAP_CODES))),
                *means,
                ratings=draw(ratings()),
            )
        )
    return turns


@st.composite
def changes(draw, text):
    """Draw a text with one character deleted, inserted or replaced, or a line cut short."""
    place = draw(st.integers(0, len(text) - 1))
    kind = draw(st.sampled_from(["gone", "put in", "other", "cut"]))
    if kind == "cut":
        end = text.find("\n", place)
        return text[:place] + text[end if end >= 0 else len(text) :]
    new = (
        draw(st.sampled_from("0123456789 .,:;-[]()\tFMXSe_abz٣é\x00\x85\u2028"))
        if kind != "gone"
        else ""
    )
    return text[:place] + new + text[place + (kind != "put in") :]


def essence(text):
    """Return each turn's lines, sorted, without comments and spaces, and with equal forms of numbers."""
    blocks = [[]]
    for line in text.split("\n"):
        line = line.split("(")[0] if line.lstrip()[:2] in ("C-", "A-") else line
        line = re.sub(r"\d+\.\d+", lambda found: repr(float(found[0])), line)
        line = "".join(line.split())
        if line.startswith("["):
            blocks.append([])
        if line and not line.startswith("%"):
            blocks[-1].append(line)
    return [sorted(block) for block in blocks]


@quick
@given(turns=turn_lists(), comment=phrases)
def test_what_was_written_is_what_is_read(turns, comment):
    text = HEADER + "".join(map(block_of, turns)).replace("()", f"({comment})")
    assert parse_evaluation(text, EVALUATION) == turns


@settings(quick, max_examples=120)
@given(data=st.data(), turns=turn_lists())
def test_no_damage_to_a_summary_passes_for_something_else(data, turns):
    text = data.draw(changes(HEADER + "".join(map(block_of, turns))))
    try:
        found = parse_evaluation(text, EVALUATION)
    except DataError:
        return
    assert essence("".join(map(block_of, found))) == essence(text)


@quick
@given(data=st.data(), turns=turn_lists())
def test_a_line_broken_in_two_is_an_error_or_no_matter(data, turns):
    whole = HEADER + "".join(map(block_of, turns))
    place = data.draw(st.integers(0, len(whole)))
    try:
        found = parse_evaluation(whole[:place] + "\n" + whole[place:], EVALUATION)
    except DataError:
        return
    assert found == turns


@quick
@given(turns=turn_lists(), text=phrases)
def test_words_are_read_as_written(turns, text):
    whole = "".join(line_of(turn, text) for turn in turns)
    found = parse_transcription(whole, EVALUATION)
    assert found == {turn.id: text.strip() for turn in turns}


@settings(quick, max_examples=120)
@given(data=st.data(), turns=turn_lists(), text=phrases)
def test_no_damage_to_a_transcription_loses_or_moves_words(data, turns, text):
    whole = data.draw(changes("".join(line_of(turn, text) for turn in turns)))
    try:
        found = parse_transcription(whole, EVALUATION)
    except DataError:
        return
    lines = [line.strip() for line in whole.split("\n") if line.strip()]
    assert len(found) == len(lines)
    for line, (name, text_found) in zip(lines, found.items(), strict=True):
        assert TURN.fullmatch(name) and line.startswith(f"{name} [")
        assert line.split("]:", 1)[1].strip() == text_found


@quick
@given(
    text=st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("utf-8", "replace"))
)
def test_any_text_is_read_or_refused(text):
    for parse in (parse_evaluation, parse_transcription):
        for whole in (text, HEADER + text, HEADER + BLOCK + text):
            try:
                parse(whole, EVALUATION)
            except DataError:
                continue


# --- a dialog ---


def test_turns_come_by_start_and_overlap(root):
    turns = [
        turn_of(f"{DIALOG}_F000", start=1.0, end=4.0),
        turn_of(f"{DIALOG}_F001", start=6.0, end=7.0),
        turn_of(f"{DIALOG}_M000", start=3.0, end=6.5),
        turn_of(f"{DIALOG}_M001", start=3.0, end=3.5),
    ]
    write_dialog(root, DIALOG, turns, words="caf\u00e9")
    dialog = list_release(root).dialogs[0]
    found = read_turns(dialog)
    assert [turn.id[-4:] for turn in found] == ["F000", "M000", "M001", "F001"]
    assert {turn.text for turn in found} == {"caf\u00e9"}
    assert len(read_all_turns(list_release(root).dialogs)) == 4 + 8


def test_bytes_that_are_no_utf8_are_replaced(root):
    path = root / "Session1" / "dialog" / "transcriptions" / f"{DIALOG}.txt"
    path.write_bytes(path.read_bytes().replace(b"nothing", b"n\xe9thing"))
    turns = read_turns(list_release(root).dialogs[0])
    assert turns[0].text == "n\ufffdthing much"


def test_both_files_must_have_the_same_turns(root):
    folder = root / "Session1" / "dialog"
    words = folder / "transcriptions" / f"{DIALOG}.txt"
    whole = words.read_text()
    words.write_text(whole.splitlines(keepends=True)[0])
    with pytest.raises(DataError, match=rf"{words}: expected a line for each turn .*{DIALOG}_M000"):
        read_turns(list_release(root).dialogs[0])
    words.write_text(whole + whole.replace("000 ", "001 "))
    summary = folder / "EmoEvaluation" / f"{DIALOG}.txt"
    with pytest.raises(DataError, match=rf"{summary}: expected a line .*{DIALOG}_F001"):
        read_turns(list_release(root).dialogs[0])


# --- finding and listing the release ---


@pytest.mark.parametrize(
    "name", ["IEMOCAP_full_release", "IEMOCAP", "IEMOCAP/IEMOCAP_full_release"]
)
def test_the_release_is_found_in_any_folder_that_people_give(root, tmp_path, name):
    place = tmp_path / "elsewhere" / name
    place.parent.mkdir(parents=True)
    root.rename(place)
    for given_folder in (place, place.parent, tmp_path / "elsewhere"):
        assert find_release(str(given_folder)) == place


def test_a_wrong_path_is_reported_with_what_was_found(root, tmp_path):
    for folder, expected in (
        (tmp_path / "nowhere", "nowhere: not found; give the folder"),
        (
            root / "Session1",
            f"is one session of IEMOCAP; give the folder that holds all five, {root}",
        ),
        (
            root / "Session1" / "dialog",
            "expected Session1 to Session5, .* found EmoEvaluation, avi",
        ),
        (root / "Session1" / "dialog" / "EmoEvaluation" / f"{DIALOG}.txt", "found a file; unpack"),
    ):
        with pytest.raises(DataError, match=expected):
            find_release(folder)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "._Session1").mkdir()
    with pytest.raises(DataError, match="found nothing; give the folder"):
        find_release(tmp_path / "empty")


def test_dialogs_come_with_their_files(root):
    release = list_release(root)
    assert [dialog.name for dialog in release.dialogs] == [f"Ses0{s}F_impro01" for s in range(1, 6)]
    first = release.dialogs[0]
    assert first.session == 1 and first.has_sound and first.video is not None
    assert all(path.is_file() for path in (first.evaluation, first.transcription, first.video))
    assert first.sound(f"{DIALOG}_F000").is_file()
    assert release.notes == ()


def test_names_with_a_dot_first_and_sub_folders_are_left_out(root):
    for place in ("dialog/EmoEvaluation", "dialog/transcriptions", "dialog/avi/DivX"):
        folder = root / "Session1" / place
        for path in list(folder.iterdir()):
            (folder / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
        (folder / ".DS_Store").write_bytes(b"\x00")
    for name in ("Attribute", "Categorical", "Self-evaluation"):
        (root / "Session1" / "dialog" / "EmoEvaluation" / name).mkdir()
    (root / "Session1" / "sentences" / "wav" / f"._{DIALOG}").mkdir()
    assert len(list_release(root).dialogs) == 5 and not list_release(root).notes


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("Session3", "missing"),
        ("Session3/dialog", "EmoEvaluation: missing"),
        ("Session3/dialog/EmoEvaluation", "missing (labels)"),
        ("Session3/dialog/transcriptions", "missing (words)"),
        ("Session3/sentences", "wav: missing (sound of the turns)"),
        ("Session3/dialog/avi", "DivX: missing (videos)"),
        ("Session3/dialog/transcriptions/Ses03F_impro01.txt", "missing"),
        ("Session3/dialog/EmoEvaluation/Ses03F_impro01.txt", "missing"),
        ("Session3/sentences/wav/Ses03F_impro01", "missing"),
    ],
)
def test_a_half_unpacked_archive_is_reported_with_what_is_missing(root, tmp_path, gone, message):
    (root / gone).rename(tmp_path / "gone")
    with pytest.raises(DataError) as error:
        list_release(root)
    assert str(root / gone) in str(error.value) and message in str(error.value)
    assert "unpack the whole release again" in str(error.value)
    partial = list_release(root, allow_partial=True)
    assert len(partial.dialogs) == (
        4 if "Session3/sentences" not in gone and "avi" not in gone else 5
    )
    assert any(message in note for note in partial.notes)


def test_what_no_modality_needs_may_be_missing(root, tmp_path):
    (root / "Session2" / "sentences").rename(tmp_path / "sounds")
    (root / "Session2" / "dialog" / "avi").rename(tmp_path / "videos")
    release = list_release(root, ("text",))
    assert release.notes == () and not release.dialogs[1].has_sound
    assert release.dialogs[1].video is None and release.dialogs[0].video is not None
    with pytest.raises(DataError, match="videos"):
        list_release(root, ("face", "text"))


def test_a_single_missing_video_is_a_note(root):
    video = root / "Session2" / "dialog" / "avi" / "DivX" / "Ses02F_impro01.avi"
    video.unlink()
    release = list_release(root)
    assert release.dialogs[1].video is None
    assert release.notes == (f"{video}: missing",)


def test_a_summary_of_no_dialog_of_the_session_is_an_error(root):
    stray = root / "Session1" / "dialog" / "EmoEvaluation" / "Ses02F_impro02.txt"
    stray.write_text("")
    with pytest.raises(DataError, match="expected the name of a dialog of session 1"):
        list_release(root)


def test_nothing_to_read_is_an_error_even_of_a_part(tmp_path):
    (tmp_path / "Session1").mkdir()
    with pytest.raises(DataError, match="expected dialogs with labels"):
        list_release(tmp_path, allow_partial=True)


def test_a_folder_that_may_not_be_read_is_reported(root, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(DataError, match=rf"{root}: may not be read by this user"):
        list_release(root)
    monkeypatch.undo()
    dialogs = list_release(root).dialogs
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(DataError, match=f"{DIALOG}.txt: may not be read by this user"):
        read_turns(dialogs[0])
    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(DataError, match="may not be read by this user"):
        find_release(root)


def test_nothing_is_written_into_the_release(root, tmp_path):
    assert refuse_inside(root, tmp_path / "runs") == tmp_path / "runs"
    for place in (root, root / "runs", root / "Session1" / ".." / "cache"):
        with pytest.raises(OutputError, match="only read"):
            refuse_inside(root, place)


# --- an artificial corpus ---


def contents(root):
    """Return size and time of every file, to detect writing."""
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(root.rglob("*"))
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    config = CorpusConfig(turns=200, media=False, oddities=True)
    return write_corpus(tmp_path_factory.mktemp("corpus"), config)


def test_an_artificial_corpus_is_read_with_all_its_oddities(corpus):
    before = contents(corpus)
    release = list_release(corpus.parent, ("text",))
    turns = read_all_turns(release.dialogs)
    assert contents(corpus) == before
    assert len(turns) == len({turn.id for turn in turns}) == 200
    assert {turn.label for turn in turns} == set(IEMOCAP_CODES)
    assert {turn.speaker for turn in turns} == {f"Ses0{s}{f}" for s in range(1, 6) for f in "FM"}
    names = {dialog.name for dialog in release.dialogs}
    assert {"Ses03M_impro05a", "Ses05M_script01_1b"} <= names <= set(ALL_DIALOGS)
    for dialog in release.dialogs:
        starts = [turn.start for turn in turns if turn.dialog == dialog.name]
        assert starts == sorted(starts)
    ratings = [rating for turn in turns for rating in turn.ratings]
    assert any(len(rating.labels) > 1 for rating in ratings)
    assert any(rating.valence and rating.dominance is None for rating in ratings)
    assert any(rating.by_actor for rating in ratings)
    words_found = " ".join(turn.text for turn in turns)
    assert (
        "]:" in words_found
        and "\ufffd" in words_found
        and "[" not in without_tags("[LAUGHTER] well")
    )


def test_means_are_of_the_outside_raters(corpus):
    for turn in read_all_turns(list_release(corpus, ("text",)).dialogs):
        for name in ("valence", "arousal", "dominance"):
            outside = [getattr(rating, name) for rating in turn.ratings if not rating.by_actor]
            known = [value for value in outside if value is not None]
            assert getattr(turn, name) == pytest.approx(sum(known) / len(known), abs=1e-4)


def test_an_artificial_corpus_has_sound_and_video_where_it_should(tmp_path):
    corpus = write_corpus(tmp_path, CorpusConfig(turns=20, sessions=(1,), seconds=0.4))
    before = contents(corpus)
    release = list_release(corpus, allow_partial=True)
    assert contents(corpus) == before
    for dialog in release.dialogs:
        assert all(dialog.sound(turn.id).is_file() for turn in read_turns(dialog))
        assert dialog.video is None or dialog.video.is_file()
    videos = sum(dialog.video is not None for dialog in release.dialogs)
    assert len(release.notes) == 4 + len(release.dialogs) - videos  # four sessions are missing


# --- the published counts ---


def test_the_published_dialogs_are_151():
    assert len(set(ALL_DIALOGS)) == 151
    assert "Ses05M_script01_1b" in ALL_DIALOGS and "Ses03M_impro05" not in ALL_DIALOGS


def test_published_counts_agree_with_each_other():
    counts = published_counts.published_counts()
    assert counts["dialogs"] == 151
    assert counts["turns"] == sum(published_counts.LABELS.values()) == 10_039
    assert sum(published_counts.KINDS.values()) == sum(published_counts.LETTERS.values()) == 10_039
    assert counts["turns of four classes"] == 5_531
    four = {
        "anger": ("ang",),
        "happiness": ("hap", "exc"),
        "sadness": ("sad",),
        "neutral": ("neu",),
    }
    for label, codes in four.items():
        assert sum(published_counts.FOUR[label]) == sum(
            published_counts.LABELS[code] for code in codes
        )
    assert [sum(row) for row in zip(*published_counts.FOUR.values(), strict=True)] == [
        1085,
        1023,
        1151,
        1031,
        1241,
    ]
    sessions = [counts[f"session {session}, dialogs"] for session in range(1, 6)]
    assert sessions == [28, 30, 32, 30, 31]


def test_a_whole_release_has_no_differences():
    turns = whole_release()
    assert published_counts.check_counts(turns) == []
    assert published_counts.off_scale(turns) == ""


def test_every_difference_is_reported_in_a_table():
    turns = [turn for turn in whole_release() if turn.dialog != "Ses04F_impro03"]
    gone = 10_039 - len(turns)
    turns[0] = replace(turns[0], label="oth", valence=5.5)
    with pytest.raises(DataError) as error:
        published_counts.check_counts(turns)
    message = str(error.value)
    assert re.search(r"^dialogs +151 +150 +-1$", message, re.MULTILINE)
    assert re.search(rf"^turns +10,039 +{10_039 - gone:,} +-{gone}$", message, re.MULTILINE)
    assert re.search(r"^label oth \(other\) +3 +4 +\+1$", message, re.MULTILINE)
    assert re.search(r"^session 4, dialogs +30 +29 +-1$", message, re.MULTILINE)
    assert "session 2" not in message and "missing dialogs: Ses04F_impro03\n" in message
    assert "allow_partial=true" in message
    found = published_counts.check_counts(turns, allow_partial=True)
    assert published_counts.Difference("dialogs", 151, 150) in found
    assert published_counts.off_scale(turns).endswith("outside the scale from 1 to 5: 1")
    header = ["count", "published", "found", "difference"]
    assert published_counts.differences_table([]).split() == header


def test_a_session_that_is_missing_is_named_once():
    turns = [turn for turn in whole_release() if turn.session != 2]
    with pytest.raises(DataError, match="missing dialogs: all of session 2\n"):
        published_counts.check_counts(turns)


def test_an_unknown_dialog_is_a_difference():
    turns = [*whole_release(), turn_of("Ses01F_impro42_F000")]
    assert published_counts.Difference(
        "dialog Ses01F_impro42", 0, 1
    ) in published_counts.differences(turns)
