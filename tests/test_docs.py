"""Check the pages: the site builds, code runs, and what they name exists."""

import logging
import re
import tomllib
from importlib.util import find_spec

import pytest
from conftest import ROOT
from documented import HUB, PAGES, blocks, commands, modules, run_command, write_inputs

import multimodal_fer

DOCS = [page for page in PAGES if page.parent.name == "docs"]
PLACE = re.compile(
    r"`((?:multimodal_fer|recipes|weights|benchmarks|examples|docs|tests)/[\w./-]*)`"
)
LINK = re.compile(r"\]\(([^)#:]+?)\)")


def named(page):
    return str(page.relative_to(ROOT))


def cases(found):
    """Return a test case for each item that `found` gives of a page, with the page as its name."""
    return [pytest.param(item, id=named(page)) for page in DOCS for item in found(page)]


def test_the_site_builds_without_a_warning(tmp_path, caplog):
    pytest.importorskip("mkdocstrings", reason="needs the extra docs")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path))
    with caplog.at_level(logging.WARNING, logger="mkdocs"):
        config.plugins.on_startup(command="build", dirty=False)
        build(config)
    assert not caplog.messages
    page = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    for name in ("Analyzer.from_pretrained", "Analysis.to_dict", "onnx_export.export"):
        assert name in page
    assert "fonts.googleapis" not in page


@pytest.mark.parametrize("block", cases(lambda page: blocks(page, "python")))
def test_python_blocks_run(block, tmp_path, monkeypatch, portrait):
    write_inputs(tmp_path, portrait)
    monkeypatch.chdir(tmp_path)
    if HUB in block:  # nothing is published under that name: only the imports run
        compile(block, "page", "exec")
        block = "\n".join(re.findall(r"^(?:from|import) .+$", block, re.MULTILINE))
    if "results/" in block:
        run_command(["study", "sessions", "--out", "results"])
    exec(compile(block, "page", "exec"), {})


@pytest.mark.parametrize("arguments", cases(commands))
def test_commands_run(arguments, tmp_path, monkeypatch, portrait):
    write_inputs(tmp_path, portrait)
    monkeypatch.chdir(tmp_path)
    run_command(arguments)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_modules_that_are_run_exist(page):
    assert not [name for name in modules(page) if find_spec(name) is None]


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "examples" / "README.md", ROOT / "SECURITY.md"], ids=named
)
def test_files_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    assert not [place for place in PLACE.findall(text) if not (ROOT / place).exists()]
    assert not [link for link in LINK.findall(text) if not (page.parent / link).exists()]


def test_every_room_is_on_the_map():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    package = ROOT / "multimodal_fer"
    rooms = [path for path in package.iterdir() if (path / "__init__.py").is_file()]
    files = [path for path in package.glob("*.py") if path.name != "__init__.py"]
    for path in [*rooms, *files]:
        assert f"`{path.relative_to(ROOT).as_posix()}`" in text


def test_the_table_of_extras_is_complete():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8").partition("## Platforms")[0]
    listed = re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(project["optional-dependencies"])


def test_the_fields_of_an_answer_are_described():
    text = (ROOT / "docs" / "answer.md").read_text(encoding="utf-8")
    answer = multimodal_fer.analyze_text("That was easy, love it.").to_dict()
    fields = {*answer, *answer["segments"][0]} - {"schema", "path", "duration", "labels"}
    assert not [field for field in fields if f"`{field}`" not in text]


def test_moved_modules_exist():
    moved = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("### Moved")[2]
    package, _, recipes = moved.partition("Commands of the recipes")
    rows = re.findall(r"^\| `.+ \| (.+) \|$", package, re.MULTILINE)
    names = [f"multimodal_fer.{name}" for row in rows for name in re.findall(r"`([\w.]+)`", row)]
    rows = re.findall(r"^\| `.+ \| (.+) \|$", recipes, re.MULTILINE)
    names += [name for row in rows for name in re.findall(r"`([\w.]+)`", row)]
    assert len(names) > 50
    assert not [name for name in names if find_spec(name) is None]


def test_version_of_the_citation_and_of_the_changes():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: extra docs or hub")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == multimodal_fer.__version__
    assert citation["license"] == "Apache-2.0" and citation["authors"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(multimodal_fer.__version__)}\b", changes, re.MULTILINE)


def test_the_workflow_runs_every_system_and_python():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: extra docs or hub")
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    job = yaml.safe_load(text)["jobs"]["checks"]
    matrix = job["strategy"]["matrix"]
    assert [name.split("-")[0] for name in matrix["system"]] == ["ubuntu", "macos", "windows"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    prefix = "Programming Language :: Python :: 3."
    supported = [f"3.{name[len(prefix) :]}" for name in project["classifiers"] if prefix in name]
    assert matrix["python"] == supported
    assert any(".ci/run" in step.get("run", "") for step in job["steps"])


def test_speed_is_that_of_the_result_file():
    pytest.importorskip("resource", reason="memory is measured with a module of Unix")
    from benchmarks.speed import with_table

    page = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
    assert "<!-- generated: speed -->" in page and with_table(page) == page
