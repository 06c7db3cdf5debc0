"""The artificial IEMOCAP corpus, checked against the real release's format and counts."""

import hashlib
import re
import subprocess
import sys
import wave
from collections import Counter
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy
import pytest
from conftest import ROOT
from iemocap_corpus import CorpusConfig, main, write_corpus
from iemocap_faces import LEFT_CAST, draw_actor, express, look_of
from iemocap_plan import TICKS, dialog_names, plan_corpus
from iemocap_voices import SAMPLE_RATE, speak, voice_of

from multimodal_fer.face.detection import find_faces
from multimodal_fer.media.container import probe
from multimodal_fer.media.frames import iter_frames

CONFIG = CorpusConfig(seconds=1.0)
TURN = re.compile(r"^Ses0([1-5])([FM])_(impro\d{2}[ab]?|script\d{2}_\d[ab]?)_([FM])(\d{3}|XX\d)$")
SUMMARY = re.compile(
    r"^\[(\d+\.\d{4}) - (\d+\.\d{4})\]\t(\w+)\t(\w{3})\t\[(\d\.\d{4}), (\d\.\d{4}), (\d\.\d{4})\]$"
)
CATEGORY = re.compile(r"^C-([EFM]\d):\t((?:[A-Z][a-z]+; ?)+)\t\((.*)\)$")
ATTRIBUTE = re.compile(
    r"^A-([EFM]\d):\tval (\d); act (\d); dom(?:  (\d)|  |);\t\((.*)\)$"  # two spaces
)
SPOKEN = re.compile(r"^(Ses\S+) \[(\d{3}\.\d{4})-(\d{3}\.\d{4})\]: (.+)$")
LABELS = {"ang", "hap", "exc", "sad", "neu", "fru", "sur", "fea", "oth", "dis", "xxx"}


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), CONFIG)


@pytest.fixture(scope="module")
def plan():
    return plan_corpus(CONFIG)


def visible(release: Path, pattern: str) -> list[Path]:
    return sorted(path for path in release.glob(pattern) if not path.name.startswith("."))


def summaries(release: Path) -> list[Path]:
    return visible(release, "Session*/dialog/EmoEvaluation/*.txt")


def read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


def summary_rows(release: Path) -> list[re.Match[str]]:
    lines = [line for path in summaries(release) for line in read(path).split("\n")]
    return [match for line in lines if (match := SUMMARY.match(line))]


def spoken_rows(release: Path) -> list[re.Match[str]]:
    paths = visible(release, "Session*/dialog/transcriptions/*.txt")
    lines = [line for path in paths for line in read(path).split("\n")]
    return [match for line in lines if (match := SPOKEN.match(line))]


def read_wav(path: Path) -> numpy.ndarray:
    with wave.open(str(path), "rb") as file:
        assert (file.getframerate(), file.getsampwidth()) == (16_000, 2)
        samples = numpy.frombuffer(file.readframes(file.getnframes()), "<i2")
        return samples.reshape(-1, file.getnchannels())


# --- text ---


def test_summary_files_have_the_format(release):
    for path in summaries(release):
        header, blank, *lines = read(path).split("\n")
        assert header == "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]" and blank == ""
        assert lines[-2:] == ["", ""], "a block, and so the file, ends with an empty line"
        blocks = [block.split("\n") for block in "\n".join(lines).strip("\n").split("\n\n")]
        names, starts = [], []
        for summary, *raters in blocks:
            match = SUMMARY.match(summary)
            assert match and match[4] in LABELS
            assert float(match[1]) < float(match[2])
            turn = TURN.match(match[3])
            assert turn and match[3].startswith(path.stem + "_") and turn[5].isdigit()
            kinds = [rater[0] for rater in raters]
            assert kinds == sorted(kinds, reverse=True) and kinds.count("C") >= 3
            assert all(CATEGORY.match(line) or ATTRIBUTE.match(line) for line in raters)
            names.append(turn[4] + turn[5])
            starts.append((turn[4], float(match[1])))
        assert starts == sorted(starts), "all turns of the woman, then all of the man, each by time"
        for speaker in "FM":
            own = [name for name in names if name[0] == speaker]
            assert own == [f"{speaker}{number:03d}" for number in range(len(own))]


def test_means_leave_the_actors_out(release):
    with_actor = 0
    for path in summaries(release):
        for block in read(path).split("\n\n")[1:]:
            lines = block.split("\n")
            summary = SUMMARY.match(lines[0])
            if not summary:
                continue
            rows = [match for line in lines if (match := ATTRIBUTE.match(line))]
            outside = [row for row in rows if row[1][0] == "E"]
            with_actor += len(rows) > len(outside)
            for group in (2, 3, 4):
                values = [int(row[group]) for row in outside if row[group]]
                expected = sum(values) / len(values)
                assert float(summary[group + 3]) == pytest.approx(expected, abs=1e-4)
    assert with_actor


def test_labels_are_majority_votes(release):
    words = {"neu": "Neutral", "exc": "Excited", "hap": "Happiness", "fru": "Frustration"}
    for path in summaries(release):
        for block in read(path).strip().split("\n\n")[1:]:
            lines = block.split("\n")
            summary = SUMMARY.match(lines[0])
            assert summary
            votes = [match for line in lines if (match := CATEGORY.match(line))]
            outside = [vote[2] for vote in votes if vote[1][0] == "E"]
            votes_of = Counter(word for vote in outside for word in vote.strip("; ").split("; "))
            if summary[4] == "xxx":
                assert max(votes_of.values()) == 1
            elif summary[4] in words:
                assert votes_of[words[summary[4]]] >= 2


def test_transcripts_and_labels_match_one_to_one(release):
    labelled = {row[3]: (float(row[1]), float(row[2])) for row in summary_rows(release)}
    spoken = [row for row in spoken_rows(release) if "XX" not in row[1]]
    assert len(labelled) == len(spoken) == CONFIG.turns
    assert {row[1]: (float(row[2]), float(row[3])) for row in spoken} == labelled
    for path in visible(release, "Session*/dialog/transcriptions/*.txt"):
        starts = [
            float(match[2]) for line in read(path).split("\n") if (match := SPOKEN.match(line))
        ]
        assert starts == sorted(starts)


def test_lab_files_hold_every_turn(release):
    for path in visible(release, "Session*/dialog/lab/Ses0*_[FM]/*.lab"):
        _, *rows = read(path).splitlines()
        assert all(re.match(r"^\d+\.\d+ \d+\.\d+ Ses\w+$", row) for row in rows)
        assert all(row.rsplit("_", 1)[1][0] == path.parent.name[-1] for row in rows)
    lab = visible(release, "Session*/dialog/lab/*/*.lab")
    named = {row.split()[2] for path in lab for row in read(path).splitlines()[1:]}
    assert named == {row[1] for row in spoken_rows(release)}


def test_every_session_has_the_four_classes(release):
    rows = summary_rows(release)
    for session in range(1, 6):
        found = {row[4] for row in rows if row[3].startswith(f"Ses0{session}")}
        assert {"ang", "hap", "sad", "neu"} <= found


# --- oddities ---


def test_odd_names_and_labels(release):
    names = {path.stem for path in summaries(release)}
    assert {"Ses03M_impro05a", "Ses05M_script01_1b"} <= names
    assert {name[5] for name in names} == {"F", "M"}
    assert {row[4] for row in summary_rows(release)} == LABELS
    assert not visible(release, "Session5/dialog/MOCAP_*/Ses05M_script01_1b.txt")
    assert visible(release, "Session3/dialog/MOCAP_*/Ses03M_impro05a.txt")


@pytest.mark.parametrize(
    "place",
    [
        "dialog/EmoEvaluation/._Ses*.txt",
        "dialog/transcriptions/._Ses*.txt",
        "dialog/wav/._Ses*.wav",
        "dialog/avi/DivX/._Ses*.avi",
        "sentences/wav/*/._Ses*.wav",
    ],
)
def test_junk_of_macos(release, place):
    for path in (paths := list(release.glob(f"Session*/{place}"))):
        assert path.read_bytes().startswith(b"\x00\x05\x16\x07")
        assert path.with_name(path.name.removeprefix("._")).exists()
    assert paths


def test_odd_transcript_lines(release):
    paths = visible(release, "Session*/dialog/transcriptions/*.txt")
    lines = [line for path in paths for line in read(path)[:-1].split("\n")]
    assert any(line.startswith("M: ") for line in lines)
    assert any(line.startswith("F: ") for line in lines)
    assert "" in lines
    rows = spoken_rows(release)
    unlabelled = [row[1] for row in rows if "XX" in row[1]]
    assert any(name.endswith("_MXX0") for name in unlabelled)
    assert any(name.endswith("_FXX1") for name in unlabelled)
    texts = [row[4] for row in rows]
    assert any("]: " in text for text in texts)
    assert any(re.search(r"\d:\d", text) for text in texts)
    assert any(re.match(r"\[[A-Z]+\]", text) for text in texts)
    assert any("\ufffd" in text for text in texts)


def test_odd_evaluator_lines(release):
    lines = [line for path in summaries(release) for line in read(path).split("\n")]
    categories = [match for line in lines if (match := CATEGORY.match(line))]
    assert any(match[2].count(";") > 1 for match in categories)
    assert any(";" in match[3] for match in categories)
    assert any("\ufffd" in match[3] for match in categories)
    assert any("; dom;" in line for line in lines) and any("; dom  ;" in line for line in lines)


def test_turns_of_one_actor_do_not_overlap(release, plan):
    overlaps = 0
    for dialog in plan:
        for turn, later in pairwise(dialog.turns):
            overlaps += later.start < turn.end
        for speaker in "FM":
            own = [turn for turn in dialog.turns if turn.speaker == speaker]
            assert all(b.start > a.end for a, b in pairwise(own))
    assert overlaps > len(plan) / 2


def test_sub_directories_hold_other_formats(release):
    folder = "Session*/dialog/EmoEvaluation"
    for path in visible(release, f"{folder}/Categorical/*_e[1-6]_cat.txt"):
        assert all(
            re.match(r"^Ses\w+ :[A-Z][a-z ]+; \(\)$", row) for row in read(path).splitlines()
        )
    for path in visible(release, f"{folder}/Attribute/*_e[1-6]_atr.txt"):
        form = r"^Ses\w+ :act \d; :val \d; :dom \d?; \(\)$"
        assert all(re.match(form, row) for row in read(path).splitlines())
    for part in ("Categorical/*.anvil", "Attribute/*.anvil", "Self-evaluation/*_[fm][1-5].txt"):
        assert visible(release, f"{folder}/{part}")
    texts = [read(path) for path in visible(release, f"{folder}/Categorical/*.txt")]
    assert any(":Neutral state;" in text for text in texts)


def test_documentation(release):
    names = {path.name for path in (release / "Documentation").iterdir()}
    assert names == {
        "corpus.dic", "FIVE_face_markers2.png", "HumaineInfo.txt", "phonemes.txt", "timeinfo.txt",
    }  # fmt: skip
    assert "artificial" in read(release / "README.txt")


def test_without_oddities_only_the_format_is_left(tmp_path):
    root = write_corpus(tmp_path, CorpusConfig(turns=40, media=False, oddities=False))
    assert not list(root.rglob("._*")) and not list(root.rglob("*.wav"))
    assert len(summary_rows(root)) == len(spoken_rows(root)) == 40
    texts = [path.read_text("utf-8") for path in root.rglob("*.txt")]
    assert not any("dom;" in text or "dom  ;" in text or "XX" in text for text in texts)
    assert all(
        dialog.picture == dialog.length for dialog in plan_corpus(CorpusConfig(oddities=False))
    )


# --- sound ---


def test_sentences_are_cut_out_of_their_actors_channel(release):
    dialogs = {path.stem: read_wav(path) for path in visible(release, "Session*/dialog/wav/*.wav")}
    rows = summary_rows(release)
    for row in rows:
        dialog, turn = row[3].rsplit("_", 1)
        path = release / f"Session{dialog[4]}" / "sentences" / "wav" / dialog / f"{row[3]}.wav"
        cut = read_wav(path)
        assert cut.shape[1] == 1 and path.stat().st_size == 44 + 2 * len(cut)
        start, end = (round(float(row[group]) * TICKS) for group in (1, 2))
        assert len(cut) == (end - start) * SAMPLE_RATE // TICKS
        first = start * SAMPLE_RATE // TICKS
        assert dialogs[dialog].shape[1] == 2
        # The left microphone is that of the actor who wears the markers.
        channel = dialogs[dialog][:, 0 if turn[0] == dialog[5] else 1]
        assert numpy.array_equal(cut[:, 0], channel[first : first + len(cut)])
    assert len(visible(release, "Session*/sentences/wav/*/*.wav")) == len(rows)


def test_arousal_changes_voices_and_speakers_differ():
    def loudness_and_pitch(arousal: float, speaker: str = "F") -> tuple[float, float]:
        random = numpy.random.default_rng(0)
        sound = speak(2 * SAMPLE_RATE, voice_of(1, speaker), arousal, random)
        spectrum = numpy.abs(numpy.fft.rfft(sound * numpy.hanning(len(sound)))) ** 2
        return float(sound.std()), float(numpy.fft.irfft(spectrum)[30:300].argmax() + 30)

    (quiet, long), (loud, short) = loudness_and_pitch(-1), loudness_and_pitch(1)
    assert loud > 2.5 * quiet and long > 1.2 * short
    assert loudness_and_pitch(0, "M")[1] > 1.3 * loudness_and_pitch(0, "F")[1]
    assert (
        len({voice_of(session, speaker).pitch for session in range(1, 6) for speaker in "FM"}) == 10
    )


# --- picture ---


def test_videos_have_the_release_s_geometry_and_two_faces(release, plan):
    for path in visible(release, "Session*/dialog/avi/DivX/*.avi")[::3]:
        dialog = next(dialog for dialog in plan if dialog.name == path.stem)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height) == (720, 480)
            assert stream.average_rate == Fraction(30_000, 1001)
            assert (stream.codec_context.name, stream.codec_context.codec_tag) == ("mpeg4", "DX50")
            assert not container.streams.audio
        for frame in iter_frames(path, 1.0):
            assert frame.image[:112].max() < 30 and frame.image[368:].max() < 30
            for side, half in enumerate((frame.image[120:360, :360], frame.image[120:360, 360:])):
                found = find_faces(half)
                assert len(found.boxes) == 1 and found.confidences[0] > 0.8
                width = found.boxes[0][2] - found.boxes[0][0]
                assert 55 < width < 110
                actors = "FM" if path.stem[5] == "F" else "MF"
                cast = LEFT_CAST if side == 0 else (1.0, 1.0, 1.0)
                shirt = numpy.array(look_of(dialog.session, actors[side]).shirt) * cast
                assert half[-6:, 170:190].mean((0, 1)) == pytest.approx(shirt, abs=10)


def test_a_mood_shows_on_the_speaking_face_only(plan):
    turns = [turn for dialog in plan for turn in dialog.labelled]
    glad = max(turns, key=lambda turn: turn.mood)
    sad = min(turns, key=lambda turn: turn.mood)
    assert express(glad, 0.0).mood == 4 and express(sad, 0.0).mood == -4
    assert express(None, 1.0).mood == express(None, 1.0).opening == 0
    look = look_of(1, "F")
    smile, frown = (draw_actor(look, express(turn, 1.0), False) for turn in (glad, sad))
    changed = numpy.abs(smile.astype(int) - frown).max(2) > 30
    rows, columns = numpy.nonzero(changed)
    assert rows.size > 100 and columns.min() > 130 and columns.max() < 230, "within the face"


def test_one_video_is_short_and_one_missing(release, plan):
    lengths = {
        path.stem: probe(path).duration for path in visible(release, "Session*/**/DivX/*.avi")
    }
    assert len(lengths) == len(plan) - 1
    short = []
    for dialog in plan:
        if dialog.name not in lengths:
            assert dialog.picture == 0
            continue
        early = dialog.length / TICKS - lengths[dialog.name]
        if early > 0.1:
            short.append(dialog)
            assert early >= 2.0
            assert dialog.labelled[-1].start / TICKS > lengths[dialog.name]
    assert len(short) == 1


# --- size ---


def digest(root: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        found.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return found.hexdigest()


def test_the_seed_decides_everything(tmp_path):
    small = {"turns": 5, "sessions": (3,), "seconds": 0.5}
    seeds = (1, 1, 2)
    roots = [
        write_corpus(tmp_path / str(place), CorpusConfig(**small, seed=seed))
        for place, seed in enumerate(seeds)
    ]
    first, again, other = map(digest, roots)
    assert first == again != other


def test_the_whole_release_has_the_published_counts(tmp_path):
    root = write_corpus(tmp_path, CorpusConfig(turns=10_039, media=False))
    assert len(summaries(root)) == 151
    rows = summary_rows(root)
    turns = [(turn, row[4]) for row in rows if (turn := TURN.match(row[3]))]
    assert len(turns) == len(rows) == len({row[3] for row in rows}) == 10_039
    assert Counter(label for _, label in turns) == {
        "ang": 1103, "hap": 595, "exc": 1041, "sad": 1084, "neu": 1708, "fru": 1849,
        "sur": 107, "fea": 40, "oth": 3, "dis": 2, "xxx": 2507,
    }  # fmt: skip
    merged = [(int(turn[1]), "hap" if label == "exc" else label) for turn, label in turns]
    counts = Counter(merged)
    table = {
        label: [counts[session, label] for session in range(1, 6)]
        for label in ("ang", "hap", "sad", "neu")
    }
    assert table == {
        "ang": [229, 137, 240, 327, 170],
        "hap": [278, 327, 286, 303, 442],
        "sad": [194, 197, 305, 143, 245],
        "neu": [384, 362, 320, 258, 384],
    }
    sessions = Counter(session for session, _ in merged)
    assert [sessions[session] for session in range(1, 6)] == [1819, 1811, 2136, 2103, 2170]
    assert Counter(turn[4] for turn, _ in turns) == {"M": 5098, "F": 4941}
    improvised = Counter(label for turn, label in turns if turn[3].startswith("impro"))
    assert improvised.total() == 4784
    assert [improvised[label] for label in ("ang", "hap", "exc", "sad", "neu")] == [
        289, 284, 663, 608, 1099,
    ]  # fmt: skip
    sizes = Counter(row[3].rsplit("_", 1)[0] for row in rows)
    assert min(sizes.values()) >= 24 and max(sizes.values()) <= 167
    lines = [line for path in summaries(root) for line in read(path).split("\n")]
    assert sum(bool(re.search(r"; dom +;|; dom;", line)) for line in lines) == 36
    spoken = {row[1] for row in spoken_rows(root) if "XX" not in row[1]}
    assert spoken == {row[3] for row in rows}


def test_dialogs_of_the_release():
    assert [len(dialog_names(session)) for session in range(1, 6)] == [28, 30, 32, 30, 31]


@pytest.mark.parametrize("turns", [8, 33, 200, 1500])
def test_other_sizes(turns):
    dialogs = plan_corpus(CorpusConfig(turns=turns, sessions=(2, 5)))
    assert sum(len(dialog.labelled) for dialog in dialogs) == turns
    assert {dialog.session for dialog in dialogs} == {2, 5}
    assert all({turn.speaker for turn in dialog.turns} == {"F", "M"} for dialog in dialogs)


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="4 turns a session"):
        CorpusConfig(turns=10)
    with pytest.raises(ValueError, match="sessions out of"):
        CorpusConfig(sessions=(6,))


def test_command_line(tmp_path):
    script = ROOT / "tests" / "recipes" / "iemocap" / "corpus" / "iemocap_corpus.py"
    command = [sys.executable, script, tmp_path, "turns=8", "sessions=1,2", "media=0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    root = Path(done.stdout.strip())
    assert root == tmp_path / "IEMOCAP_full_release" and len(summary_rows(root)) == 8
    with pytest.raises(SystemExit, match="no such setting: turn"):
        main([str(tmp_path), "turn=8"])
