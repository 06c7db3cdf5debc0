"""Code blocks of the pages, and the files that their commands and Python name."""

import re
import shlex
from pathlib import Path

import cv2
from conftest import ROOT, Image, every, tone, write_clip
from typer.testing import CliRunner

from multimodal_fer.cli.commands import app

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
HUB = "ORG/"  # stands for a repository of the reader's; such examples cannot run here


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of one language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Return the arguments of each `multimodal-fer` command in a page."""
    lines = "\n".join(blocks(page, "bash")).splitlines()
    return [
        shlex.split(line, comments=True)[1:] for line in lines if line.startswith("multimodal-fer")
    ]


def modules(page: Path) -> set[str]:
    """Return the modules that a page runs by `python -m`, but for those of other packages."""
    names = re.findall(r"python -m ([\w.]+)", page.read_text(encoding="utf-8"))
    return {name for name in names if name.split(".")[0] in ("benchmarks", "recipes")}


def write_inputs(folder: Path, portrait: Image) -> None:
    """Write short files under the names that the pages use."""
    (folder / "examples").mkdir()
    (folder / "sessions").mkdir()
    for name in ("clip.mp4", "interview.mp4", "first.mp4", "examples/sample.mp4"):
        write_clip(folder / name, frame_times=every(0.5, 10), picture=lambda _: portrait)
    write_clip(folder / "second.wav", sound=tone(0.5, 16_000), rate=16_000)
    (folder / "sessions" / "P01_first.txt").write_text("That was easy, love it.")
    (folder / "sessions.csv").write_text("file,participant,task\nP01_first.txt,P01,first\n")
    cv2.imwrite(str(folder / "face.jpg"), portrait[:, :, ::-1])


def run_command(arguments: list[str]) -> None:
    """Run one command in the working directory, without fetching anything; check only options of a hub's."""
    if any(HUB in argument for argument in arguments):
        known = CliRunner().invoke(app, [arguments[0], "--help"], env={"COLUMNS": "200"}).output
        assert all(name in known for name in arguments if name.startswith("--"))
        return
    if "--speech-model" in arguments:
        arguments = [*arguments, "--speech-model", "none"]
    arguments = ["clip.mp4" if argument == "*.mp4" else argument for argument in arguments]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
