"""Print results as Markdown tables, with published figures and their protocols in the last column.

    python -m recipes.iemocap.tables runs/iemocap-results/*.json

Reads the files that `evaluate` wrote; comparisons of two systems get their own table.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multimodal_fer.errors import DataError
from multimodal_fer.training.generated_pages import table
from multimodal_fer.utils.command_line import run_command
from recipes.iemocap.learning.measures import NUMBER_FIGURES

FIGURES = {
    "accuracy": "WA",
    "uar": "UA",
    "macro_f1": "macro-F1",
    "weighted_precision": "WAP",
    "calibration_error": "ECE",
}
DIMENSIONS = {name: name.replace("ccc_", "CCC, ") for name in NUMBER_FIGURES}
NONE = "–"

RANDOM5 = "random 5 folds of turns"  # speakers and script lines of the test turns are in training
SESSIONS5 = "5 folds by session"
SPEAKERS10 = "10 folds by speaker"
VOICE, TEXT = ("voice",), ("text",)
BOTH, ALL = ("voice", "text"), ("face", "voice", "text")


class Published(NamedTuple):
    """A published figure of another system; figures of different protocols are not comparable."""

    system: str
    modalities: tuple[str, ...]
    protocol: str
    figure: str  # of four labels unless stated otherwise
    model: str = ""  # the same network in this recipe, if there is one
    recalled: bool = False  # not checked against the source; check before printing it elsewhere


PUBLISHED = (
    Published("ARE (Yoon 2018)", VOICE, RANDOM5, "WAP 0.546", "are"),
    Published("TRE (Yoon 2018)", TEXT, RANDOM5, "WAP 0.635", "tre"),
    Published("MDRE (Yoon 2018)", BOTH, RANDOM5, "WAP 0.718", "mdre"),
    Published("MDREA (Yoon 2018)", BOTH, RANDOM5, "WAP 0.690", "mdrea", recalled=True),
    Published("WavLM large, frozen (SUPERB)", VOICE, SESSIONS5, "WA 0.706", recalled=True),
    Published("wav2vec 2.0 base, frozen (SUPERB)", VOICE, SESSIONS5, "WA 0.634", recalled=True),
    Published("FBANK (SUPERB)", VOICE, SESSIONS5, "WA 0.354", recalled=True),
    Published("wav2vec 2.0 or HuBERT, fine-tuned (Wang 2021)", VOICE, "unseen speakers", "WA 0.730"),
    Published("wav2vec 2.0 or HuBERT, fine-tuned (Wang 2021)", VOICE, "seen speakers", "WA 0.796"),
    Published("ECAPA-TDNN (SpeechBrain)", VOICE, "random 80/10/10", "WA 0.657"),
    Published("IAAN", VOICE, SESSIONS5, "WA 0.653, UA 0.671"),
    Published("IAAN and DED-CRF, with the dialog", VOICE, SESSIONS5, "WA 0.717, UA 0.732"),
    Published("DAG-ERC, with the dialog", TEXT, "test session 5, six labels", "weighted F1 0.679"),
    Published("MMIN and IF-MMIN, nothing missing", ALL, SPEAKERS10, "WA and UA 0.75 to 0.78", recalled=True),
    Published("Singh and Fang 2020", ("face", "voice"), "own split", "WA 0.540"),
)  # fmt: skip


def published_beside(model: str, modalities: tuple[str, ...]) -> list[Published]:
    """Return figures of the same network or, without any, those of the same modalities."""
    same = [row for row in PUBLISHED if row.model == model]
    return same or [row for row in PUBLISHED if row.modalities == modalities and not row.model]


def read_results(paths: Sequence[str]) -> list[dict[str, Any]]:
    """Read result files of systems and comparisons. Raises `DataError` for any other file."""
    found = []
    for path in paths:
        try:
            result = json.loads(Path(path).read_text(encoding="utf-8"))
            found.append(result | {"name": result["name"]})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: expected a result file ({error}); make it with python -m recipes.iemocap.evaluate"
            ) from None
    return found


def systems_table(results: Sequence[dict[str, Any]], names: dict[str, str]) -> str:
    """Return a row per system: mean and deviation over the folds, and published figures."""
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
        errors = [result["pooled"][f"calibration_error{end}"] for end in ("", "_by_chance")]
        row.append("{:.3f} ({:.3f})".format(*errors))
    return [*row, published_cell(result)]


def spread(figures: dict[str, float], folds: int) -> str:
    """Format the mean, and the deviation if there are several folds."""
    mean = f"{figures['mean']:.3f}"
    return f"{mean} ± {figures['deviation']:.3f}" if folds > 1 else mean


def published_cell(result: dict[str, Any]) -> str:
    rows = published_beside(result["model"], tuple(result["modalities"]))
    if result["target"] != "four" or not rows:
        return NONE
    return "<br>".join(
        f"{row.system}: {row.figure}, {row.protocol}{', recalled' if row.recalled else ''}"
        for row in rows
    )


def subsets_table(result: dict[str, Any]) -> str:
    """Return WA and UA of each fusion method for each subset of the modalities."""
    methods = list(next(iter(result["subsets"].values())))
    rows = [
        [title, *(f"{row[name]['accuracy']:.3f} / {row[name]['uar']:.3f}" for name in methods)]
        for title, row in result["subsets"].items()
    ]
    return table([f"`{result['name']}`, WA / UA pooled", *methods], rows)


def comparisons_table(results: Sequence[dict[str, Any]]) -> str:
    rows = []
    for result in results:
        shown = []
        for name in ("accuracy", "uar"):
            low, high = result[name]["interval"]
            shown.append(f"{result[name]['difference']:+.3f} ({low:+.3f} to {high:+.3f})")
        first, second = result["name"].split("-against-")
        rows.append([f"`{first}` minus `{second}`", f"{result['turns']:,}", *shown])
    return table(["difference (95 % interval over dialogs)", "turns", "WA", "UA"], rows)


def tables(results: Sequence[dict[str, Any]]) -> str:
    """Return all tables that have rows."""
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
    """Run the command."""
    print(tables(read_results(paths)))


if __name__ == "__main__":
    run_command(main, __doc__, 1, more=True)
