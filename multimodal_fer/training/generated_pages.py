"""Generated pages: the parts of Markdown that code writes from result files."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from multimodal_fer.utils.files import fill_block

ROOT = Path(__file__).parent.parent.parent


def read_result(folder: Path, name: str) -> dict[str, Any] | None:
    """A result file, where there is one."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if name and path.is_file() else None


def filled(paths: Iterable[Path], blocks: Mapping[str, str]) -> dict[Path, str]:
    """Each page with its generated blocks as they should be."""
    texts = {}
    for path in paths:
        text = path.read_text(encoding="utf-8")
        for name, content in blocks.items():
            if f"<!-- generated: {name} -->" in text:
                text = fill_block(text, name, content)
        texts[path] = text
    return texts


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def unusual(training: Mapping[str, Any], usual: Mapping[str, Any], always: Iterable[str]) -> str:
    """The settings of a training that differ from the usual ones, and those always said."""
    plain = json.loads(json.dumps(usual))
    always = set(always)
    said = {
        key: value
        for key, value in training.items()
        if key in always or (value != {} and value != plain.get(key))
    }
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in said.items())


def write(pages: Mapping[Path, str]) -> None:
    for path, content in pages.items():
        path.write_text(content, encoding="utf-8")
        print(f"written: {path.relative_to(ROOT)}")
