"""Write the figures of voice, text, fusion and bundle into cards, recipe README and project README.

    python -m recipes.open.tables

Every number comes from a result file; a test checks that the pages are up to date.
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
from recipes.open.answer_tables import MISSING, answers_table, written_answers
from recipes.open.fusion.train import FusionTrainConfig
from recipes.open.text.train import TextTrainConfig
from recipes.open.voice.evaluate import CONDITIONS, RESULTS
from recipes.open.voice.train import VoiceTrainConfig

WEIGHTS = ROOT / "weights"
CARDS = Path(__file__).parent / "cards"
OTHER_WAYS = ("logistic stacking", "opinion pool", "product rule", "mean of scores")
WORLDS = {
    "realistic": "Half of the evidence corrupted, 5 % with label noise, some restrained, as in training:",
    "corrupted": "Half of the evidence corrupted:",
    "clean": "All evidence clean, and every modality shows the label:",
    "clean, equal shares": "The same, if all labels are equally frequent:",
}
VOICE, TEXT, FUSION = "voice-open7-whisper", "text-open7-minilm", "fusion-open7"

# Networks over folds of speakers: result, title, published figure.
FOLDED = (("ravdess", "RAVDESS, its own 8 labels", "–"), ("nemo", "nEMO, its own 6 labels", "–"))
# From the published encoder to ours, one change at a time.
LADDER = (
    ("ladder-are", "ARE as published: MFCC, last state, prosody (Yoon et al. 2018)"),
    ("ladder-frames", "without prosody, torch's recurrent unit of 128"),
    ("ladder-normalised", "+ frames without each utterance's mean, scaled"),
    ("ladder-bidirectional", "+ both directions"),
    ("ladder-attention", "+ attentive statistics over time"),
    ("ladder-log-mel", "+ log-mel through convolutions instead of MFCC"),
)
# Protocols of `voice-folds`: title, and kinds of reference with the heads of their columns.
HEADS = {
    "ravdess": "RAVDESS, 8 labels, five folds",
    "nemo": "nEMO, 6 labels, leave one speaker out",
    "ravdess to nemo": "RAVDESS → nEMO, 6 labels",
    "nemo to ravdess": "nEMO → RAVDESS, 6 labels",
}
REFERENCES = {
    "none": "no reference",
    "5 neutral": "5, mostly neutral",
    "10 neutral": "10, mostly neutral",
    "30 neutral": "30, mostly neutral",
    "30 lacking": "30, one emotion missing",
    "30 balanced": "30, balanced",
    "all": "all clips",
}
PROTOCOLS = {
    "goemotions-ekman": ("macro_f1", "GoEmotions, all labels of a comment", "biLSTM 53, BERT 64"),
    "goemotions-28": ("macro_f1", "GoEmotions, its 28 labels", "BERT 46"),
    "goemotions-named": ("macro_f1", "GoEmotions, the fine labels of the answer", "–"),
    "goemotions-one": ("macro_f1", "GoEmotions, comments with one label", "–"),
    "isear": ("macro_f1", "ISEAR", "–"),
    "so_emotion": ("macro_f1", "Stack Overflow", "–"),
    "meld": ("weighted_f1", "MELD dev, never trained on", "–"),
    "meld-sentiment": ("weighted_f1", "valence against MELD's sentiment, three classes", "–"),
    "emobank": ("pearson", "valence against EmoBank's ratings", "–"),
    "remarks": ("right", "sign of the valence of usability remarks, untouched half", "–"),
}
FIGURES = {
    "macro_f1": "macro-F1",
    "weighted_f1": "weighted F1",
    "pearson": "correlation",
    "right": "accuracy",
}


def read(name: str) -> dict[str, Any] | None:
    return generated.read_result(RESULTS, name)


def spread(figures: dict[str, float], folds: int) -> str:
    """Return the mean, with the deviation if there are several folds."""
    mean = f"{figures['mean']:.1%}"
    return f"{mean} ± {100 * figures['deviation']:.1f}" if folds > 1 else mean


def epochs_of(result: dict[str, Any]) -> str:
    return str(result["folds"][0]["training"]["epochs_done"])


def folds_table() -> str:
    """Return a table of the UAR on held-out speakers by corpus and condition."""
    rows = []
    for name, title, published in FOLDED:
        if result := read(name):
            folds = len(result["folds"])
            uars = [spread(result["summary"][c]["uar"], folds) for c in CONDITIONS]
            size = f"{result['parameters'] / 1e6:.1f} M"
            rows.append([title, str(folds), size, epochs_of(result), *uars, published])
    head = ["corpus", "folds", "parameters", "epochs", *CONDITIONS, "published"]
    return table(head, rows) if rows else MISSING


def heads_table() -> str:
    """Return a table of the UAR of heads on Whisper's fixed encoder, by protocol and reference."""
    result = read("voice-folds")
    if result is None:
        return MISSING
    rows = [
        [title, *(spread(found["summary"][kind], len(found["folds"])) for kind in REFERENCES)]
        for name, title in HEADS.items()
        if (found := result["protocols"].get(name))
    ]
    return table(["speakers never heard", *REFERENCES.values()], rows)


def references_table() -> str:
    """Return a table of the shipped voice on test speakers by what is known about their voices."""
    result = read(VOICE)
    references = result["folds"][0].get("references") if result else None
    if not references:
        return MISSING
    rows = [
        [
            title,
            f"**{row['uar']:.1%}**",
            f"{row['accuracy']:.1%}",
            f"{row['recall']['neutral']:.1%}",
            f"{row['calibration_error']:.3f}",
        ]
        for kind, title in REFERENCES.items()
        for row in [references[kind]]
    ]
    head = ["utterances of the speaker's own reference", "UAR", "WA", "neutral recall", "ECE"]
    return table(head, rows)


def ladder_table() -> str:
    """Return a table of the voice encoders between the published one and ours."""
    rows = []
    for name, title in LADDER:
        if result := read(name):
            figures, folds = result["summary"]["clean"], len(result["folds"])
            both = [spread(figures[name], folds) for name in ("uar", "accuracy")]
            rows.append([title, f"{result['parameters']:,}", epochs_of(result), *both])
    if (heads := read("voice-folds")) and (shipped := read(VOICE)):
        size = f"{shipped['parameters'] / 1e6:.1f} M"
        first = heads["protocols"]["ravdess"]["folds"][0]  # the same speakers
        for kind, title in (
            ("none", "Whisper tiny.en's first layers as they are, mean and deviation, a head"),
            ("30 neutral", "+ against 30 utterances of the speaker, 70 % of them neutral"),
        ):
            rows.append([title, size, "–", f"{first[kind]:.1%}", "–"])
    return table(["voice encoder", "parameters", "epochs", "UAR", "WA"], rows) if rows else MISSING


def voice_table(by_speaker: bool = False) -> str:
    """Return a table of the shipped voice network by condition and corpus, also by gender and speaker."""
    result = read(VOICE)
    if result is None:
        return MISSING
    fold = result["folds"][0]
    reports = {f"all, {name}": row for name, row in fold["figures"].items()}
    reports |= {
        f"{name}, clean": row
        for name, row in fold["groups"].items()
        if by_speaker or not (name in fold["speakers"] or "," in name)  # the comma is of a gender
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
    """Return a table of the recall of each emotion."""
    labels = [name for name, count in report["support"].items() if count]
    head = ["recall", *(f"{name} ({report['support'][name]:,})" for name in labels)]
    return table(head, [[title, *(f"{report['recall'][name]:.1%}" for name in labels)]])


def figure_of(report: Mapping[str, Any], figure: str) -> float:
    """Return a metric of a report; macro-F1 is computed anew, as older reports count missing labels as 0."""
    if figure == "macro_f1" and "confusion" in report:
        return macro_f1(numpy.array(report["confusion"]))
    return report[figure]


def text_table(names: tuple[str, ...] = (TEXT, "text-open7-words")) -> str:
    """Return a table of the figures of every protocol that a network was measured by."""
    rows = []
    for name in names:
        if result := read(f"{name}.test"):
            for protocol, (figure, title, published) in PROTOCOLS.items():
                if (report := result["protocols"].get(protocol)) is None:
                    continue  # a network without fine labels or valence
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


def fusion_table(world: str) -> str:
    """Return a table of the accuracy of each way to fuse, for each pattern of present modalities."""
    result = read(f"{FUSION}.test")
    if result is None:
        return MISSING
    rows = []
    for pattern, ways in result[world].items():
        alone = {way: row for way, row in ways.items() if way.endswith(" alone")}
        best = max(alone, key=lambda way: alone[way]["accuracy"])
        fused, gain = ways["late attention"], ways["gain"]
        rows.append(
            [
                pattern.replace("+", " + "),
                f"**{fused['accuracy']:.1%}**",
                *(f"{ways[way]['accuracy']:.1%}" for way in OTHER_WAYS),
                f"{alone[best]['accuracy']:.1%} ({best.removesuffix(' alone')})",
                f"{100 * gain['mean']:+.1f} ({100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})",
                f"{fused['uar']:.1%}",
                f"{fused['calibration_error']:.3f}",
            ]
        )
    head = ["present", "late attention", *OTHER_WAYS, "best alone", "gain over the best (95 %)"]
    return table([*head, "UAR", "ECE"], rows)


def attention_table() -> str:
    """Return a table of the mean attention to a modality in each of its conditions, the others clean."""
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
    looks: str = "the test split was measured once",
) -> str:
    """Return how the figures of a card were measured."""
    config = json.loads((WEIGHTS / folder / "config.json").read_text(encoding="utf-8"))
    return (
        f"Measured on {result['date']} at commit `{result['commit']}` by `{result['command']}`; "
        f"{looks}. Training: {training}. "
        f"Temperature {config['settings']['temperature']}, fitted on validation data."
    )


def cards() -> dict[Path, str]:
    """Return the cards of the bundle and of every part that has been measured."""
    figures: dict[str, list[str]] = {"open7": [written_answers()]}
    if result := read(VOICE):
        fold = result["folds"][0]
        about = generated.unusual(fold["training"], asdict(VoiceTrainConfig()), ("model", "seed"))
        recalls = recall_table(fold["figures"]["clean"], "all, clean")
        own = "Judged against the speaker's own voice, as `analyze` does from five utterances on:"
        tables = [voice_table(by_speaker=True), recalls, own, references_table()]
        figures[VOICE] = [*tables, measured(result, about, VOICE)]
    if result := read(f"{TEXT}.test"):
        about = generated.unusual(result["training"], asdict(TextTrainConfig()), ("model", "seed"))
        recalls = recall_table(result["protocols"]["goemotions-one"], "GoEmotions, one label")
        figures[TEXT] = [text_table((TEXT,)), recalls, measured(result, about, TEXT)]
    if result := read(f"{FUSION}.test"):
        about = generated.unusual(result["training"], asdict(FusionTrainConfig()), ("seed",))
        figures[FUSION] = [
            *(part for world in WORLDS for part in (WORLDS[world], fusion_table(world))),
            attention_table(),
            measured(result, about, FUSION, "see below for how often the test split was measured"),
        ]
    return {
        WEIGHTS / name / "README.md": (CARDS / f"{name}.md")
        .read_text(encoding="utf-8")
        .replace("{figures}", "\n\n".join(parts))
        for name, parts in figures.items()
    }


def pages() -> dict[Path, str]:
    """Return every generated page with its text."""
    blocks = {
        "answers": answers_table(),
        "voice folds": folds_table(),
        "voice ladder": ladder_table(),
        "voice results": voice_table(),
        "voice heads": heads_table(),
        "voice references": references_table(),
        "text results": text_table(),
        "fusion results": fusion_table("realistic"),
        "fusion clean": fusion_table("clean"),
        "attention": attention_table(),
        "written answers": written_answers(),
    }
    readmes = [ROOT / "README.md", ROOT / "recipes" / "open" / "README.md"]
    return cards() | generated.filled(readmes, blocks)


if __name__ == "__main__":
    generated.write(pages())
