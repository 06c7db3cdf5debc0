"""Answers of `analyze_text` for held-out texts and for tables of invented remarks in usability tests.

Valence is measured against EmoBank's ratings, MELD's sentiment, and the untouched half of the remarks.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from benchmarks.answers.figures import (
    Measured,
    ScoredSample,
    answer_of,
    chosen,
    open_analyzer,
    row_of,
    with_progress,
)
from multimodal_fer import Analyzer
from multimodal_fer.errors import DataError
from multimodal_fer.labels import FER_PLUS_TO_OPEN7, GOEMOTIONS_TO_OPEN7, OPEN7, fold_scores
from multimodal_fer.types import strongest
from recipes.open.text.corpora import read_texts
from recipes.open.text.valence import (
    SIGNS,
    Rated,
    measure_ratings,
    measure_signs,
    read_emobank,
    read_remarks,
    read_sentiment,
)

PROTOCOL = (
    "analyze_text on each text that has one label; part: the text network's own scores. MELD's development "
    "part was never trained on"
)
HELD_OUT = {"goemotions": "test", "isear": "test", "so_emotion": "test", "meld": "validation"}
COLUMNS = ("text", "label", "also")
REMARK_COLUMNS = (
    "text",
    "valence",
    "fine",
    "style",
    "split",
)  # half of the rows were for development


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
    return {
        "bundle": analyzer.bundle.version,
        "protocol": PROTOCOL,
        "rows": rows,
        "valence": measure_valence(analyzer, folder, limit),
    }


def measure_valence(analyzer: Analyzer, folder: str, limit: int) -> dict[str, Any]:
    """Return the figures of the valence of texts, by data."""
    figures = {}
    sets = {
        "emobank": (read_emobank(folder, "test"), measure_ratings),
        "meld": (read_sentiment(folder), measure_signs),
        "usability_remarks": (read_remarks("test"), measure_signs),
    }
    for name, (rated, compare) in sets.items():
        rated = chosen(rated, limit)
        given = [valence_of(analyzer, row) for row in with_progress(f"valence, {name}", rated)]
        figures[name] = compare(numpy.array(given), rated)
    return figures


def valence_of(analyzer: Analyzer, rated: Rated) -> float:
    """Return the valence of a text; zero if none is given."""
    segments = analyzer.analyze_text(rated.text).segments
    return (segments[0].text_valence if segments else None) or 0.0


def read_corpus(folder: str, corpus: str) -> list[Remark]:
    """Return the held-out texts of a corpus that have one label."""
    samples = read_texts(folder, [corpus], HELD_OUT[corpus])
    return [Remark(sample.text, *sample.labels) for sample in samples if len(sample.labels) == 1]


def read_table(path: str | Path) -> list[Remark]:
    """Read a table with the columns text, label and also, or the untouched half of one with fine labels.

    Raises `DataError` naming the row.
    """
    with Path(path).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    if rows and set(rows[0]) == set(REMARK_COLUMNS):
        return [
            remark_of(row, f"{path}, row {n}")
            for n, row in enumerate(rows, 2)
            if row["split"] == "test"
        ]
    for number, row in enumerate(rows, start=2):
        if set(row) != set(COLUMNS) or row["label"] not in OPEN7:
            raise DataError(
                f"{path}, row {number}: expected {', '.join(COLUMNS)} with a label of "
                f"{', '.join(OPEN7)}, found {row}; correct the row"
            )
    return [Remark(**row) for row in rows]


def remark_of(row: dict[str, str], where: str) -> Remark:
    if row["valence"] not in SIGNS or row["fine"] not in GOEMOTIONS_TO_OPEN7:
        raise DataError(
            f"{where}: expected a valence of {', '.join(SIGNS)} and a label of GoEmotions, found {row}; "
            "correct the row"
        )
    return Remark(row["text"], GOEMOTIONS_TO_OPEN7[row["fine"]])


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
    prediction = reader.predict([text])[0]
    if prediction is None:
        return ScoredSample({}, False)
    scores = fold_scores(prediction.scores, OPEN7, FER_PLUS_TO_OPEN7)
    return ScoredSample(scores, max(scores.values()) < analyzer.bundle.unsure_below)
