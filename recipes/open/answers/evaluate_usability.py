"""Ask the default bundle about written answers of usability tests, and list what it gets wrong.

    python -m recipes.open.answers.evaluate_usability tests/data/usability_answers.csv

The table has the columns `text`, `label` and `also` (another label that a person could defend). Writes
`results/usability-answers.json`.
"""

import csv
from pathlib import Path
from typing import Any

from multimodal_fer import Analyzer
from multimodal_fer.errors import DataError
from multimodal_fer.labels import OPEN7
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import write_json

RESULTS = Path(__file__).parent.parent / "results"
COLUMNS = ("text", "label", "also")


def read_answers(path: str | Path) -> list[dict[str, str]]:
    """Rows with `text`, `label` and `also`. Raises `DataError` naming the row."""
    with Path(path).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    for number, row in enumerate(rows, start=2):
        if set(row) != set(COLUMNS) or row["label"] not in OPEN7:
            raise DataError(
                f"{path}, row {number}: expected {', '.join(COLUMNS)} with a label of "
                f"{', '.join(OPEN7)}, found {row}"
            )
    return rows


def measure(analyzer: Analyzer, rows: list[dict[str, str]]) -> dict[str, Any]:
    """How many answers are as labelled, how many at least defensible, and the others."""
    right, defensible, misses = 0, 0, []
    for row in rows:
        answer = analyzer.analyze_text(row["text"])
        right += answer.emotion == row["label"]
        if answer.emotion in {row["label"], row["also"]}:
            defensible += 1
        else:
            score = answer.scores[answer.emotion] if answer.emotion else 0.0
            misses.append(row | {"answer": answer.emotion, "score": round(score, 3)})
    return {"texts": len(rows), "as_labelled": right, "defensible": defensible, "misses": misses}


def main(path: str) -> None:
    """Measure, print and write."""
    analyzer = Analyzer()
    figures = measure(analyzer, read_answers(path))
    command = f"python -m recipes.open.answers.evaluate_usability {path}"
    RESULTS.mkdir(exist_ok=True)
    write_json(
        RESULTS / "usability-answers.json",
        {"bundle": analyzer.bundle.version, **provenance(command), **figures},
    )
    print(f"{figures['as_labelled']} of {figures['texts']} as labelled, ", end="")
    print(f"{figures['defensible']} defensible; misses:")
    for miss in figures["misses"]:
        print(f"  {miss['label']}: {miss['text']}  (answer: {miss['answer']} {miss['score']})")


if __name__ == "__main__":
    run_command(main, __doc__, 1)
