"""Test the command: exit codes, stdout, and complete files or none."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import SAMPLE, every, write_clip

COMMAND = [sys.executable, "-m", "multimodal_fer.cli"]


def run(*arguments, **settings):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300, **settings
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory, portrait):
    return write_clip(
        tmp_path_factory.mktemp("cli") / "one two.mp4",
        frame_times=every(1.2, 30),
        picture=lambda _: portrait,
    )


def test_json_on_stdout_and_nothing_else(clip):
    result = run("analyze", clip, "--speech-model", "none")
    assert result.returncode == 0
    answer = json.loads(result.stdout)
    assert answer["emotion"] == "happiness" and answer["path"] == str(clip)
    assert "warning" in result.stderr and "has no sound" in result.stderr


def test_quiet_prints_no_messages(clip):
    result = run("analyze", clip, "--speech-model", "none", "--quiet")
    assert result.returncode == 0
    assert result.stderr == ""
    json.loads(result.stdout)


def test_all_formats_of_the_sample(tmp_path):
    formats = [item for name in ("json", "csv", "srt", "vtt") for item in ("-f", name)]
    result = run("analyze", SAMPLE, "-o", tmp_path / "out", "--table", *formats)
    assert result.returncode == 0, result.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "sample.json", "sample.segments.csv", "sample.frames.csv", "sample.srt", "sample.vtt",
    }  # fmt: skip
    answer = json.loads((tmp_path / "out" / "sample.json").read_text())
    with (tmp_path / "out" / "sample.segments.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] or None for row in rows] == [s["text"] for s in answer["segments"]]
    assert float(rows[0]["score_happiness"]) == answer["segments"][0]["scores"]["happiness"]
    with (tmp_path / "out" / "sample.frames.csv").open() as file:
        frames = list(csv.DictReader(file))
    assert [float(row["time"]) for row in frames] == answer["frames"]["times"]
    assert {row["reason"] for row in frames if not row["face_id"]} == {"no face found"}
    srt = (tmp_path / "out" / "sample.srt").read_text()
    srt = srt.replace("In the end,", "In the end")  # some processors recognise a comma there
    assert srt.startswith("1\n00:00:00,") and "In the end I found it in the menu." in srt
    vtt = (tmp_path / "out" / "sample.vtt").read_text()
    assert vtt.startswith("WEBVTT\n\n00:00:00.") and "[happiness" in vtt
    assert "contribution of each modality" in result.stdout and "happiness" in result.stdout
    assert "sample.json" in result.stderr  # names the files


def test_good_files_are_kept_when_others_fail(clip, tmp_path):
    (tmp_path / "notes.mp4").write_text("no recording")
    result = run(
        "analyze", tmp_path / "gone.mp4", clip, tmp_path / "notes.mp4",
        "--speech-model", "none", "-o", tmp_path / "out",
    )  # fmt: skip
    assert result.returncode == 1
    assert "gone.mp4: no such file" in result.stderr
    assert "notes.mp4: expected a video or audio file" in result.stderr
    assert "2 of 3 files failed" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one two.json"]


def test_several_answers_are_json_lines(clip, tmp_path):
    (tmp_path / "answer.txt").write_text("That was easy, love it.", encoding="utf-8")
    result = run("analyze", clip, tmp_path / "answer.txt", "--speech-model", "none")
    assert result.returncode == 0
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert first["path"] == str(clip)
    assert second["segments"][0]["text"] == "That was easy, love it."


def test_an_output_folder_that_cannot_be_written(clip, tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = run("analyze", clip, "-o", tmp_path / "file" / "out")
    assert result.returncode == 1
    assert "cannot be written" in result.stderr and "choose another" in result.stderr


def test_two_inputs_of_one_name_do_not_overwrite_each_other(clip, tmp_path):
    twin = tmp_path / clip.name
    twin.write_bytes(clip.read_bytes())
    result = run("analyze", clip, twin, "-o", tmp_path / "out", "--speech-model", "none")
    assert result.returncode == 1
    assert "several inputs are named one two.mp4" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "xml"], "unknown format"),
        (["--frame-rate", "-1"], "frame_rate"),
        (["--bundle", "open9"], "not found"),
        (["--language", "pl"], "knows English only"),
        (["--speech-model", "tinny"], "unknown speech model"),
    ],
)
def test_wrong_settings_are_explained(clip, arguments, message):
    result = run("analyze", clip, *arguments)
    assert result.returncode in (1, 2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_model_that_cannot_be_fetched_is_a_warning(tmp_path):
    """Check that a speech model that is neither installed nor reachable costs only the words."""
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    result = run("analyze", SAMPLE, "--speech-model", "base", env=offline)
    assert result.returncode == 0, result.stderr
    assert "could not be fetched" in result.stderr
    assert json.loads(result.stdout)["emotion"] == "happiness"


def test_interrupting_keeps_finished_answers(clip, tmp_path, portrait):
    """Check that Ctrl+C in the second file keeps the first result and leaves no partial file."""
    long = write_clip(tmp_path / "long.mp4", frame_times=every(120, 10), picture=lambda _: portrait)
    command = [
        *COMMAND, "analyze", str(clip), str(long), "-o", str(tmp_path / "out"),
        "--speech-model", "none", "--frame-rate", "10",
    ]  # fmt: skip
    # Processes of a shell's background job inherit that Ctrl+C is ignored; a user's command does not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    told = {**os.environ, "PYTHONFAULTHANDLER": "1"}  # where it stood if native code ends it
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=told)
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / "one two.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "interrupted" in stderr and "Traceback" not in stderr
    json.loads((tmp_path / "out" / "one two.json").read_text())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one two.json"]


def test_written_answer_on_the_command_line():
    result = run("analyze-text", "I could not find it.")
    assert result.returncode == 0
    assert json.loads(result.stdout)["segments"][0]["text"] == "I could not find it."


def test_version():
    import multimodal_fer

    assert run("--version").stdout.strip() == multimodal_fer.__version__
