"""Held-out texts through `analyze_text`, and tables of invented remarks of people in usability tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from multimodal_fer import Analyzer
from recipes.open.answers.answers import (
    Given,
    Measured,
    answer_of,
    chosen,
    open_analyzer,
    parts_of,
    row_of,
    with_progress,
)
from recipes.open.answers.evaluate_usability import read_answers
from recipes.open.text.corpora import read_texts

PROTOCOL = (
    "analyze_text on each text that has one label; part: the text network's own scores. MELD's development "
    "part was never trained on"
)
# Corpus → the part that is held out.
HELD_OUT = {"goemotions": "test", "isear": "test", "so_emotion": "test", "meld": "validation"}

Labelled = list[tuple[str, str]]  # texts and their labels


def measure(folder: str, tables: Sequence[str], bundle: str, limit: int) -> dict[str, Any]:
    """Return the result of all corpora, and of each table as a row of its own."""
    analyzer = open_analyzer(bundle, "text")
    data = {corpus: read_corpus(folder, corpus) for corpus in HELD_OUT}
    data |= {Path(path).stem: read_table(path) for path in tables}
    rows = [
        row_of(name, [ask(analyzer, *text) for text in with_progress(name, chosen(texts, limit))])
        for name, texts in data.items()
    ]
    return {"bundle": analyzer.bundle.version, "protocol": PROTOCOL, "rows": rows}


def read_corpus(folder: str, corpus: str) -> Labelled:
    """Return the held-out texts of a corpus that have one label."""
    examples = read_texts(folder, [corpus], HELD_OUT[corpus])
    return [(example.text, example.labels[0]) for example in examples if len(example.labels) == 1]


def read_table(path: str) -> Labelled:
    """Return the texts of a table with the columns text, label and also, by `label`."""
    return [(row["text"], row["label"]) for row in read_answers(path)]


def ask(analyzer: Analyzer, text: str, label: str) -> Measured:
    return Measured(label, judge_text(analyzer, text), answer_of(analyzer.analyze_text(text)))


def judge_text(analyzer: Analyzer, text: str) -> Given:
    """Return what the text network says by itself; a text without a word has no answer."""
    reader = analyzer.bundle.text
    assert reader is not None
    if not reader.vocabulary.encode(text):
        return Given({}, False)
    with torch.inference_mode():
        logits = reader([text]).logits.cpu()
    return parts_of(logits, reader.network.config, analyzer.bundle)[0]
