"""Check the README: it is short, its code runs, its figures are those of the result files."""

import re

import pytest
from conftest import ROOT, SAMPLE
from documented import blocks, commands, run_command, write_inputs

from multimodal_fer.hub.weights_folder import read_config
from recipes import shipped
from recipes.ferplus import tables as ferplus_tables
from recipes.open import tables as open_tables

README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")


def test_the_readme_is_short():
    assert len(TEXT.splitlines()) <= 150


def test_its_picture_is_a_small_png():
    (name,) = re.findall(r"!\[[^\]]+\]\((.+?)\)", TEXT)
    picture = (ROOT / name).read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) <= 200_000


def test_python_block_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "clip.mp4").write_bytes(SAMPLE.read_bytes())
    monkeypatch.chdir(tmp_path)
    (block,) = blocks(README, "python")
    assert len([line for line in block.splitlines() if line]) == 3
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("happiness")


@pytest.mark.parametrize("arguments", commands(README), ids=" ".join)
def test_commands_run(arguments, tmp_path, monkeypatch, portrait):
    write_inputs(tmp_path, portrait)
    monkeypatch.chdir(tmp_path)
    run_command(arguments)


def test_make_has_the_targets_that_it_names():
    targets = re.findall(r"^make (\w+)", "\n".join(blocks(README, "bash")), re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets == ["demo", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize(
    "module", [ferplus_tables, open_tables, shipped], ids=lambda module: module.__name__
)
def test_figures_are_those_of_the_result_files(module):
    for path, content in module.pages().items():
        assert path.read_text(encoding="utf-8") == content, f"run: python -m {module.__name__}"


def test_the_readme_shows_the_figures_of_answers():
    assert f"<!-- generated: answers -->\n{open_tables.answers_table()}\n<!-- end -->" in TEXT


def test_configs_hold_the_figures_of_the_result_files():
    for name, figures in shipped.results().items():
        assert read_config(ROOT / "weights" / name)["results"] == figures
