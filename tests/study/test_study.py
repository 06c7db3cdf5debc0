"""Check studies: names of sessions, tables, pages, interrupted runs, unreadable files and workers."""

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import wave
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from conftest import SAMPLE, every, tone, write_clip
from sklearn.metrics import cohen_kappa_score

from multimodal_fer.errors import (
    DataError,
    MediaError,
    OutputError,
    SpeechUnavailableError,
    WeightsError,
)
from multimodal_fer.study import run_study
from multimodal_fer.study.agreement import (
    MIN_SEGMENTS,
    agreement_table,
    cohen_kappa,
    emotions_of,
    measure,
)
from multimodal_fer.study.sessions import find_sessions, name_session, read_table
from multimodal_fer.study.workers.job import Setup, Worker
from multimodal_fer.study.workers.local import run_local
from multimodal_fer.types import Analysis, Segment
from multimodal_fer.utils.files import locked
from multimodal_fer.utils.process_pool import PoolError, run_in_processes

COMMAND = [sys.executable, "-m", "multimodal_fer.cli", "study"]
FAST = ["--speech-model", "none"]
GOOD = ("P01_a.mp4", "P02/a.mp4", "P02/b.txt", "P03/P03_a.wav", "P04 a.mp4")


@pytest.fixture(scope="module")
def sessions(tmp_path_factory, portrait):
    """Write five sessions of four people: video, voice and text, two of them with the same name."""
    folder = tmp_path_factory.mktemp("sessions")
    for sub in ("P02", "P03"):
        (folder / sub).mkdir()
    for number, name in enumerate(("P01_a.mp4", "P02/a.mp4", "P04 a.mp4"), start=2):
        write_clip(
            folder / name,
            frame_times=every(number / 2, 10),
            picture=lambda _: portrait,
            sound=tone(number / 2, 16_000),
            rate=16_000,
        )
    write_clip(folder / "P03/P03_a.wav", sound=tone(1.0, 16_000), rate=16_000)
    (folder / "P02/b.txt").write_text("That was easy, I love it.", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def pool():
    """Return a pool that analyses files in this process, loads the models once and records the files."""
    workers: dict[Setup, Worker] = {}

    def here(files, setup, workers_):
        pool.given.extend(files)
        key = Setup(
            folder="", bundle=setup.bundle, frame_rate=setup.frame_rate, speech_model="none"
        )
        workers.setdefault(key, Worker(key)).setup = setup
        return (workers[key].answer(file) for file in files)

    pool = here
    pool.given = []
    return pool


def run(folder, results, pool, **settings):
    pool.given.clear()
    lines = []
    outcome = run_study(
        folder, results, pool=pool, speech_model="none", say=lines.append, **settings
    )
    return outcome, "\n".join(lines)


def rows_of(path):
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("file", "participant", "task"),
    [
        ("P03_checkout.mp4", "P03", "checkout"),
        ("P03-task2.wav", "P03", "task2"),
        ("P03 checkout flow.mp4", "P03", "checkout flow"),
        ("participant-12_search_retake.mp4", "participant-12", "search_retake"),
        ("007_intro.txt", "007", "intro"),
        ("P03/checkout.mp4", "P03", "checkout"),
        ("P03/task2.mp4", "P03", "task2"),
        ("group A/P03/checkout.mp4", "P03", "checkout"),
        ("P03/day 1/checkout.mp4", "day 1", "checkout"),
        ("checkout/P03.mp4", "P03", "checkout"),
        ("P03.mp4", "P03", ""),
        ("task2_checkout.mp4", "task2", "checkout"),
        ("anna_checkout.mp4", "anna", "checkout"),
        ("anna/checkout.mp4", "anna", "checkout"),
        ("Zoë-søk.mp4", "Zoë", "søk"),
    ],
)
def test_sessions_are_named_by_files_and_folders(file, participant, task):
    assert name_session(file)[:3] == (file, participant, task)


def test_a_table_names_sessions_and_carries_more(sessions, tmp_path):
    table = tmp_path / "people.csv"
    table.write_text(
        '\ufefffile;participant;task;age\nP01_a.mp4;Ann;pay;30\nP02\\a.mp4;Bo;pay;"4\n1"\nP03_a.wav;Cy;say;9\n'
        "gone.mp4;Di;pay;1\n",
        encoding="utf-8",
    )
    found = find_sessions(sessions, table)
    assert [session.file for session in found.sessions] == sorted(GOOD)
    assert {
        session.file: (session.participant, session.task, session.more)
        for session in found.sessions
    } == {
        "P01_a.mp4": ("Ann", "pay", {"age": "30"}),
        "P02/a.mp4": ("Bo", "pay", {"age": "4\n1"}),
        "P02/b.txt": ("P02", "b", {"age": ""}),
        "P03/P03_a.wav": ("Cy", "say", {"age": "9"}),  # its bare name is enough
        "P04 a.mp4": ("P04", "a", {"age": ""}),
    }
    assert found.problems == [("gone.mp4", "listed in people.csv, but the folder has no such file")]
    assert found.notes == ["files not listed in people.csv, named by their file names: 2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,task\na,b\n",
            "expected the columns file, participant, task, each once; found file, task",
        ),
        ("file,participant,task,task\n", "each once"),
        ("file,participant,task\na,b\n", "line 2 has more or fewer fields"),
        ("file,participant,task\na,b,c,d\n", "line 2 has more or fewer fields"),
        ("file,participant,task\na,b,c\n./a,d,e\n", "lists a twice"),
        ('file,participant,task\n"a,b,c\n', "is not valid CSV"),
        ("file,participant,task\n", "lists no file"),
        ("", "found $"),
    ],
)
def test_tables_that_cannot_be_used(text, message, tmp_path):
    path = tmp_path / "people.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_table(path)
    path.write_bytes("file,participant,task\nä,b,c\n".encode("latin-1"))
    with pytest.raises(DataError, match="expected a CSV in UTF-8"):
        read_table(path)


def test_nothing_to_analyse(tmp_path):
    with pytest.raises(MediaError, match="expected a folder of sessions"):
        find_sessions(tmp_path / "none")
    (tmp_path / "notes.docx").write_bytes(b"1")
    with pytest.raises(MediaError, match=r"holds no video, audio or \.txt file"):
        find_sessions(tmp_path)


def test_tables_and_pages(sessions, tmp_path, pool):
    results = tmp_path / "results"
    outcome, _ = run(sessions, results, pool)
    assert (outcome.answered, outcome.kept, outcome.problems) == (5, 0, ())
    rows = rows_of(results / "sessions.csv")
    assert [row["file"] for row in rows] == sorted(GOOD)
    assert [row["kind"] for row in rows] == ["video", "video", "text", "audio", "video"]
    answer = json.loads((results / "sessions/P01_a.mp4.json").read_text())
    assert answer["path"] == "P01_a.mp4"  # no folder of this machine
    assert rows[0]["emotion"] == answer["emotion"] == "happiness"
    assert float(rows[0]["score_happiness"]) == answer["scores"]["happiness"]
    segments = rows_of(results / "segments.csv")
    assert [row["participant"] for row in segments] == ["P01", "P02", "P02", "P03", "P04"]
    assert segments[0]["emotion_face"] == "happiness" and segments[0]["change_happiness"] == ""
    assert (
        segments[2]["emotion_text"] == "happiness"
        and segments[2]["text"] == "That was easy, I love it."
    )
    assert rows_of(results / "errors.csv") == []
    for file in GOOD:
        assert (results / "sessions" / f"{file}.html").stat().st_size > 1000


def test_parquet_holds_what_the_csv_does(sessions, tmp_path, pool, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    table = tmp_path / "people.csv"
    table.write_text("file,participant,task,share of me\nP01_a.mp4,Ann,pay,n/a\n")
    results = tmp_path / "results"
    run(sessions, results, pool, participants=table)
    made = parquet.read_table(results / "segments.parquet")
    kinds = {name: str(made.schema.field(name).type) for name in made.column_names}
    assert {kinds[name] for name in ("start", "score_anger", "coverage_face", "change_fear")} == {
        "double"
    }
    assert (kinds["face_id"], kinds["unsure"], kinds["share of me"]) == ("int64", "bool", "string")
    assert kinds["spoken"] == "bool"
    rows = rows_of(results / "segments.csv")
    for row, values in zip(rows, made.to_pylist(), strict=True):
        assert row == {k: "" if v is None else str(v) for k, v in values.items()}
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    _, printed = run(sessions, results, pool, participants=table)
    assert "needs pyarrow" in printed and not (results / "segments.parquet").exists()
    assert rows_of(results / "segments.csv") == rows


def test_columns_that_the_results_have_are_refused_before_any_work(sessions, tmp_path, pool):
    table = tmp_path / "people.csv"
    for column in ("emotion", "score_of_mine"):
        table.write_text(f"file,participant,task,{column}\nP01_a.mp4,Ann,pay,1\n")
        with pytest.raises(
            DataError, match=f"a column '{column}', which the results also have; rename it"
        ):
            run(sessions, tmp_path / "results", pool, participants=table)
    assert pool.given == []


def test_finished_sessions_are_kept_until_something_changes(sessions, tmp_path, pool):
    folder, results = tmp_path / "sessions", tmp_path / "results"
    (folder / "P02").mkdir(parents=True)
    for name in ("P01_a.mp4", "P02/b.txt"):
        (folder / name).write_bytes((sessions / name).read_bytes())
    run(folder, results, pool)
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    outcome, printed = run(folder, results, pool)
    assert (
        pool.given == [] and outcome.kept == 2 and "2 of 2 sessions are already finished" in printed
    )
    assert before == {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}

    (folder / "P02/b.txt").write_text("I hate it.")
    run(folder, results, pool)
    assert pool.given == ["P02/b.txt"]
    run(folder, results, pool, frame_rate=4)
    assert pool.given == ["P01_a.mp4"]  # texts do not depend on the frame rate

    answer = results / "sessions/P01_a.mp4.json"
    answer.write_text(answer.read_text().replace("happiness", "anger"))  # not the computed answer
    run(folder, results, pool, frame_rate=4)
    assert pool.given == ["P01_a.mp4"]

    (folder / "P01_a.mp4").unlink()
    _, printed = run(folder, results, pool)
    assert "files no longer exist, such as P01_a.mp4" in printed
    assert [row["file"] for row in rows_of(results / "sessions.csv")] == ["P02/b.txt"]


def test_results_inside_the_folder_are_no_sessions(sessions, tmp_path, pool):
    folder = tmp_path / "sessions"
    folder.mkdir()
    (folder / "P01_a.mp4").write_bytes((sessions / "P01_a.mp4").read_bytes())
    for _ in range(2):
        outcome, _ = run(folder, folder / "results", pool, video=True)
    assert outcome.kept == 1 and (folder / "results/videos/P01_a.mp4.mp4").stat().st_size > 1000
    (folder / "results/videos/P01_a.mp4.mp4").unlink()
    run(folder, folder / "results", pool, video=True)
    assert pool.given == ["P01_a.mp4"]


class Page(HTMLParser):
    """The tags and links of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.headings = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href" and tag == "a"]
        assert not any(name.startswith("on") for name, _ in attrs)


def test_the_index_links_existing_files_and_escapes_text(tmp_path, pool):
    folder, results = tmp_path / "<b>study", tmp_path / "results"
    folder.mkdir()
    for name in ("P1_#50%?.txt", "javascript:alert(1).txt", "<img src=x>.txt"):
        (folder / name).write_text('I love <script>alert("x")</script> it & that')
    table = tmp_path / "people.csv"
    table.write_text(
        'file,participant,task,<i>more\nP1_#50%?.txt,<script>alert(1)</script>,"a""b",</td>\n'
    )
    run(folder, results, pool, participants=table)
    text = (results / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert (
        page.tags.count("script") == 1
        and "img" not in page.tags
        and "i" not in set(page.tags) - {"i"}
    )
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy and policy[1].replace("&#39;", "'").startswith(
        "default-src 'none'; script-src 'sha256-"
    )
    local = [link for link in page.links if not link.startswith("#")]
    assert len(local) >= 2 * 3 + 4
    for link in local:
        assert link.startswith("./") and (results / unquote(link)).is_file(), link


def test_agreement_is_that_of_scikit_learn():
    choose = random.Random(0)
    named = [(choose.choice("abc"), choose.choice("aabbc")) for _ in range(200)]
    expected = cohen_kappa_score(*zip(*named, strict=True))
    assert cohen_kappa(named) == pytest.approx(expected)
    assert cohen_kappa([("a", "a")] * 40) is None  # explained by chance alone


def analysis_of(*pairs):
    """Return an answer whose segments have these emotions of face and voice."""
    labels = ("neutral", "disgust")

    def scores(name):
        return {label: float(label == name) for label in (*labels, "contempt")}

    segments = [
        Segment(
            n, n + 1, None, None, None, False, {}, {}, {}, {"face": scores(a), "voice": scores(b)}
        )
        for n, (a, b) in enumerate(pairs)
    ]
    return Analysis(None, "open7@0", labels, segments=tuple(segments))


def test_agreement_with_too_few_segments_has_no_kappa():
    same, other = ("neutral", "neutral"), ("contempt", "neutral")
    few = emotions_of(analysis_of(*[same, other] * (MIN_SEGMENTS // 2 - 1)))
    face_voice, face_text, _ = measure([few])
    assert (face_voice.segments, face_voice.share, face_voice.kappa) == (
        MIN_SEGMENTS - 2,
        0.5,
        None,
    )
    assert "too few" in face_voice.note
    assert (face_text.segments, face_text.share, face_text.note) == (
        0,
        None,
        "no segment in which both have scores",
    )
    both = emotions_of(
        analysis_of(("contempt", "disgust"))
    )  # contempt counts as the bundle folds it
    enough = measure([few, both, both])[0]
    assert (enough.segments, enough.sessions, enough.note) == (MIN_SEGMENTS, 3, "")
    assert enough.kappa is not None and 0 < enough.kappa < 1
    table = agreement_table({"P1": [few], "P2": [both, both]})
    assert [row[0] for row in table.rows] == ["", "", "", "P1", "P1", "P1", "P2", "P2", "P2"]


def bad_files(folder, portrait):
    """Write one of every kind of bad file, and return what the message about each must contain."""
    (folder / "empty.mp4").write_bytes(b"")
    whole = write_clip(folder / "cut.mp4", frame_times=every(1, 10), picture=lambda _: portrait)
    whole.write_bytes(whole.read_bytes()[:-2000])
    (folder / "text.mp4").write_text("I am a text", encoding="utf-8")
    (folder / "latin.txt").write_bytes("Das war schön".encode("latin-1"))
    with wave.open(str(folder / "silent.wav"), "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
    (folder / "link.mp4").symlink_to(folder / "nowhere.mp4")
    expected = {
        "empty.mp4": "is empty (0 bytes)",
        "cut.mp4": "FFmpeg cannot open it",
        "text.mp4": "FFmpeg cannot open it",
        "latin.txt": "expected a text file in UTF-8",
        "silent.wav": "",
        "link.mp4": "broken link",
    }
    if os.geteuid() != 0:  # root may look into everything
        (folder / "closed").mkdir(mode=0)
        expected["closed"] = "check its permissions"
    return expected


def test_every_kind_of_bad_file_and_the_good_ones_are_answered(sessions, tmp_path, portrait):
    folder, results = tmp_path / "sessions", tmp_path / "results"
    for sub in ("a", "b"):
        (folder / sub).mkdir(parents=True)
        (folder / sub / "P01.mp4").write_bytes((sessions / "P01_a.mp4").read_bytes())
    # The header of this one comes first.
    (folder / "a" / "cut_late.mp4").write_bytes(SAMPLE.read_bytes()[:200_000])
    (folder / "notes.pdf").write_bytes(b"%PDF")
    (folder / ".hidden.mp4").write_bytes(b"")
    expected = bad_files(folder, portrait)
    done = subprocess.run(
        [*COMMAND, folder, "--out", results, *FAST], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert done.stdout.strip() == str(results / "index.html")
    errors = {row["file"]: row["error"] for row in rows_of(results / "errors.csv")}
    assert set(errors) == set(expected)
    for file, sentence in expected.items():
        assert sentence in errors[file] and str(folder) not in errors[file], errors[file]
        assert f"  {file}: {errors[file]}" in done.stderr
    rows = {row["file"]: row for row in rows_of(results / "sessions.csv")}
    assert list(rows) == [
        "a/P01.mp4",
        "b/P01.mp4",
        "a/cut_late.mp4",
    ]  # by participant, then by file
    assert rows["a/cut_late.mp4"]["participant"] == "a" and rows["a/cut_late.mp4"]["warnings"]
    assert "files skipped (not video, audio or .txt): 1" in done.stderr
    assert "unexpected" not in done.stderr and "Traceback" not in done.stderr


def test_a_killed_run_gives_the_same_results_in_the_end(sessions, tmp_path, pool):
    """Check it by a SIGKILL to the whole run, then the same command to its end."""
    plain, killed = tmp_path / "plain", tmp_path / "killed"
    run(sessions, plain, pool)
    command = [*COMMAND, sessions, "--out", killed, *FAST, "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    some = random.randint(1, 4)
    while len(list(killed.glob(".finished/**/*.json"))) < some and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.random() / 5)  # any moment will do
    process.kill()
    assert process.wait() == -signal.SIGKILL and not (killed / "index.html").exists()
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "of 5 sessions are already finished" in done.stderr
    written = {path.relative_to(plain) for path in plain.rglob("*") if path.is_file()}
    assert written == {path.relative_to(killed) for path in killed.rglob("*") if path.is_file()}
    for name in written:
        if name.suffix != ".report":  # it depends on the path to the recording
            assert (killed / name).read_bytes() == (plain / name).read_bytes(), name


def test_too_many_errors_end_the_run(tmp_path, pool):
    for number in range(3):
        (tmp_path / f"{number}.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"2 files failed, the last one 1\.txt"):
        run(tmp_path, tmp_path / "results", pool, most_errors=1)
    (tmp_path / "results/sessions").write_bytes(b"")  # in the way of a folder
    (tmp_path / "good.txt").write_text("I love it.")
    with pytest.raises(OutputError, match=r"good\.txt\.json: cannot be written"):
        run(tmp_path, tmp_path / "results", pool)


@pytest.fixture
def setup(sessions, pool, tmp_path):
    """Return the settings of workers for a folder of texts."""
    from multimodal_fer.hub.registry import find_weights

    for number in range(4):
        (tmp_path / f"{number}.txt").write_text("I love it.")
    return Setup(folder=str(tmp_path), bundle=str(find_weights("open7")), speech_model="none")


def test_if_a_worker_dies_only_its_file_fails(setup, tmp_path):
    psutil = pytest.importorskip("psutil", reason="psutil finds the worker to kill")
    os.mkfifo(tmp_path / "hang.txt")

    def kill():
        with (tmp_path / "hang.txt").open("w"):  # waits until a worker reads it
            for child in psutil.Process().children():
                if any(str(tmp_path) in file.path for file in child.open_files()) or is_reading(
                    child
                ):
                    child.kill()

    def is_reading(child):
        links = Path(f"/proc/{child.pid}/fd").iterdir()
        return any(os.path.realpath(link) == str(tmp_path / "hang.txt") for link in links)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    files = ["0.txt", "hang.txt", "1.txt", "2.txt", "3.txt"]
    replies = {reply.file: reply for reply in run_local(files, setup, 1)}
    killer.join()
    assert list(replies) == files
    assert "the worker process died on this file (SIGKILL, as when memory runs out)" in str(
        replies["hang.txt"].error
    )
    assert all(replies[file].record for file in files if file != "hang.txt")


def test_workers_that_cannot_start_end_the_run(setup, sessions, tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match="not found"):
        run_study(sessions, tmp_path / "results", bundle="none such")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    with pytest.raises(SpeechUnavailableError, match="could not be fetched"):
        run_study(sessions, tmp_path / "results", speech_model="base")


CORES = """
import os, sys
from multimodal_fer.study.workers.job import share_cores
share_cores(int(sys.argv[1]), 2)
import cv2, torch
threads = os.environ["OMP_NUM_THREADS"], torch.get_num_threads(), cv2.getNumThreads()
print(sorted(os.sched_getaffinity(0)), *threads)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="binds processes to cores on Linux only")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_two_workers_share_the_cores():
    lines = [
        subprocess.check_output([sys.executable, "-c", CORES, str(slot)], text=True).split("] ")
        for slot in range(2)
    ]
    bound = [set(json.loads(cores + "]")) for cores, _ in lines]
    assert bound[0] | bound[1] == os.sched_getaffinity(0) and not bound[0] & bound[1]
    for cores, (_, threads) in zip(bound, lines, strict=True):
        assert set(threads.split()) == {str(len(cores))}


def test_a_cluster_gives_the_same_answers(setup, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'multimodal_fer[ray]'")
    from multimodal_fer.study.workers.cluster import Cluster

    (tmp_path / "bad.txt").write_bytes(b"\xff")
    files = ["0.txt", "bad.txt", "1.txt", "2.txt"]
    replies = {reply.file: reply for reply in Cluster("local")(files, setup, 2)}
    assert sorted(replies) == sorted(files)
    worker = Worker(setup)
    for file in files:
        assert replies[file] == worker.answer(file)
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_video_that_cannot_be_drawn_costs_no_answer(sessions, tmp_path, pool, monkeypatch):
    def fail(*_):
        raise MediaError("no video frame can be decoded")

    results = tmp_path / "results"
    monkeypatch.setattr("multimodal_fer.media.drawing.write_video", fail)
    outcome, _ = run(sessions, results, pool, video=True)
    assert outcome.answered == 5 and len(rows_of(results / "sessions.csv")) == 5
    reason = "its video cannot be written (no video frame can be decoded)"
    assert set(outcome.problems) == {(f, reason) for f in GOOD if f.endswith(".mp4")}
    assert {row["error"] for row in rows_of(results / "errors.csv")} == {reason}
    monkeypatch.undo()
    outcome, _ = run(sessions, results, pool, video=True)
    assert (outcome.answered, outcome.kept, outcome.problems) == (0, 5, ())
    assert sorted(pool.given) == [f for f in sorted(GOOD) if f.endswith(".mp4")]  # drawn only
    run(sessions, results, pool, video=True)
    assert pool.given == []


def test_one_run_at_a_time_writes_to_a_folder(sessions, tmp_path, pool):
    (tmp_path / ".0123.part").touch()  # of a run that was killed
    with locked(tmp_path), pytest.raises(OutputError, match="another run is writing its results"):
        run(sessions, tmp_path, pool)
    assert not list(tmp_path.glob("*.part"))


def test_files_of_any_name_and_links_in_circles(tmp_path, pool, monkeypatch):
    folder, results = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    name = os.fsdecode(b"P01_caf\xe9.txt")
    try:
        (folder / name).write_text("I love it.", encoding="utf-8")
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system has no such names")
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    (folder / "P02_=1+1.txt").write_text("=HYPERLINK(1)", encoding="utf-8")
    outcome, _ = run(folder, results, pool)
    assert [problem.file for problem in outcome.problems] == ["loop.mp4"]
    rows = rows_of(results / "segments.csv")
    assert [row["file"] for row in rows] == ["P01_caf\\udce9.txt", "P02_=1+1.txt"]
    assert rows[1]["text"] == "'=HYPERLINK(1)"
    assert "P01_caf%E9.txt.html" in outcome.index.read_text(encoding="utf-8")
    monkeypatch.setattr("multimodal_fer.report.page._is_installed", lambda _: False)
    outcome, printed = run(folder, results, pool)
    assert outcome.index == results / "sessions.csv" and "no pages are written" in printed


def test_a_file_that_takes_too_long_fails_alone():
    found = dict(run_in_processes(time.sleep, [60, 0], 2, tries=1, limit=3.0))
    assert found[0] is None
    assert found[60].how == "no answer within the time limit of 0.05 min"


def test_a_busy_cluster_is_not_waited_for_without_end():
    """Check it with a stand-in for Ray whose actors never get their cores."""
    from multimodal_fer.study.workers.cluster import WAITING, Team

    class TooLateError(Exception):
        pass

    def never(_, timeout):
        assert timeout == WAITING
        raise TooLateError

    actor = SimpleNamespace(place=SimpleNamespace(remote=lambda: None))
    killed: list[object] = []
    ray = SimpleNamespace(
        cluster_resources=lambda: {"CPU": 4.0},
        remote=lambda **_: lambda _: SimpleNamespace(remote=lambda _: actor),
        get=never,
        kill=killed.append,
        exceptions=SimpleNamespace(GetTimeoutError=TooLateError, RayError=Exception),
    )
    with pytest.raises(PoolError, match="the cluster has no room for a worker"):
        Team(ray, Setup(folder="", bundle=""), 2).start_actor()
    assert killed == [actor]
