"""Results as a Markdown table, with published figures and their protocols in the next column.

    python -m recipes.iemocap.tables runs/iemocap-results/*.json

Reads what `evaluate` wrote; comparisons of two systems get a table of their own.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multimodal_fer.errors import DataError
from multimodal_fer.training.generated_pages import table
from multimodal_fer.utils.command_line import run_command
from recipes.iemocap.figures.measures import NUMBER_FIGURES
from recipes.iemocap.figures.published import published_beside

FIGURES = {
    "accuracy": "WA",
    "uar": "UA",
    "macro_f1": "macro-F1",
    "weighted_precision": "WAP",
    "calibration_error": "ECE",
}
DIMENSIONS = {name: name.replace("ccc_", "CCC, ") for name in NUMBER_FIGURES}
NONE = "–"


def read_results(paths: Sequence[str]) -> list[dict[str, Any]]:
    """Result files, those of systems and those of comparisons."""
    found = []
    for path in paths:
        try:
            result = json.loads(Path(path).read_text(encoding="utf-8"))
            found.append(result | {"name": result["name"]})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: is no result file ({error}); make it with python -m recipes.iemocap.evaluate"
            ) from None
    return found


def systems_table(results: Sequence[dict[str, Any]], names: dict[str, str]) -> str:
    """A row a system: mean and deviation over the folds, and what others report."""
    head = ["system", "modalities", "protocol", "labels", "folds", "turns", *names.values()]
    if "uar" in names:
        head += ["UA pooled", "UA improvised", "UA scripted", "ECE pooled (by chance)"]
    head += ["published, and its protocol"]
    return table(head, [system_row(result, names) for result in results])


def system_row(result: dict[str, Any], names: dict[str, str]) -> list[str]:
    folds = result["folds_measured"]
    row = [
        f"`{result['name']}`",
        ", ".join(result["modalities"]),
        result["protocol"],
        result["target"],
        f"{folds} of {result['folds_of_protocol']}",
        f"{result['turns']:,}",
        *(spread(result["summary"][name], folds) for name in names),
    ]
    if "uar" in names:
        kinds = ("pooled", "improvised", "scripted")
        row += [f"{result[kind]['uar']:.3f}" if "uar" in result[kind] else NONE for kind in kinds]
        errors = [result["pooled"][f"calibration_error{way}"] for way in ("", "_by_chance")]
        row.append("{:.3f} ({:.3f})".format(*errors))
    return [*row, published_beside_it(result)]


def spread(figures: dict[str, float], folds: int) -> str:
    """Mean, and deviation where there is more than one fold."""
    mean = f"{figures['mean']:.3f}"
    return f"{mean} ± {figures['deviation']:.3f}" if folds > 1 else mean


def published_beside_it(result: dict[str, Any]) -> str:
    """Figures of other systems, each with its protocol: of another one, they do not compare."""
    rows = published_beside(result["model"], tuple(result["modalities"]))
    if result["target"] != "four" or not rows:
        return NONE
    return "<br>".join(
        f"{row.system}: {row.figure}, {row.protocol}{', recalled' if row.recalled else ''}"
        for row in rows
    )


def subsets_table(result: dict[str, Any]) -> str:
    """What late attention and the rules without weights make of fewer modalities."""
    ways = list(next(iter(result["subsets"].values())))
    rows = [
        [title, *(f"{by_way[way]['accuracy']:.3f} / {by_way[way]['uar']:.3f}" for way in ways)]
        for title, by_way in result["subsets"].items()
    ]
    return table([f"`{result['name']}`, WA / UA pooled", *ways], rows)


def comparisons_table(results: Sequence[dict[str, Any]]) -> str:
    rows = []
    for result in results:
        shown = []
        for name in ("accuracy", "uar"):
            low, high = result[name]["interval"]
            shown.append(f"{result[name]['difference']:+.3f} ({low:+.3f} to {high:+.3f})")
        first, second = result["name"].split("-against-")
        rows.append([f"`{first}` less `{second}`", f"{result['turns']:,}", *shown])
    return table(["difference (95 % interval over dialogs)", "turns", "WA", "UA"], rows)


def tables(results: Sequence[dict[str, Any]]) -> str:
    """All tables that there are rows for."""
    systems = [result for result in results if "summary" in result]
    emotions = [result for result in systems if "uar" in result["summary"]]
    numbers = [result for result in systems if "uar" not in result["summary"]]
    compared = [result for result in results if "accuracy" in result and "summary" not in result]
    parts = [systems_table(emotions, FIGURES)] if emotions else []
    parts += [systems_table(numbers, DIMENSIONS)] if numbers else []
    parts += [subsets_table(result) for result in systems if result["subsets"]]
    parts += [comparisons_table(compared)] if compared else []
    return "\n\n".join(parts)


def main(*paths: str) -> None:
    """Print."""
    print(tables(read_results(paths)))


if __name__ == "__main__":
    run_command(main, __doc__, 1, more=True)
