"""Make a bundle from measured folds: weights trained on all turns, cards, terms and reference outputs.

    python -m recipes.iemocap.export data=runs/iemocap fusion=runs/iemocap-fusion run=runs/iemocap-final
        [results=runs/iemocap-results] [weights=weights/iemocap4] [terms=FILE]

Trains the parts on every turn, or continues (see `publication/final_training.py`), then writes the bundle
WEIGHTS and its parts beside it, as `voice-NAME`, `text-NAME` and `fusion-NAME`. The figures of the cards
are those that `evaluate` wrote into RESULTS for the fusion and its parts. Compare LICENSE.md with the
release form that you signed before you publish; `terms=FILE` replaces the text.
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
from multimodal_fer.training.run import current_commit
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import file_hash, prepare_folder, write_text
from recipes.iemocap.fuse import FuseConfig
from recipes.iemocap.learning.config import read_settings
from recipes.iemocap.learning.evidence import Parts
from recipes.iemocap.learning.measures import EMOTION_FIGURES
from recipes.iemocap.learning.runs import fold_folder, load_state, trained_folds
from recipes.iemocap.learning.systems import network_name
from recipes.iemocap.preparation.prepared import Prepared, load_prepared
from recipes.iemocap.publication.cards import UNSURE_BELOW, bundle_card, part_card, terms_text
from recipes.iemocap.publication.final_training import Final, FinalSystem, train_final
from recipes.iemocap.publication.scan import check_free
from recipes.iemocap.tables import FIGURES

LICENCE = "research only, as IEMOCAP's release form; see LICENSE.md of the bundle"


@dataclass(frozen=True)
class Settings:
    """The input and output folders of an export."""

    data: str = "runs/iemocap"
    fusion: str = "runs/iemocap-fusion"
    run: str = "runs/iemocap-final"  # of the trainings on all turns
    results: str = "runs/iemocap-results"
    weights: str = "weights/iemocap4"
    terms: str = ""  # a file that replaces the recipe's terms
    device: str = "auto"


def export(settings: Settings) -> Path:
    """Train, write and verify a bundle; return its folder."""
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
    write_text(target / CARD, bundle_card(target.name, system, measured, folders, prepared))
    for folder in folders.values():
        verify_model(folder)
    bundle = load_bundle(target)
    check_free([target, *folders.values()], prepared)
    print(
        f"written: {bundle.version} in {target}, parts beside it; nothing of the corpus found in them\n"
        f"before you publish, compare {target / TERMS[1]} with the release form that you signed"
    )
    return target


# --- results ---


def read_measured(settings: Settings, prepared: Prepared) -> dict[str, dict[str, Any]]:
    """Return the results of the fusion and of its measured parts on this prepared release."""
    first = fold_folder(settings.fusion, trained_folds(settings.fusion)[0])
    config = FuseConfig(**load_state(first / "half-0", prepared)["config"])
    found = {"fusion": _read_result(settings, Path(settings.fusion).name, prepared)}
    for part in config.runs:
        if (Path(settings.results) / f"{Path(part).name}.json").is_file():
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
    """Raise `DataError` if the figures are of other parts than the folds have now."""
    for row, parts in zip(result["folds"], folds, strict=True):
        before = {name: part["weights_sha256"] for name, part in row["parts"].items()}
        if before != parts.digests:
            raise DataError(
                f"{result['name']}: fold {row['name']} was measured with other parts than there are now; "
                "measure again with python -m recipes.iemocap.evaluate"
            )


# --- writing ---


def write_parts(
    target: Path, system: FinalSystem, measured: Mapping[str, dict[str, Any]]
) -> dict[str, Path]:
    """Write each part's folder beside the bundle, and copy the face if needed; return the folders."""
    face = find_weights(system.face)
    folders = {"face": target.parent / face.name}
    if not folders["face"].is_dir():
        folders["face"].mkdir()
        for name in TRAVELS:
            if (face / name).is_file():
                shutil.copyfile(face / name, folders["face"] / name)
    elif file_hash(folders["face"] / WEIGHTS) != file_hash(face / WEIGHTS):
        raise ConfigError(
            f"{folders['face']}: holds other weights than {face}; choose another folder with weights="
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
    model = "late-attention" if name == "fusion" else network_name(final.record["model"])
    about = {
        "modality": name,
        "licence": LICENCE,
        "training": final.record,
        "commit": current_commit(),
        "results": published_results(measured[name]) if name in measured else {},
        **(more or {}),
    }
    save_model(folder, model, final.model, about, final.vocabulary)
    card = part_card(folder.name, name, target.name, final, system, measured)
    write_text(folder / CARD, card)
    return folder


def published_results(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the folds' means as the config stores them: test data → figure → value."""
    title = f"IEMOCAP, {result['target']}, {result['protocol']}, mean of {result['folds_measured']} folds"
    summary = result["summary"]
    names = [name for name in EMOTION_FIGURES if name in summary]
    return {title: {FIGURES[name]: round(summary[name]["mean"], 4) for name in names}}


def main(*words: str) -> None:
    """Run the command."""
    export(read_settings(Settings, words))


if __name__ == "__main__":
    run_command(main, __doc__, 1, more=True)
