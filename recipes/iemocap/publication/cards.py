"""The model cards and terms of a bundle, filled in from the results of `evaluate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multimodal_fer.errors import ConfigError
from multimodal_fer.hub.weights_folder import CARD
from multimodal_fer.training.generated_pages import table
from recipes.iemocap.corpus.published_counts import check_counts
from recipes.iemocap.preparation.prepared import Prepared
from recipes.iemocap.publication.final_training import Final, FinalSystem
from recipes.iemocap.tables import FIGURES, NONE, spread, subsets_table

CARDS = Path(__file__).parent.parent / "cards"
UNSURE_BELOW = 0.5  # calibrated: below it, an answer is more likely wrong than right
SPEAKERS = {
    True: "No speaker of a test part is in its training part.",
    False: "**Speakers and script lines of the test turns are in training too.**",
}
DESCRIPTIONS = {
    "voice": "It computes its features from mono sound at 16 kHz.",
    "text": "It reads English words as spelled in its vocabulary.txt.",
    "fusion": "It works only with the parts whose hashes are in its config.json.",
}
CONTENT = {
    "voice": "The weights hold no recording.",
    "text": "Of the transcripts, they hold the vocabulary in alphabetical order.",
    "fusion": "It was trained on scores of the other parts and holds nothing else.",
}


def figures_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a row per system with mean and deviation of each figure."""
    rows = [
        [
            name,
            f"{result['turns']:,}",
            *(spread(result["summary"][key], result["folds_measured"]) for key in FIGURES),
        ]
        for name, result in results.items()
    ]
    return table(["system", "turns", *FIGURES.values()], rows)


def bundle_card(
    name: str,
    system: FinalSystem,
    measured: Mapping[str, dict[str, Any]],
    folders: Mapping[str, Path],
    prepared: Prepared,
) -> str:
    """Return the card of the bundle, with figures of the fusion and of each part measured alone."""
    whole = measured["fusion"]
    rows = [
        f"| {part} | `{folder.name}` | [data, figures, limits](../{folder.name}/{CARD}) |"
        for part, folder in folders.items()
    ]
    shown = {"fusion": "all together", "voice": "voice alone", "text": "text alone"}
    results = {shown[part]: result for part, result in measured.items() if part in shown}
    trained = {**system.parts, "fusion": system.fusion}
    epochs = (f"{part} {final.record['epochs_done']}" for part, final in trained.items())
    return _filled_page(
        "bundle.md",
        _shared_values(whole, system)
        | {
            "name": name,
            "count": str(len(system.labels)),
            "parts": "\n".join(rows),
            "unsure": str(UNSURE_BELOW),
            "partial": partial_note(prepared),
            "chance": f"{whole['pooled']['calibration_error_by_chance']:.3f}",
            "pooled": f"{whole['pooled']['calibration_error']:.3f}",
            "figures": figures_table(results),
            "subsets": subsets_table(whole),
            "turns": f"{system.fusion.record['turns']:,}",
            "improvised": f"{whole['improvised']['uar']:.3f}" if "uar" in whole["improvised"] else NONE,
            "epochs": ", ".join(epochs),
        },
    )  # fmt: skip


def part_card(
    name: str,
    modality: str,
    bundle: str,
    final: Final,
    system: FinalSystem,
    measured: Mapping[str, dict[str, Any]],
) -> str:
    """Return the card of a part, with its figures alone or as the only modality of the fusion."""
    whole = measured["fusion"]
    if result := measured.get(modality):
        figures = figures_table({modality: result})
    else:
        row = whole["subsets"][modality]["late attention"]
        cells = [modality, f"{row['accuracy']:.3f}", f"{row['uar']:.3f}"]
        figures = table(["", "WA", "UA"], [cells])
    description = DESCRIPTIONS[modality]
    if modality == "text":
        source = "the transcripts of the corpus"
        if final.record.get("transcripts") == "whisper":
            source = f"transcripts by Whisper (model {final.record['speech_model']})"
        description += f" It was trained on {source}."
    return _filled_page(
        "part.md",
        _shared_values(whole, system)
        | {
            "name": name,
            "bundle": bundle,
            "modality": modality,
            "description": description,
            "content": CONTENT[modality],
            "used": "All available modalities." if modality == "fusion" else "This part alone.",
            "figures": figures,
        },
    )


def partial_note(prepared: Prepared) -> str:
    """Return a warning if the turns are not those of the published release; else nothing."""
    found = check_counts(prepared.turns, allow_partial=True)
    if not found:
        return ""
    return (
        " **Not on the release as published:** "
        f"{len(found)} counts differ, so the release was incomplete, or it was another corpus such as an "
        "artificial one for tests. The figures are not comparable with published ones."
    )


def _shared_values(result: Mapping[str, Any], system: FinalSystem) -> dict[str, str]:
    return {
        "protocol": result["protocol"],
        "protocol_description": result["protocol_says"],
        "speakers": SPEAKERS[result["speakers_of_test_unheard"]],
        "folds": str(result["folds_measured"]),
        "date": result["date"],
        "commit": result["commit"],
        "labels": ", ".join(system.labels),
    }


def _filled_page(template: str, values: Mapping[str, str]) -> str:
    page = (CARDS / template).read_text(encoding="utf-8")
    for name, text in values.items():  # not str.format: pages may hold other braces
        page = page.replace("{" + name + "}", text)
    return page


def terms_text(path: str) -> str:
    """Return the terms of the bundle. Raises `ConfigError` for a text that does not name IEMOCAP."""
    place = Path(path) if path else CARDS / "LICENSE.md"
    try:
        text = place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{place}: expected a text of terms ({error})") from None
    if "iemocap" not in text.lower():
        raise ConfigError(f"{place}: expected terms that name IEMOCAP; add the name to the text")
    return text
