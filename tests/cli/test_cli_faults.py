"""Test the command with harmful words, outputs that cannot be, and files that cannot be read."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from multimodal_fer.cli import commands, options
from multimodal_fer.report import page
from multimodal_fer.types import Analysis, Segment

SCORES = {"neutral": 0.2, "anger": 0.8}


class Analyzer:
    """Answer with the words in a file, without models."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def analyze_text_file(self, path):
        self.given.append(path.name)
        words = path.read_text(encoding="utf-8")
        if words == "memory":
            raise MemoryError
        segment = Segment(0, 0, words, None, "anger", False, SCORES, {"text": 1.0}, {}, {})
        return Analysis(
            str(path), "b", ("neutral", "anger"), emotion="anger", scores=SCORES,
            segments=(segment,), warnings=("beware",),
        )  # fmt: skip


@pytest.fixture
def analyzer(monkeypatch):
    made = Analyzer()
    monkeypatch.setattr(commands, "_make_analyzer", lambda **_: made)
    monkeypatch.setenv("COLUMNS", "120")
    return made


def run(*arguments):
    return CliRunner().invoke(commands.app, ["analyze", *map(str, arguments)])


def write(folder, **texts):
    paths = [folder / f"{name}.txt" for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_words_are_never_markup(analyzer, tmp_path):
    paths = write(tmp_path, a="no[/b] [bold]yes[/bold] :smile: \x1b[31m", b="and the next one")
    result = run("--table", *paths)
    assert result.exit_code == 0, result.output
    assert "no[/b] [bold]yes[/bold] :smile: \ufffd[31m" in result.stdout
    assert "and the next one" in result.stdout


def test_any_error_of_one_file_leaves_the_others(analyzer, tmp_path):
    first, bad, last = write(tmp_path, a="one", b="memory", c="two")
    loop = tmp_path / "loop.txt"
    loop.symlink_to(loop)
    result = run(first, bad, loop, last)
    assert result.exit_code == 1
    answers = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert [answer["segments"][0]["text"] for answer in answers] == ["one", "two"]
    assert "b.txt: there is not enough memory for this file" in result.stderr
    assert "2 of 4 files failed" in result.stderr


def test_names_that_are_not_utf_8(analyzer, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    try:
        path.write_text("fine", encoding="utf-8")
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system has no such names")
    result = run(path, "-o", tmp_path / "out", "-f", "json", "-f", "csv")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert "caf\\xe9" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--video", "{}/v.mp4"], "a written answer has no pictures"),
        (["--report", "{}"], "is a folder; name a file in it"),
        (["--report", "{}/a.txt"], "is the recording itself"),
        (["--report", "{}/a.txt/b.html"], "cannot be written"),
        (["--report", "{}/" + 300 * "r"], "the name is too long"),
        (["-f", "csv"], "also give their folder with --output"),
    ],
)
def test_outputs_are_checked_before_the_work(analyzer, tmp_path, arguments, message):
    [path] = write(tmp_path, a="one")
    result = run(path, *(argument.replace("{}", str(tmp_path)) for argument in arguments))
    assert result.exit_code in (1, 2) and analyzer.given == []
    assert message in " ".join(result.stderr.replace("│", "").split())
    assert path.read_text() == "one"


def test_a_missing_library_is_told_before_the_work(analyzer, tmp_path, monkeypatch):
    [path] = write(tmp_path, a="one")
    monkeypatch.setattr(page, "_is_installed", lambda name: name != "plotly")
    result = run(path, "--report", tmp_path / "r.html")
    assert result.exit_code == 1 and analyzer.given == []
    assert "plotly cannot be found; pip install 'multimodal_fer[report]'" in result.stderr


def test_a_finished_answer_is_printed_if_it_cannot_be_written(analyzer, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    [path] = write(tmp_path, a="one")
    monkeypatch.setattr(page, "write_report", full)
    result = run(path, "--report", tmp_path / "r.html")
    assert result.exit_code == 1 and "No space left" in result.stderr
    assert json.loads(result.stdout)["segments"][0]["text"] == "one"


def test_quiet_and_redirected_output(tmp_path):
    """Check JSON in an encoding without emoji: it stays complete."""
    program = (
        "from multimodal_fer.cli.options import *; use_any_encoding(); "
        "print_json('{\"a\": \"é 😡\"}'); print('😡'); say('😡')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout.decode("cp1252").partition("}")[0] + "}") == {"a": "é 😡"}
    assert b"Traceback" not in done.stderr


def start(program):
    """Start a Python program whose output is read line by line."""
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


TWICE = """
import signal, sys, time
from multimodal_fer.cli.options import explained
signal.signal(signal.SIGINT, signal.default_int_handler)
with explained("interrupted"):
    try:
        print("ready", flush=True)
        time.sleep(20)
    finally:
        print("cleaning", flush=True)
        time.sleep(20)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals as POSIX does")
def test_a_second_interrupt_ends_at_once():
    process = start(TWICE)
    assert process.stdout is not None
    for line in ("ready", "cleaning"):
        assert process.stdout.readline().strip() == line
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=15)
    assert process.returncode == options.INTERRUPTED and time.monotonic() - begin < 10
    assert "Traceback" not in stderr


ABORTING = """
import atexit, os, signal, time
from multimodal_fer.cli.options import explained
signal.signal(signal.SIGINT, signal.default_int_handler)
atexit.register(os.abort)  # as native libraries may at the end of an interrupted process
with explained("interrupted"):
    print("ready", flush=True)
    time.sleep(20)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals as POSIX does")
def test_an_interrupted_process_is_not_torn_down():
    process = start(ABORTING)
    assert process.stdout is not None and process.stdout.readline().strip() == "ready"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=15)
    assert process.returncode == options.INTERRUPTED and stderr.strip() == "interrupted"


def test_threads_sleep_while_they_wait(tmp_path):
    """Check that the command sets it before any library with threads is loaded, and keeps a choice."""
    program = (
        "import os, sys\nfrom multimodal_fer.cli import commands\n"
        "assert 'torch' not in sys.modules and 'OMP_WAIT_POLICY' not in os.environ\n"
        "commands.main()\nprint(os.environ['OMP_WAIT_POLICY'], os.environ['KMP_BLOCKTIME'])"
    )
    clean = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**clean, "KMP_BLOCKTIME": "7"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["PASSIVE", "7"], done.stderr
