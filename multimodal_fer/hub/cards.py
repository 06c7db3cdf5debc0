"""Read, check and write model cards: Markdown below front matter in YAML (extra `hub`)."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from multimodal_fer.hub.weights_folder import CONFIG

KEYS = ("license", "library_name", "tags")
SECTIONS = ("Data and terms", "Limits", "Not for", "Figures")
FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n---\r?\n(.*)\Z", re.DOTALL)
HEADING = re.compile(r"^## +(.+?) *$", re.MULTILINE)
FIGURE = re.compile(r"^\|.*\d", re.MULTILINE)  # a table row with a number

# The names that model hubs use for metrics and tasks.
METRICS = {
    "accuracy": "accuracy",
    "wa": "accuracy",
    "uar": "recall",
    "ua": "recall",
    "macro_f1": "f1",
    "weighted_f1": "f1",
}
TASKS = {
    "face": "image-classification",
    "voice": "audio-classification",
    "text": "text-classification",
}
OTHER_TASK = "emotion-recognition"


@dataclass(frozen=True)
class Card:
    """A model card; without metadata and body if the file is missing or has no front matter."""

    path: Path
    metadata: Mapping[str, Any] = field(default_factory=dict)  # the front matter
    body: str = ""

    @cached_property
    def sections(self) -> dict[str, str]:
        """Return the text below each heading of level two, by the heading in lower case."""
        pieces = HEADING.split(self.body)
        titles = (title.lower() for title in pieces[1::2])
        return dict(zip(titles, (text.strip() for text in pieces[2::2]), strict=True))

    @property
    def has_figures(self) -> bool:
        """Return whether the section on figures has a table with numbers."""
        return FIGURE.search(self.sections.get("figures", "")) is not None


def read_card(path: Path) -> Card:
    """Read a card; a file that cannot be read gives an empty card, which `card_problems` reports."""
    import yaml

    try:
        found = FRONT_MATTER.match(path.read_text(encoding="utf-8"))
        metadata = yaml.safe_load(found[1]) if found else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return Card(path)
    return Card(path, metadata, found[2]) if found and isinstance(metadata, dict) else Card(path)


def card_problems(card: Card) -> Iterator[str]:
    """Yield a sentence for everything that a card lacks to be published."""
    if not card.metadata:
        yield f"{card.path}: expected a card with front matter between lines of '---', found none; write it"
        return
    for key in KEYS:
        if not card.metadata.get(key):
            yield f"{card.path}: the front matter lacks {key}; add it"
    if card.metadata.get("license") == "other" and not card.metadata.get("license_name"):
        yield f"{card.path}: license is 'other', which needs a license_name; add it"
    for title in SECTIONS:
        if not card.sections.get(title.lower()):
            yield f"{card.path}: the section '## {title}' is missing or empty; write it"


def results_of(config: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return `results` of a config: data set → metric → value; empty if there are none.

    Raises `ValueError` for any other form.
    """
    results = config.get("results", {})
    if not isinstance(results, dict) or not all(isinstance(row, dict) for row in results.values()):
        raise ValueError(f"{CONFIG}: expected 'results' as {{data set: {{metric: value}}}}")
    for title, figures in results.items():
        for name, value in figures.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise ValueError(
                    f"{CONFIG}: results, {title}, {name}: expected a number, found {value!r}"
                )
    return results


def model_index(name: str, card: Card, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results of a config as front matter that hub pages show; empty if there are none."""
    task = card.metadata.get("pipeline_tag") or TASKS.get(config.get("modality", ""), OTHER_TASK)
    results = [
        {
            "task": {"type": task},
            # No identifier of a data set on a hub: most corpora have none, and copies are not linked.
            "dataset": {"type": re.sub(r"[^a-z0-9]+", "-", title.lower()), "name": title},
            "metrics": [
                {"type": METRICS.get(key.lower(), key.lower()), "name": key, "value": value}
                for key, value in figures.items()
            ],
        }
        for title, figures in results_of(config).items()
    ]
    return {"model-index": [{"name": name, "results": results}]} if results else {}


def write_card(card: Card, metadata: Mapping[str, Any], parts: Sequence[str] = ()) -> str:
    """Return the text of a card with new front matter; links to folders of `parts` become links inside."""
    import yaml

    body = card.body
    for folder in parts:
        body = body.replace(f"](../{folder}/", f"]({folder}/")
    front = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{front}---\n{body}"
