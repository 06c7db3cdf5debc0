"""Create, change and publish small weights on the local hub of the tests."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPO = "lab/tiny"
CARD = """---
license: other
license_name: research-use
library_name: multimodal_fer
pipeline_tag: image-classification
tags: [emotion]
---
# tiny

A network of the tests.

## Figures

| what | accuracy |
|---|---|
| nothing | 14% |

## Data and terms
Made at random.

## Limits
It knows nothing.

## Not for
Anything.
"""
ABOUT = {"modality": "face", "licence": "research use"}
RESULTS = {"FER2013, PrivateTest": {"accuracy": 0.14, "UAR": 0.125}}


@contextmanager
def offline(library, monkeypatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(library.constants, "HF_HUB_OFFLINE", True)
        yield


def edit_config(folder: Path, **values) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps(config))


def edit_card(folder: Path, old: str, new: str) -> None:
    path = folder / "README.md"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def latest(server, repo: str = REPO) -> dict[str, bytes]:
    return server.repositories[repo].commits[-1][1]


def put(server, folder: Path) -> str:
    """Publish a folder without the package; return the commit."""
    return server.put(REPO, {file.name: file.read_bytes() for file in folder.iterdir()})


def change(server, path: str, content: bytes) -> str:
    """Commit another file to the repository; return the commit."""
    return server.repositories[REPO].commit({path: content})
