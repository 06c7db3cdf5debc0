"""Write the figures of each shipped model into its config, and a table of all into weights/README.md.

    python -m recipes.shipped

Model hubs sort models by the figures in a config's `results`. Every number comes from a result file. As this
changes configs, the bundle is pinned again.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from multimodal_fer.face.detection import DETECTION_SIZE
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
ANSWERS = ROOT / "benchmarks" / "results"

FIGURE_NAMES = {"recall": "recall", "accuracy": "accuracy", "uar": "UAR", "macro_f1": "macro-F1"}
Figures = dict[str, dict[str, float]]  # data → metric → value


def of_protocols(titles: Mapping[str, str], *figures: str) -> Callable[[dict[str, Any]], Figures]:
    """Return a reader of the figures by protocol, of the single view if a result has several."""

    def chosen(result: dict[str, Any]) -> Figures:
        rows = {key: result["protocols"][key] for key in titles}
        return {titles[key]: named(row.get("single", row), figures) for key, row in rows.items()}

    return chosen


def of_voice(result: dict[str, Any]) -> Figures:
    report = result["folds"][0]["figures"]["clean"]
    return {"RAVDESS and nEMO, speakers never heard": named(report, ("uar", "accuracy"))}


def of_fusion(result: dict[str, Any]) -> Figures:
    return {
        f"{world} evidence of face + voice + text, paired by label": named(
            result[world]["face+voice+text"]["late attention"], ("accuracy", "uar")
        )
        for world in ("realistic", "clean")
    }


def of_answers(result: dict[str, Any]) -> Figures:
    row = next(row for row in result["rows"] if row["data"] == "usability_answers")
    return {
        f"{row['files']} written answers of usability tests": named(row["answer"], ("accuracy",))
    }


def of_detector(result: dict[str, Any]) -> Figures:
    """Return the recall at the size at which `analyze` searches."""
    recall = result["detectors"][f"YuNet in torch, {DETECTION_SIZE} px"]["recall"]
    return {
        f"faces {width} pixels wide in pictures of 1280x720": {
            "recall": recall[f"video, {width} px"]
        }
        for width in (48, 24, 100)
    }


def named(report: Mapping[str, Any], figures: tuple[str, ...]) -> dict[str, float]:
    return {figure: round(figure_of(report, figure), 4) for figure in figures}


# Folder → description, result file, and reader of the figures.
SHIPPED: dict[str, tuple[str, Path, Callable[[dict[str, Any]], Figures]]] = {
    loading.DEFAULT_BUNDLE: ("what `analyze` loads", ANSWERS / "answers-texts.json", of_answers),
    "face-ferplus-seresnet": (
        "facial expressions from grey crops of 48x48",
        FERPLUS / "face-ferplus-seresnet.test.json",
        of_protocols(
            {"cntk-majority": "FER+ PrivateTest, majority", "paper": "FER+ PrivateTest, paper"},
            *("accuracy", "uar", "macro_f1"),
        ),
    ),
    "voice-open7-whisper": ("the tone of a voice", OPEN / "voice-open7-whisper.json", of_voice),
    "text-open7-minilm": (
        "English text: emotions, fine labels, valence",
        OPEN / "text-open7-minilm.test.json",
        of_protocols(
            {"goemotions-ekman": "GoEmotions test, Ekman", "isear": "ISEAR", "meld": "MELD dev"},
            "macro_f1",
        ),
    ),
    "fusion-open7": ("joins face, voice and text", OPEN / "fusion-open7.test.json", of_fusion),
    "detector-yunet": (
        "finds faces and five landmarks of each",
        ANSWERS / "detectors.json",
        of_detector,
    ),
    "face-fer2013-minixception": (
        "mini-Xception of Arriaga et al. 2017, as released",
        FERPLUS / "face-fer2013-minixception.test.json",
        of_protocols({"fer2013": "FER2013 PrivateTest"}, "accuracy", "uar", "macro_f1"),
    ),
}


def results() -> dict[str, Figures]:
    """Return the figures of every folder for its config."""
    return {
        name: figures(generated.read_result(path.parent, path.stem) or {})
        for name, (_, path, figures) in SHIPPED.items()
    }


def write_results(folder: Path, figures: Figures) -> None:
    write_json(folder / CONFIG, read_config(folder) | {"results": figures})


def overview() -> str:
    """Return a table of all folders with kind, size, first figure and terms."""
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
    """Return weights/README.md with its table."""
    return generated.filled([WEIGHTS / "README.md"], {"shipped weights": overview()})


def main() -> None:
    """Write the parts' figures, then the bundle that pins them, then the page."""
    figures = results()
    for name in set(SHIPPED) - {loading.DEFAULT_BUNDLE}:
        write_results(WEIGHTS / name, figures[name])
    bundle.main()
    write_results(WEIGHTS / loading.DEFAULT_BUNDLE, figures[loading.DEFAULT_BUNDLE])
    generated.write(pages())


if __name__ == "__main__":
    main()
