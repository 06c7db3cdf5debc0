"""The public names and options, and an import that is fast and has no side effects."""

import re
import subprocess
import sys

from conftest import SAMPLE

import multimodal_fer


def test_public_names():
    assert sorted(multimodal_fer.__all__) == [
        "Analysis", "Analyzer", "MultimodalFerError", "Segment", "analyze", "analyze_text",
        "load_bundle", "load_model",
    ]  # fmt: skip
    for name in multimodal_fer.__all__:
        assert getattr(multimodal_fer, name)
        assert name in dir(multimodal_fer)


def test_flags_of_analyze():
    text = subprocess.run(
        [sys.executable, "-m", "multimodal_fer.cli", "analyze", "--help"],
        capture_output=True, text=True, env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
    ).stdout  # fmt: skip
    assert sorted(set(re.findall(r"--[a-z-]+", text))) == [
        "--bundle", "--device", "--engine", "--face", "--format", "--frame-rate", "--help",
        "--language", "--no-faces", "--output", "--quiet", "--report", "--speech-model", "--table",
        "--video",
    ]  # fmt: skip


CHECK_IMPORT = """
import logging, os, random, signal, sys, threading, time, warnings
before = (
    dict(os.environ), threading.active_count(), list(logging.root.handlers), logging.root.level,
    random.getstate(), signal.getsignal(signal.SIGINT), list(warnings.filters), list(sys.path),
    sys.excepthook,
)
start = time.perf_counter()
import multimodal_fer
seconds = time.perf_counter() - start
after = (
    dict(os.environ), threading.active_count(), list(logging.root.handlers), logging.root.level,
    random.getstate(), signal.getsignal(signal.SIGINT), list(warnings.filters), list(sys.path),
    sys.excepthook,
)
assert before == after, "importing changed the process"
assert not {"torch", "av", "cv2", "faster_whisper"} & set(sys.modules), "importing is not light"
print(seconds)
"""


def test_importing_is_fast_and_has_no_side_effects():
    result = subprocess.run(
        [sys.executable, "-c", CHECK_IMPORT], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 0.3
    assert result.stderr == ""


NO_SOCKETS = """
import socket, sys
def refuse(*arguments, **settings):
    raise AssertionError("a socket was opened")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
from multimodal_fer import analyze
print(analyze(sys.argv[1]).emotion)
"""


def test_analysing_opens_no_socket():
    result = subprocess.run(
        [sys.executable, "-c", NO_SOCKETS, str(SAMPLE)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "happiness"
