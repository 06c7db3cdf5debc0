"""Parts of Markdown pages that are generated from result files."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from multimodal_fer.training.config import current_names
from multimodal_fer.utils.files import fill_block

ROOT = Path(__file__).parent.parent.parent


def read_result(folder: Path, name: str) -> dict[str, Any] | None:
    """Return a result file under today's names, None if there is none."""
    path = folder / f"{name}.json"
    if not path.is_file():
        return None
    return json.loads(path.read_text(encoding="utf-8"), object_hook=current_names)


def filled(paths: Iterable[Path], blocks: Mapping[str, str]) -> dict[Path, str]:
    """Return the text of each page with its generated blocks filled in."""
    texts = {}
    for path in paths:
        text = path.read_text(encoding="utf-8")
        for name, content in blocks.items():
            if f"<!-- generated: {name} -->" in text:
                text = fill_block(text, name, content)
        texts[path] = text
    return texts


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def unusual(training: Mapping[str, Any], usual: Mapping[str, Any], always: Iterable[str]) -> str:
    """Return a training's settings that differ from `usual`, and those named in `always`, as words."""
    plain = json.loads(json.dumps(usual))
    always = set(always)
    shown = {
        key: value
        for key, value in training.items()
        if key in always or (value != {} and value != plain.get(key))
    }
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in shown.items())


def write(pages: Mapping[Path, str]) -> None:
    for path, content in pages.items():
        path.write_text(content, encoding="utf-8")
        print(f"written: {path.relative_to(ROOT)}")
