"""The tree says where things are: imports point one way, files are short, folders are small."""

import pytest
from conftest import ROOT

PACKAGE = ROOT / "multimodal_fer"


def test_imports_point_one_way(monkeypatch, capsys):
    cli = pytest.importorskip("importlinter.cli", reason="import-linter is not installed")
    monkeypatch.chdir(ROOT)
    code = cli.lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None)
    assert code == 0, capsys.readouterr().out


def test_files_are_short():
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in (PACKAGE, ROOT / "recipes")
        for path in folder.rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 350
    }
    assert not long


def test_a_folder_holds_three_to_eight_files():
    for folder in [PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir())]:
        if "__pycache__" in folder.parts or "weights" in folder.parts:
            continue
        files = [
            path.name for path in folder.iterdir()
            if path.is_file() and path.name not in ("__init__.py", "__main__.py", "py.typed", "registry.json")
        ]  # fmt: skip
        assert 3 <= len(files) <= 8, (folder, sorted(files))
