"""Write the figures of voice, text and fusion into cards, recipe README and project README.

    python -m recipes.open.tables

Every number comes from a result file; a test compares the pages with what this would write.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy

from multimodal_fer.training import generated_pages as generated
from multimodal_fer.training.generated_pages import ROOT, table
from multimodal_fer.training.metrics import macro_f1
from recipes.open.fusion.train import FusionTrainConfig
from recipes.open.text.train import TextTrainConfig
from recipes.open.voice.evaluate import CONDITIONS, RESULTS
from recipes.open.voice.train import VoiceTrainConfig

WEIGHTS = ROOT / "weights"
CARDS = Path(__file__).parent / "cards"
VOICE, TEXT, FUSION = "voice-open7-crnn", "text-open7-words", "fusion-open7"
MISSING = "Not measured yet."

# Voices by leaving speakers out: result, what it is, what others published.
FOLDED = (
    ("ravdess", "RAVDESS, its own 8 labels", "–"),
    ("nemo", "nEMO, its own 6 labels", "–"),
)
# From the published encoder to ours, one change at a time.
LADDER = (
    ("ladder-are", "ARE as published: MFCC, last state, prosody (Yoon et al. 2018)"),
    ("ladder-frames", "without prosody, torch's recurrent unit of 128"),
    ("ladder-normalised", "+ frames without each utterance's mean, scaled"),
    ("ladder-bidirectional", "+ both directions"),
    ("ladder-attention", "+ attentive statistics over time"),
    ("ladder-log-mel", "+ log-mel through convolutions instead of MFCC"),
)
PROTOCOLS = {
    "goemotions-ekman": ("macro_f1", "GoEmotions, all labels of a comment", "biLSTM 53, BERT 64"),
    "goemotions-one": ("macro_f1", "GoEmotions, comments with one label", "–"),
    "isear": ("macro_f1", "ISEAR", "–"),
    "so_emotion": ("macro_f1", "Stack Overflow", "–"),
    "meld": ("weighted_f1", "MELD dev, never trained on", "–"),
}
FIGURES = {"macro_f1": "macro-F1", "weighted_f1": "weighted F1"}
# What users get, by `evaluate.py`: kind of data → its name, and titles of its rows.
ANSWERS = {
    "speech": ("held-out speakers", {"ravdess": "RAVDESS", "nemo": "nEMO (Polish)"}),
    "faces": ("held-out faces", {"FER+ test": "FER+ test, as short videos"}),
    "texts": (
        "held-out texts",
        {
            "goemotions": "GoEmotions, one label",
            "isear": "ISEAR",
            "so_emotion": "Stack Overflow",
            "meld": "MELD dev, never trained on",
            "usability_answers": "invented answers of usability tests",
            "factual_remarks": "invented factual remarks",
        },
    ),
}


def read(name: str) -> dict[str, Any] | None:
    return generated.read_result(RESULTS, name)


def spread(figures: dict[str, float], folds: int) -> str:
    """Mean, and deviation where there is more than one fold."""
    mean = f"{figures['mean']:.1%}"
    return f"{mean} ± {100 * figures['deviation']:.1f}" if folds > 1 else mean


def folds_table() -> str:
    """UAR on speakers never heard, for each corpus and condition."""
    rows = []
    for name, title, published in FOLDED:
        if result := read(name):
            folds = len(result["folds"])
            uars = [spread(result["summary"][c]["uar"], folds) for c in CONDITIONS]
            epochs = result["folds"][0]["training"]["epochs_done"]
            size = f"{result['parameters'] / 1e6:.1f} M"
            rows.append([title, str(folds), size, str(epochs), *uars, published])
    head = ["corpus", "folds", "parameters", "epochs", *CONDITIONS, "published"]
    return table(head, rows) if rows else MISSING


def ladder_table() -> str:
    """What each change of the published voice encoder gave."""
    rows = []
    for name, title in LADDER:
        if result := read(name):
            figures, folds = result["summary"]["clean"], len(result["folds"])
            rows.append(
                [
                    title,
                    f"{result['parameters']:,}",
                    str(result["folds"][0]["training"]["epochs_done"]),
                    spread(figures["uar"], folds),
                    spread(figures["accuracy"], folds),
                ]
            )
    return table(["voice encoder", "parameters", "epochs", "UAR", "WA"], rows) if rows else MISSING


def voice_table(everyone: bool = False) -> str:
    """The shipped voice network on its own test speakers, by condition and corpus.

    With `everyone` by gender and speaker too.
    """
    result = read(VOICE)
    if result is None:
        return MISSING
    fold = result["folds"][0]
    reports = {f"all, {name}": row for name, row in fold["figures"].items()}
    people = {name for name in fold["groups"] if name in fold["speakers"] or "," in name}
    reports |= {
        f"{name}, clean": row
        for name, row in fold["groups"].items()
        if everyone or name not in people
    }
    clean = fold["figures"]["clean"]["uar"]
    rows = [
        [
            name,
            f"{row['clips']:,}",
            f"**{row['uar']:.1%}**",
            f"{row['uar'] / clean:.0%}" if name.startswith("all") else "",
            f"{row['accuracy']:.1%}",
            f"{row['calibration_error']:.3f}",
        ]
        for name, row in reports.items()
    ]
    return table(["test speakers' clips", "clips", "UAR", "of clean", "WA", "ECE"], rows)


def recall_table(report: dict[str, Any], title: str) -> str:
    """Recall of each emotion."""
    labels = [name for name, count in report["support"].items() if count]
    head = ["recall", *(f"{name} ({report['support'][name]:,})" for name in labels)]
    return table(head, [[title, *(f"{report['recall'][name]:.1%}" for name in labels)]])


def answers_table() -> str:
    """What `analyze` and `analyze_text` answer on files, beside what the parts say of them."""
    results = {kind: read(f"answers-{kind}") for kind in ANSWERS}
    rows = [
        answer_row(row, ANSWERS[kind][1])
        for kind, result in results.items()
        for row in (result or {"rows": []})["rows"]
    ]
    if not rows:
        return MISSING
    head = ["data", "files", "UAR", "part UAR", "WA", "part WA", "macro-F1", "ECE"]
    head += ["unsure", "right if unsure / sure"]
    missing = [ANSWERS[kind][0] for kind, result in results.items() if result is None]
    notes = [f"Not measured yet: {', '.join(missing)}."] if missing else []
    return "\n\n".join(
        [table(head, rows), *notes, *factual_notes(results["texts"]), *sources(results)]
    )


def answer_row(row: dict[str, Any], titles: dict[str, str]) -> list[str]:
    """One line: the answer's figures, and those of the part that they come from."""
    part, answer = row["part"], row["answer"]
    title = ", ".join(filter(None, [titles.get(row["data"], row["data"]), row.get("condition")]))
    lacking = f", {answer['unanswered']:,} no answer" if answer["unanswered"] else ""
    right = " / ".join(percent(answer[kind]["accuracy"]) for kind in ("unsure", "sure"))
    return [
        title,
        f"{row['files']:,}{lacking}",
        f"**{answer['uar']:.1%}**",
        f"{part['uar']:.1%}",
        f"{answer['accuracy']:.1%}",
        f"{part['accuracy']:.1%}",
        f"{answer['macro_f1']:.1%}",
        "–" if answer["calibration_error"] is None else f"{answer['calibration_error']:.3f}",
        percent(answer["unsure"]["share"]),
        right,
    ]


def percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def factual_notes(result: dict[str, Any] | None) -> list[str]:
    """How sure it is that factual remarks are neutral: all of them are, so a UAR says little."""
    return [
        f"Of {row['files']} factual remarks {neutral(row['answer'])} are answered as neutral, at a mean "
        f"score of {row['answer']['mean_score_of_truth']:.2f} (the text network alone: "
        f"{neutral(row['part'])}, {row['part']['mean_score_of_truth']:.2f})."
        for row in (result or {"rows": []})["rows"]
        if row["data"] == "factual_remarks"
    ]


def neutral(report: dict[str, Any]) -> int:
    return round(report["recall"]["neutral"] * report["support"]["neutral"])


def sources(results: dict[str, dict[str, Any] | None]) -> list[str]:
    """Where the figures come from, and which were taken on a few examples only."""
    return [
        f"Measured on {result['date']} at commit `{result['commit']}` with `{result['bundle']}` by "
        f"`{result['command']}`" + (", a few examples only." if result["limit"] else ".")
        for result in results.values()
        if result
    ]


def figure_of(report: Mapping[str, Any], figure: str) -> float:
    """A figure of a report. Older ones count a label that the corpus lacks as an F1 of zero: counted anew."""
    if figure == "macro_f1" and "confusion" in report:
        return macro_f1(numpy.array(report["confusion"]))
    return report[figure]


def text_table(names: tuple[str, ...] = (TEXT, "text-open7-minilm")) -> str:
    """Every protocol's figure."""
    rows = []
    for name in names:
        if result := read(f"{name}.test"):
            for protocol, (figure, title, published) in PROTOCOLS.items():
                report = result["protocols"][protocol]
                rows.append(
                    [
                        f"`{name}`, {result['parameters'] / 1e6:.1f} M",
                        title,
                        f"{report['texts']:,}",
                        FIGURES[figure],
                        f"**{figure_of(report, figure):.3f}**",
                        published,
                    ]
                )
    head = ["network", "texts", "number", "figure", "value", "published"]
    return table(head, rows) if rows else MISSING


def fusion_table(kind: str) -> str:
    """Accuracy of each way to join what is present, for each pattern."""
    result = read(f"{FUSION}.test")
    if result is None:
        return MISSING
    rows = []
    for pattern, ways in result[kind].items():
        alone = {way: row for way, row in ways.items() if way.endswith(" alone")}
        best = max(alone, key=lambda way: alone[way]["accuracy"])
        fused = ways["late attention"]
        rows.append(
            [
                pattern,
                f"**{fused['accuracy']:.1%}**",
                f"{ways['mean of scores']['accuracy']:.1%}",
                f"{ways['product rule']['accuracy']:.1%}",
                f"{alone[best]['accuracy']:.1%} ({best.removesuffix(' alone')})",
                f"{fused['uar']:.1%}",
                f"{fused['calibration_error']:.3f}",
            ]
        )
    head = ["present", "late attention", "mean of scores", "product rule", "best alone"]
    return table([*head, "UAR", "ECE"], rows)


def attention_table() -> str:
    """Mean attention to a modality in each of its conditions, the others clean."""
    result = read(f"{FUSION}.test")
    if result is None:
        return MISSING
    return table(
        ["modality", "its condition", "attention to it"],
        [
            [modality, condition, f"{share:.3f}"]
            for modality, conditions in result["attention"].items()
            for condition, share in conditions.items()
        ],
    )


def measured(
    result: dict[str, Any],
    training: str,
    folder: str,
    looked: str = "the test part was looked at once",
) -> str:
    """Where the figures of a card come from."""
    config = json.loads((WEIGHTS / folder / "config.json").read_text(encoding="utf-8"))
    return (
        f"Measured on {result['date']} at commit `{result['commit']}` by `{result['command']}`; "
        f"{looked}. Training: {training}. "
        f"Temperature {config['settings']['temperature']}, fitted on validation data."
    )


def answers_text() -> str:
    """How the bundle answers the written answers, and every miss."""
    result = read("usability-answers")
    if result is None:
        return MISSING
    misses = [
        [row["text"], row["label"], row["answer"] or "none", f"{row['score']:.2f}"]
        for row in result["misses"]
    ]
    return (
        f"Of {result['texts']} invented written answers of usability tests, labelled before any network "
        f"saw them, {result['as_labelled']} are answered as labelled and {result['defensible']} with a label "
        "that a person could defend. The others:\n\n"
        + table(["text", "label", "answer", "score"], misses)
    )


def cards() -> dict[Path, str]:
    """The card of every part that has been measured, and of the bundle."""
    figures: dict[str, list[str]] = {"open7": [answers_text()]}
    if result := read(VOICE):
        fold = result["folds"][0]
        about = generated.unusual(fold["training"], asdict(VoiceTrainConfig()), ("model", "seed"))
        recalls = recall_table(fold["figures"]["clean"], "all, clean")
        figures[VOICE] = [voice_table(everyone=True), recalls, measured(result, about, VOICE)]
    if result := read(f"{TEXT}.test"):
        about = generated.unusual(result["training"], asdict(TextTrainConfig()), ("model", "seed"))
        recalls = recall_table(result["protocols"]["goemotions-one"], "GoEmotions, one label")
        figures[TEXT] = [text_table((TEXT,)), recalls, measured(result, about, TEXT)]
    if result := read(f"{FUSION}.test"):
        about = generated.unusual(result["training"], asdict(FusionTrainConfig()), ("seed",))
        worn = "Half of the evidence worn, a tenth of another label, as in training:"
        clean = "All evidence clean and of the same label:"
        figures[FUSION] = [
            *(worn, fusion_table("worn"), clean, fusion_table("clean"), attention_table()),
            measured(result, about, FUSION, "see below for how often"),
        ]
    return {
        WEIGHTS / name / "README.md": (CARDS / f"{name}.md")
        .read_text(encoding="utf-8")
        .replace("{figures}", "\n\n".join(parts))
        for name, parts in figures.items()
    }


def pages() -> dict[Path, str]:
    """Every generated page with the text it should have."""
    blocks = {
        "answers": answers_table(),
        "voice folds": folds_table(),
        "voice ladder": ladder_table(),
        "voice results": voice_table(),
        "text results": text_table(),
        "fusion results": fusion_table("worn"),
        "fusion clean": fusion_table("clean"),
        "attention": attention_table(),
        "written answers": answers_text(),
    }
    readmes = [ROOT / "README.md", ROOT / "recipes" / "open" / "README.md"]
    return cards() | generated.filled(readmes, blocks)


if __name__ == "__main__":
    generated.write(pages())
