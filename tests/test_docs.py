"""The documentation builds, with every link and every name that it documents."""

import logging

import pytest
from conftest import ROOT

pytest.importorskip("mkdocstrings", reason="needs the extra docs")


def test_the_site_builds_without_a_warning(tmp_path, caplog):
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
