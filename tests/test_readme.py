"""The README is what people try first: its Python runs, its commands exist, its figures are generated."""

import re
import shlex

import cv2
import pytest
from conftest import ROOT, SAMPLE, every, write_clip
from typer.testing import CliRunner

from benchmarks.speed import with_table
from multimodal_fer.cli.commands import app
from multimodal_fer.hub.weights_folder import read_config
from recipes import shipped
from recipes.ferplus import tables as ferplus_tables
from recipes.open import tables as open_tables

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    lines = "\n".join(blocks("bash")).splitlines()
    return [
        shlex.split(line, comments=True)[1:] for line in lines if line.startswith("multimodal-fer")
    ]


def test_python_blocks_run(tmp_path, monkeypatch):
    (tmp_path / "clip.mp4").write_bytes(SAMPLE.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(blocks("python")) == 2
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_commands_run(arguments, tmp_path, monkeypatch, portrait):
    """Each command as it stands, on a short clip; what would be fetched or published is only looked up."""
    if any("ORG/" in argument for argument in arguments):
        known = CliRunner().invoke(app, [arguments[0], "--help"], env={"COLUMNS": "200"}).output
        assert all(name in known for name in arguments if name.startswith("--"))
        return
    for name in ("clip.mp4", "interview.mp4"):
        write_clip(tmp_path / name, frame_times=every(0.5, 10), picture=lambda _: portrait)
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "P01_first.txt").write_text("That was easy, love it.")
    cv2.imwrite(str(tmp_path / "face.jpg"), portrait[:, :, ::-1])
    monkeypatch.chdir(tmp_path)
    if "--speech-model" in arguments:
        arguments = [*arguments, "--speech-model", "none"]
    arguments = ["clip.mp4" if argument == "*.mp4" else argument for argument in arguments]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    "module", [ferplus_tables, open_tables, shipped], ids=lambda module: module.__name__
)
def test_figures_are_those_of_the_result_files(module):
    for path, content in module.pages().items():
        assert path.read_text(encoding="utf-8") == content, f"run: python -m {module.__name__}"


def test_configs_hold_the_figures_of_the_result_files():
    for name, figures in shipped.results().items():
        assert read_config(ROOT / "weights" / name)["results"] == figures


def test_speed_is_that_of_the_result_file():
    assert with_table(README) == README
