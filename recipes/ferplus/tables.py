"""Write the figures into the model card, the recipe README and the project README.

    python -m recipes.ferplus.tables

Every number comes from a result file; a test checks that the pages are up to date.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from multimodal_fer.training import generated_pages as generated
from multimodal_fer.training.generated_pages import ROOT, table
from recipes.ferplus.evaluate import RESULTS
from recipes.ferplus.learning.config import TrainConfig

WEIGHTS = "face-ferplus-seresnet"
VIEWS = {"single": "", "flip_averaged": ", mean with mirror image", "ten_crop": ", ten crops"}
NONE = "–"
LEFT_OUT = ("start", "started_from", "teachers")  # paths, or another record


class System(NamedTuple):
    """Rows of one system: its result, title, protocols and views, and the published figure."""

    result: str  # name of the weights or the run
    title: str
    rows: tuple[tuple[str, str], ...]  # protocol and view
    published: str = NONE
    size: str = ""  # of a system without a result


SINGLE_FER2013 = (("fer2013", "single"),)
TEN_CROP_FER2013 = (("fer2013", "ten_crop"),)

# Shown first, also in the project README.
CHAMPION = (
    System(
        WEIGHTS,
        f"`{WEIGHTS}`",
        tuple(
            (protocol, view)
            for protocol in ("cntk-majority", "paper", "albanie")
            for view in ("single", "flip_averaged")
        ),
    ),
    System("", "VGG13 (Barsoum et al. 2016)", (), "84.99 % `paper`, mean of five runs", "8.8 M"),
    System(
        "", "SENet50, pre-trained on VGGFace2 (Albanie et al. 2018)", (), "88.8 % `albanie`", "26 M"
    ),
)

# Systems of the literature, trained by this recipe.
SYSTEMS = (
    System(
        "vgg13",
        "VGG13, drawn votes (Barsoum et al. 2016)",
        (("paper", "single"), ("cntk-majority", "single")),
        "84.99 % `paper`, mean of five runs of 100 epochs",
        "8.8 M",
    ),
    System("article", "four-convolution CNN", SINGLE_FER2013, "not given"),
    System("article-weighted", "the same, weighted loss", SINGLE_FER2013, "not given"),
    System(
        "article-remedies",
        "the same, rare classes drawn more often, flipped, turned, noisy",
        SINGLE_FER2013,
        "not given",
    ),
    System(
        "mini-xception",
        "mini-Xception (Arriaga et al. 2017), trained here",
        SINGLE_FER2013,
        "66 % on PublicTest and PrivateTest, which also chose the epoch",
    ),
    System(
        "face-fer2013-minixception",
        "mini-Xception, the released weights",
        SINGLE_FER2013,
        "66 %; these images chose its epoch",
    ),
    System(
        "arriaga-sequential",
        "sequential network (Arriaga et al. 2017)",
        SINGLE_FER2013,
        "66 %, as above",
        "0.6 M",
    ),
    System(
        "vgg19",
        "VGG19 (WuJie1010)",
        TEN_CROP_FER2013,
        "73.11 %, ten crops, epoch chosen on PrivateTest",
        "20.0 M",
    ),
    System("resnet18", "ResNet18 (WuJie1010)", TEN_CROP_FER2013, "72.97 %, as above", "11.2 M"),
    System(
        "hybrid",
        "model B with sliding HOG (amineHorseman)",
        (("fer2013-five", "single"),),
        "75.1 % with landmarks, five classes; 61.4 % with all seven",
        "45.2 M",
    ),
    System("deepface", "DeepFace's network", SINGLE_FER2013, "57.43 %, its author", "1.5 M"),
    System(
        "compact-fer2013",
        "compact SE-ResNet of this package on FER2013's labels",
        (*SINGLE_FER2013, ("fer2013", "flip_averaged"), *TEN_CROP_FER2013),
        "73.28 %, best single network from scratch (Khaireddin and Chen 2021)",
        "2.8 M",
    ),
)

# Not shipped: compared on PublicTest only.
BOTH = (("cntk-majority", "single"), ("cntk-majority", "flip_averaged"))
TRIAL = "face-ferplus-mobilenet"
TRIALS = (
    System(WEIGHTS, f"`{WEIGHTS}`", BOTH),
    System(TRIAL, f"`{TRIAL}`, not shipped", BOTH),
    System(f"{WEIGHTS}+{TRIAL}", "mean of both", BOTH),
)

PAPER = (("paper", "single"), ("cntk-majority", "single"))
SCHEMES = (
    System("scheme-majority", "majority", PAPER, "83.85 ± 0.63"),
    System("scheme-multi_target", "multi_target", PAPER, "83.97 ± 0.36"),
    System("scheme-probability", "probability", PAPER, "84.99 ± 0.37"),
    System("scheme-crossentropy", "crossentropy", PAPER, "84.72 ± 0.24"),
)


def read_result(name: str, kind: str = "test") -> dict[str, Any] | None:
    return generated.read_result(RESULTS, f"{name}.{kind}")


def results_table(systems: tuple[System, ...], split: str = "test") -> str:
    """Return one row for each system, protocol and view; without a result, the published figure only."""
    head = ["system", "parameters", "epochs", "protocol, images", "accuracy (95 % interval)", "UAR"]
    head += ["macro-F1", "ECE", "published accuracy"]
    rows = []
    for system in systems:
        result = read_result(system.result, split) or {"protocols": {}}
        shown = [
            (protocol, view, result["protocols"][protocol][view])
            for protocol, view in system.rows
            if protocol in result["protocols"]
        ]
        if not shown:
            epochs = "not trained here yet" if system.result else NONE
            rows.append([system.title, system.size, epochs, *[""] * 5, system.published])
        for number, (protocol, view, figures) in enumerate(shown):
            low, high = figures["accuracy_interval"]
            rows.append(
                [
                    f"{system.title}{VIEWS[view]}",
                    size_of(result),
                    epochs_of(result["training"]),
                    f"{protocol}, {figures['images']:,}",
                    f"**{figures['accuracy']:.2%}** ({low:.1%}–{high:.1%})",
                    f"{figures['uar']:.1%}",
                    f"{figures['macro_f1']:.1%}",
                    f"{figures['calibration_error']:.3f}",
                    "" if number else system.published,
                ]
            )
    return table(head, rows)


def size_of(result: dict[str, Any]) -> str:
    return f"{result['parameters'] / 1e6:.1f} M" if result["parameters"] >= 1e5 else "0.06 M"


def epochs_of(training: dict[str, Any]) -> str:
    """Return the epochs of all rounds, in order; a published file before them is not counted."""
    if not training or "file" in training:
        return NONE
    before, done = training.get("started_from"), str(training["epochs_done"])
    return f"{epochs_of(before)} + {done}" if before and "file" not in before else done


def recall_table(systems: tuple[System, ...], protocol: str) -> str:
    """Return a table of the recall of each emotion by one protocol, single images."""
    results = [(system, read_result(system.result)) for system in systems]
    reports = [
        (system.title, result["protocols"][protocol]["single"])
        for system, result in results
        if result and protocol in result["protocols"]
    ]
    if not reports:
        return NONE
    support = reports[0][1]["support"]
    head = ["recall", *(f"{label} ({count:,})" for label, count in support.items())]
    return table(
        head,
        [
            [title, *(f"{figures['recall'][label]:.1%}" for label in support)]
            for title, figures in reports
        ],
    )


def votes_table(name: str) -> str:
    """Return a table of the agreement of probabilities with the shares of the votes, on PublicTest."""
    result = read_result(name, "valid")
    if result is None or "votes" not in result:
        return NONE
    head = ["emotion", "images with a vote", "rank correlation", "of images with a vote"]
    head += [
        "gap of probability and share",
        "restrained images",
        "share there",
        "probability there",
    ]
    rows = []
    for emotion, row in result["votes"]["emotions"].items():
        some = row["restrained"]
        rows.append(
            [
                emotion,
                f"{row['images']:,}",
                *(decimals(row[key]) for key in ("correlation", "correlation_if_voted")),
                f"{row['calibration_error']:.3f}",
                str(some["images"]),
                *(decimals(some.get(key)) for key in ("share", "probability")),
            ]
        )
    mean = result["votes"]["mean"]
    keys = ("correlation", "correlation_if_voted", "calibration_error")
    rows.append(["mean", "", *(decimals(mean[key], 3) for key in keys), "", "", ""])
    return table(head, rows)


def decimals(value: float | None, places: int = 2) -> str:
    return NONE if value is None else f"{value:.{places}f}"


def robustness_table(name: str) -> str:
    """Return a table of the accuracy on corrupted images."""
    result = read_result(name, "test.robustness")
    if result is None:
        return NONE
    rows = []
    for condition, row in result["conditions"].items():
        gap = 100 * (row["accuracy"] - row["as_in_the_corpus"])
        shares = [f"{row['found']:.1%}", f"{row['accuracy']:.1%}"]
        rows.append([condition, *shares, f"{gap:+.1f} points"])
    return table(["images", "faces found", "accuracy", "difference from the corpus images"], rows)


def card(name: str) -> str:
    """Return the model card with its figures."""
    result = read_result(name)
    assert result is not None
    folder = ROOT / "weights" / name
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    written = (Path(__file__).parent / "cards" / f"{name}.md").read_text(encoding="utf-8")
    figures = "\n\n".join(
        [
            results_table(CHAMPION),
            recall_table(CHAMPION[:1], "cntk-majority"),
            robustness_table(name),
            "Probabilities beside the shares of the votes (PublicTest, images with at least half of their "
            "votes for an emotion; restrained: 40 to 60 % of these votes):",
            votes_table(name),
            f"Measured on {result['date']} at commit `{result['commit']}` by `{result['command']}`; "
            f"{result['split']} was measured once. Training: {training_text(config['training'])}. "
            f"Temperature {config['settings']['temperature']}, fitted on {config['calibrated_on']}.",
        ]
    )
    return written.replace("{name}", name).replace("{figures}", figures)


def speed_table() -> str:
    """Return a table of the results of `benchmarks.face_networks`."""
    path = ROOT / "benchmarks" / "results" / "face_networks.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        [name, f"{row['parameters']:,}",
         *(f"{part['faces_per_second']:,.0f}" if part else NONE for part in by_threads(row)),
         *(f"{part['milliseconds_for_one']:.1f}" if part else NONE for part in by_threads(row))]
        for name, row in found["networks"].items()
    ]  # fmt: skip
    head = [
        "network",
        "parameters",
        f"faces a second, {found['batch']} at once",
        "on one thread",
        "milliseconds for one",
        "on one thread",
    ]
    measured = f"{found['cores']} cores, {found['date']}, commit `{found['commit']}`"
    return f"{table(head, rows)}\n\n`{found['command']}`, {measured}."


def by_threads(row: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the figures of a network with all threads and with one; the second may be empty."""
    return row, row.get("one_thread", {})


def training_text(training: dict[str, Any]) -> str:
    """Return the settings of a training that are not the defaults, and its epochs."""
    own = {key: value for key, value in training.items() if key not in LEFT_OUT}
    text = generated.unusual(own, asdict(TrainConfig()), ("model", "scheme", "seed"))
    before = training.get("started_from")
    if before and "file" in before:
        return f"{text}. It started from the published file `{before['file']}`"
    return f"{text}. It started from the weights of: {training_text(before)}" if before else text


def pages() -> dict[Path, str]:
    """Return every generated page with its text."""
    blocks = {
        "facial results": results_table(CHAMPION),
        "facial recall": recall_table(CHAMPION[:1], "cntk-majority"),
        "robustness": robustness_table(WEIGHTS),
        "facial votes": votes_table(WEIGHTS),
        "facial trials": results_table(TRIALS, "valid"),
        "facial trial votes": votes_table(TRIAL),
        "network speed": speed_table(),
        "systems": results_table(SYSTEMS),
        "schemes": results_table(SCHEMES),
        "schemes recall": recall_table(SCHEMES, "cntk-majority"),
        "recall": recall_table(SYSTEMS, "fer2013"),
    }
    readmes = [ROOT / "docs" / "figures.md", ROOT / "recipes" / "ferplus" / "README.md"]
    return {ROOT / "weights" / WEIGHTS / "README.md": card(WEIGHTS)} | generated.filled(
        readmes, blocks
    )


if __name__ == "__main__":
    generated.write(pages())
