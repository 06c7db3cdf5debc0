"""Make a bundle from measured folds: weights of all turns, cards, terms, golden logits.

    python -m recipes.iemocap.export data=runs/iemocap fusion=runs/iemocap-fusion run=runs/iemocap-final
        [results=runs/iemocap-results] [weights=weights/iemocap4] [terms=FILE]

Trains what a bundle needs on every turn (`final.py` says how and why so), or goes on with it, then writes
the bundle WEIGHTS and its parts beside it, as `voice-NAME`, `text-NAME` and `fusion-NAME`. The cards'
figures are those that `evaluate` wrote into RESULTS for the fusion and its parts. Read LICENSE.md against
the release form that you signed before you publish; `terms=FILE` puts another text there.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multimodal_fer.errors import ConfigError, DataError
from multimodal_fer.hub.loading import load_bundle, save_bundle, save_model, verify_model
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.hub.weights_folder import CARD, TERMS, TRAVELS, WEIGHTS
from multimodal_fer.training.generated_pages import table
from multimodal_fer.training.run import current_commit
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import file_hash, prepare_folder, write_text
from recipes.iemocap.corpus.published_counts import check_contract
from recipes.iemocap.figures.measures import EMOTION_FIGURES
from recipes.iemocap.figures.scan import check_free
from recipes.iemocap.fuse import FuseConfig
from recipes.iemocap.learning.evidence import Parts
from recipes.iemocap.learning.final import Final, FinalSystem, train_final
from recipes.iemocap.learning.runs import fold_folder, load_state, trained_folds
from recipes.iemocap.learning.settings import read_settings
from recipes.iemocap.preparation.prepared import Prepared, load_prepared
from recipes.iemocap.tables import FIGURES, spread, subsets_table

CARDS = Path(__file__).parent / "cards"
UNSURE_BELOW = 0.5  # calibrated: such an answer is more likely wrong than right
LICENCE = "research only, as IEMOCAP's release form; see LICENSE.md of the bundle"
HEARD = {
    True: "Nobody in a test part is heard in its training part.",
    False: "**People and script lines of the test turns are in training too.**",
}
WHAT = {
    "voice": "It makes its features itself, from mono sound at 16 kHz.",
    "text": "It reads English words as its vocabulary.txt spells them.",
    "fusion": "It belongs to exactly those parts whose hashes its config.json names.",
}
HELD = {
    "voice": "The weights hold no recording.",
    "text": "Of the transcripts the vocabulary remains, by the alphabet.",
    "fusion": "It learnt from scores of the other parts and holds nothing else.",
}


@dataclass(frozen=True)
class Settings:
    """From what, and where to."""

    data: str = "runs/iemocap"
    fusion: str = "runs/iemocap-fusion"
    run: str = "runs/iemocap-final"  # of the trainings on all turns
    results: str = "runs/iemocap-results"
    weights: str = "weights/iemocap4"
    terms: str = ""  # a text instead of the recipe's own
    device: str = "auto"


def export(settings: Settings) -> Path:
    """Train, write and verify; returns the bundle's folder."""
    prepared = load_prepared(settings.data)
    measured = read_measured(settings, prepared)
    target = Path(settings.weights)
    prepare_folder(target.parent)
    system = train_final(settings.fusion, settings.run, prepared, settings.device)
    check_measured(measured["fusion"], system.folds)
    folders = write_parts(target, system, measured)
    prepare_folder(target)
    save_bundle(target, system.labels, UNSURE_BELOW, folders)
    write_text(target / TERMS[1], terms_text(settings.terms))
    write_text(
        target / CARD, bundle_card(target.name, system, measured, folders, partial_note(prepared))
    )
    for folder in folders.values():
        verify_model(folder)
    bundle = load_bundle(target)
    check_free([target, *folders.values()], prepared)
    print(
        f"written: {bundle.version} in {target}, parts beside it; nothing of the corpus found in it"
    )
    print(f"before you publish, read {target / TERMS[1]} against the release form that you signed")
    return target


# --- what was measured ---


def read_measured(settings: Settings, prepared: Prepared) -> dict[str, dict[str, Any]]:
    """Results of the fusion and of its voice and text parts, on this prepared release."""
    state = load_state(
        fold_folder(settings.fusion, trained_folds(settings.fusion)[0]) / "half-0", prepared
    )
    names = {"fusion": Path(settings.fusion).name}
    found = {"fusion": _read_result(settings, names["fusion"], prepared)}
    for part in FuseConfig(**state["config"]).runs:
        path = Path(settings.results) / f"{Path(part).name}.json"
        if path.is_file():
            result = _read_result(settings, Path(part).name, prepared)
            found[result["modalities"][0]] = result
    return found


def _read_result(settings: Settings, name: str, prepared: Prepared) -> dict[str, Any]:
    path = Path(settings.results) / f"{name}.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        release = result["manifest_sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path}: expected figures for the card ({error}); make them with "
            "python -m recipes.iemocap.evaluate"
        ) from None
    if release != prepared.hash:
        raise DataError(f"{path}: is of another prepared release; measure again")
    if result["folds_measured"] < result["folds_of_protocol"]:
        raise DataError(
            f"{path}: has {result['folds_measured']} of {result['folds_of_protocol']} folds; train, fuse and "
            "measure the others first"
        )
    return result


def check_measured(result: Mapping[str, Any], folds: list[Parts]) -> None:
    """Figures must be of the folds that the weights come from."""
    for row, parts in zip(result["folds"], folds, strict=True):
        then = {name: part["weights_sha256"] for name, part in row["parts"].items()}
        if then != parts.digests:
            raise DataError(
                f"{result['name']}: fold {row['name']} was measured with other parts than there are now; "
                "measure again with python -m recipes.iemocap.evaluate"
            )


# --- what is written ---


def write_parts(
    target: Path, system: FinalSystem, measured: Mapping[str, dict[str, Any]]
) -> dict[str, Path]:
    """Each part's folder beside the bundle, by what it is; the face is copied where it is not there."""
    face = find_weights(system.face)
    folders = {"face": target.parent / face.name}
    if not folders["face"].is_dir():
        folders["face"].mkdir()
        for name in TRAVELS:
            if (face / name).is_file():
                shutil.copyfile(face / name, folders["face"] / name)
    elif file_hash(folders["face"] / WEIGHTS) != file_hash(face / WEIGHTS):
        raise ConfigError(
            f"{folders['face']}: holds other weights than {face}; choose another place"
        )
    for name, final in system.parts.items():
        folders[name] = _write_part(target, name, final, system, measured)
    pinned = {name: file_hash(folder / WEIGHTS) for name, folder in folders.items()}
    folders["fusion"] = _write_part(
        target, "fusion", system.fusion, system, measured, {"parts": pinned}
    )
    return folders


def _write_part(
    target: Path,
    name: str,
    final: Final,
    system: FinalSystem,
    measured: Mapping[str, dict[str, Any]],
    more: Mapping[str, Any] | None = None,
) -> Path:
    folder = target.parent / f"{name}-{target.name}"
    model = "late-attention" if name == "fusion" else final.record["model"]
    result = measured.get(name)
    about = {
        "modality": name,
        "licence": LICENCE,
        "training": final.record,
        "commit": current_commit(),
        "results": published_results(result) if result else {},
        **(more or {}),
    }
    save_model(folder, model, final.model, about, final.vocabulary)
    # Measured alone, or else as the only modality that late attention was given.
    figures = figures_table({name: result}) if result else _subset(measured["fusion"], name)
    alone = "By itself." if name != "fusion" else "All modalities that a turn has."
    whole = measured["fusion"]
    page = (CARDS / "part.md").read_text(encoding="utf-8")
    words = _words(whole) | {
        "name": folder.name,
        "bundle": target.name,
        "modality": name,
        "what": WHAT[name] + (_transcribed(final) if name == "text" else ""),
        "held": HELD[name],
        "alone": alone,
        "figures": figures,
        "labels": ", ".join(system.labels),
    }
    write_text(folder / CARD, filled(page, words))
    return folder


def _transcribed(final: Final) -> str:
    if final.record.get("transcripts") != "whisper":
        return " It learnt from the corpus's own transcripts."
    return f" It learnt from words as Whisper heard them (model {final.record['speech_model']})."


def _subset(result: Mapping[str, Any], name: str) -> str:
    figures = result["subsets"][name]["late attention"]
    return table(["", "WA", "UA"], [[name, f"{figures['accuracy']:.3f}", f"{figures['uar']:.3f}"]])


def published_results(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The folds' means as the config keeps them: what it was measured on → figure → value."""
    title = f"IEMOCAP, {result['target']}, {result['protocol']}, mean of {result['folds_measured']} folds"
    return {
        title: {
            FIGURES[name]: round(result["summary"][name]["mean"], 4)
            for name in EMOTION_FIGURES
            if name in result["summary"]
        }
    }


def figures_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A row a system: mean and deviation of each figure."""
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
    partial: str = "",
) -> str:
    """The card of the whole, with figures of the fusion and of each part that was measured alone."""
    whole = measured["fusion"]
    rows = [
        f"| {part} | `{folder.name}` | [data, figures, limits](../{folder.name}/{CARD}) |"
        for part, folder in folders.items()
    ]
    shown = {"fusion": "all together", "voice": "voice alone", "text": "words alone"}
    results = {shown[part]: result for part, result in measured.items() if part in shown}
    epochs = {**system.parts, "fusion": system.fusion}
    words = _words(whole) | {
        "name": name,
        "count": str(len(system.labels)),
        "labels": ", ".join(system.labels),
        "parts": "\n".join(rows),
        "unsure": str(UNSURE_BELOW),
        "partial": partial,
        "chance": f"{whole['pooled']['calibration_error_by_chance']:.3f}",
        "pooled": f"{whole['pooled']['calibration_error']:.3f}",
        "figures": figures_table(results),
        "subsets": subsets_table(whole),
        "turns": f"{system.fusion.record['turns']:,}",
        "improvised": f"{whole['improvised']['uar']:.3f}" if "uar" in whole["improvised"] else "–",
        "epochs": ", ".join(
            f"{part} {final.record['epochs_done']}" for part, final in epochs.items()
        ),
    }
    return filled((CARDS / "bundle.md").read_text(encoding="utf-8"), words)


def partial_note(prepared: Prepared) -> str:
    """What a card says of turns that are not those of the published release; nothing where they are."""
    found = check_contract(prepared.turns, allow_partial=True)
    if not found:
        return ""
    return (
        " **Not on the release as published:** "
        f"{len(found)} of its counts differ, so part of it was missing or it was another corpus, such as an "
        "artificial one for tests. Figures are not comparable with anybody's."
    )


def _words(result: Mapping[str, Any]) -> dict[str, str]:
    """What every card says of the protocol."""
    return {
        "protocol": result["protocol"],
        "says": result["protocol_says"],
        "heard": HEARD[result["speakers_of_test_unheard"]],
        "folds": str(result["folds_measured"]),
        "date": result["date"],
        "commit": result["commit"],
    }


def filled(page: str, words: Mapping[str, str]) -> str:
    """A page with its places filled; code and tables may hold other braces."""
    for name, text in words.items():
        page = page.replace("{" + name + "}", text)
    return page


def terms_text(path: str) -> str:
    """The terms of the bundle."""
    place = Path(path) if path else CARDS / "LICENSE.md"
    try:
        text = place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{place}: expected a text of terms ({error})") from None
    if "iemocap" not in text.lower():
        raise ConfigError(f"{place}: expected terms that name IEMOCAP; write them down")
    return text


def main(*words: str) -> None:
    """The command line."""
    export(read_settings(Settings, words))


if __name__ == "__main__":
    run_command(main, __doc__, 1, more=True)
