"""Answers of `analyze_text` for held-out texts and for tables of invented remarks in usability tests."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.answers.figures import (
    Measured,
    ScoredSample,
    answer_of,
    chosen,
    open_analyzer,
    parts_of,
    row_of,
    with_progress,
)
from multimodal_fer import Analyzer
from multimodal_fer.errors import DataError
from multimodal_fer.labels import OPEN7
from multimodal_fer.types import strongest
from recipes.open.text.corpora import read_texts

PROTOCOL = (
    "analyze_text on each text that has one label; part: the text network's own scores. MELD's development "
    "part was never trained on"
)
HELD_OUT = {"goemotions": "test", "isear": "test", "so_emotion": "test", "meld": "validation"}
COLUMNS = ("text", "label", "also")


class Remark(NamedTuple):
    """A text with its label and, in a table, another label that a person could defend."""

    text: str
    label: str
    also: str = ""


def measure(folder: str, tables: Sequence[str], bundle: str, limit: int) -> dict[str, Any]:
    """Return the result of all corpora and of each table, with the misses of the tables."""
    analyzer = open_analyzer(bundle, "text")
    data = {corpus: read_corpus(folder, corpus) for corpus in HELD_OUT}
    data |= {Path(path).stem: read_table(path) for path in tables}
    rows = []
    for name, remarks in data.items():
        remarks = chosen(remarks, limit)
        measured = [ask(analyzer, remark) for remark in with_progress(name, remarks)]
        about = {} if name in HELD_OUT else {"misses": misses_of(remarks, measured)}
        rows.append(row_of(name, measured) | about)
    return {"bundle": analyzer.bundle.version, "protocol": PROTOCOL, "rows": rows}


def read_corpus(folder: str, corpus: str) -> list[Remark]:
    """Return the held-out texts of a corpus that have one label."""
    samples = read_texts(folder, [corpus], HELD_OUT[corpus])
    return [Remark(sample.text, *sample.labels) for sample in samples if len(sample.labels) == 1]


def read_table(path: str | Path) -> list[Remark]:
    """Read a table with the columns text, label and also. Raises `DataError` naming the row."""
    with Path(path).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    for number, row in enumerate(rows, start=2):
        if set(row) != set(COLUMNS) or row["label"] not in OPEN7:
            raise DataError(
                f"{path}, row {number}: expected {', '.join(COLUMNS)} with a label of "
                f"{', '.join(OPEN7)}, found {row}; correct the row"
            )
    return [Remark(**row) for row in rows]


def misses_of(remarks: Sequence[Remark], measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return the remarks that are answered with neither of their labels."""
    misses = []
    for remark, sample in zip(remarks, measured, strict=True):
        answer = strongest(sample.answer.scores)
        if answer not in (remark.label, remark.also):
            score = sample.answer.scores[answer] if answer else 0.0
            misses.append(remark._asdict() | {"answer": answer, "score": round(score, 3)})
    return misses


def ask(analyzer: Analyzer, remark: Remark) -> Measured:
    answer = answer_of(analyzer.analyze_text(remark.text))
    return Measured(remark.label, predict_text(analyzer, remark.text), answer)


def predict_text(analyzer: Analyzer, text: str) -> ScoredSample:
    """Return the prediction of the text network; a text without known words has none."""
    reader = analyzer.bundle.text
    assert reader is not None
    if not reader.vocabulary.encode(text):
        return ScoredSample({}, False)
    with torch.inference_mode():
        logits = reader([text]).logits.cpu()
    return parts_of(logits, reader.network.config, analyzer.bundle)[0]
