"""Put each shipped model's figures into its config, and the table of all into weights/README.md.

    python -m recipes.shipped

Hub pages sort models by the figures in a config's `results`. Every number comes from a result file. Since a
config changes by this, the bundle is pinned again.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from multimodal_fer.hub import loading
from multimodal_fer.hub.weights_folder import CONFIG, in_words, part_folders, read_config, travels
from multimodal_fer.training import generated_pages as generated
from multimodal_fer.training.generated_pages import ROOT
from multimodal_fer.utils.files import write_json
from recipes.open import bundle
from recipes.open.tables import figure_of

WEIGHTS = ROOT / "weights"
FERPLUS = ROOT / "recipes" / "ferplus" / "results"
OPEN = ROOT / "recipes" / "open" / "results"

FIGURE_NAMES = {"accuracy": "accuracy", "uar": "UAR", "macro_f1": "macro-F1"}
Figures = dict[str, dict[str, float]]  # what was measured on → name of the figure → value


def of_protocols(titles: Mapping[str, str], *figures: str) -> Callable[[dict[str, Any]], Figures]:
    """Figures of a result with protocols; a facial one holds several views, of which the plain is taken."""

    def chosen(result: dict[str, Any]) -> Figures:
        rows = {key: result["protocols"][key] for key in titles}
        return {titles[key]: named(row.get("single", row), figures) for key, row in rows.items()}

    return chosen


def of_voice(result: dict[str, Any]) -> Figures:
    report = result["folds"][0]["figures"]["clean"]
    return {"RAVDESS and nEMO, speakers never heard": named(report, ("uar", "accuracy"))}


def of_fusion(result: dict[str, Any]) -> Figures:
    whole = "face + voice + text"
    return {
        f"{kind} evidence of {whole}, paired by label": named(
            result[kind][whole]["late attention"], ("accuracy", "uar")
        )
        for kind in ("worn", "clean")
    }


def of_answers(result: dict[str, Any]) -> Figures:
    share = result["as_labelled"] / result["texts"]
    return {f"{result['texts']} written answers of usability tests": {"accuracy": round(share, 4)}}


def named(report: Mapping[str, Any], figures: tuple[str, ...]) -> dict[str, float]:
    return {figure: round(figure_of(report, figure), 4) for figure in figures}


# Folder → what it is, its result file, and how to read the figures out of it.
SHIPPED: dict[str, tuple[str, Path, Callable[[dict[str, Any]], Figures]]] = {
    loading.DEFAULT_BUNDLE: (
        "what `analyze` loads",
        OPEN / "usability-answers.json",
        of_answers,
    ),
    "face-ferplus-seresnet": (
        "facial expressions from grey crops of 48x48",
        FERPLUS / "face-ferplus-seresnet.test.json",
        of_protocols(
            {"cntk-majority": "FER+ PrivateTest, majority", "paper": "FER+ PrivateTest, paper"},
            *("accuracy", "uar", "macro_f1"),
        ),
    ),
    "voice-open7-crnn": (
        "the tone of a voice",
        OPEN / "voice-open7-crnn.json",
        of_voice,
    ),
    "text-open7-words": (
        "English text",
        OPEN / "text-open7-words.test.json",
        of_protocols(
            {"goemotions-ekman": "GoEmotions test, Ekman", "isear": "ISEAR", "meld": "MELD dev"},
            "macro_f1",
        ),
    ),
    "fusion-open7": (
        "joins face, voice and text",
        OPEN / "fusion-open7.test.json",
        of_fusion,
    ),
    "face-fer2013-minixception": (
        "mini-Xception of Arriaga et al. 2017, as released",
        FERPLUS / "face-fer2013-minixception.test.json",
        of_protocols({"fer2013": "FER2013 PrivateTest"}, "accuracy", "uar", "macro_f1"),
    ),
}


def results() -> dict[str, Figures]:
    """Every folder's figures, for its config."""
    return {
        name: figures(json.loads(path.read_text(encoding="utf-8")))
        for name, (_, path, figures) in SHIPPED.items()
    }


def write_results(folder: Path, figures: Figures) -> None:
    write_json(folder / CONFIG, read_config(folder) | {"results": figures})


def overview() -> str:
    """All folders with kind, size, terms and the first of their figures."""
    rows = []
    for name, (what, _, _) in SHIPPED.items():
        folder = WEIGHTS / name
        config = read_config(folder)
        parts = part_folders(config, folder)
        paths = [path for part in (name, *parts) for path in (WEIGHTS / part).iterdir()]
        size = sum(path.stat().st_size for path in paths if travels(path.name))
        measured, figures = next(iter(config["results"].items()))
        figure, value = next(iter(figures.items()))
        rows.append(
            [
                f"[{name}]({name}/README.md)",
                f"bundle of {', '.join(config['parts'])}: {what}" if parts else what,
                in_words(size),
                f"{FIGURE_NAMES[figure]} {value:.1%}, {measured}",
                config.get("licence", "those of its parts"),
            ]
        )
    return generated.table(["name", "what", "size", "measured", "terms"], rows)


def pages() -> dict[Path, str]:
    """The page that shows them, as it should be."""
    return generated.filled([WEIGHTS / "README.md"], {"shipped weights": overview()})


def main() -> None:
    """Parts first, the bundle that pins them, the page over all."""
    figures = results()
    for name in set(SHIPPED) - {loading.DEFAULT_BUNDLE}:
        write_results(WEIGHTS / name, figures[name])
    bundle.main()
    write_results(WEIGHTS / loading.DEFAULT_BUNDLE, figures[loading.DEFAULT_BUNDLE])
    generated.write(pages())


if __name__ == "__main__":
    main()
