"""Write the figures into the pages that show them: cards, recipe README, project README.

    python -m recipes.ferplus.tables

Every number comes from a result file; a test compares the pages with what this would write.
"""

import json
from pathlib import Path
from typing import Any

from multimodal_fer.files import fill_block
from recipes.ferplus.evaluate import RESULTS

ROOT = Path(__file__).parent.parent.parent
BLOCK = "facial results"
WAYS = {"single": "", "flip_averaged": ", mean with mirror image"}

# Systems that others measured by the same protocol or near to it; the protocol stands beside each.
PUBLISHED = (
    (
        "VGG13, vote distributions drawn (Barsoum et al. 2016)",
        "8.8 M",
        "paper, 3,335 images",
        84.99,
    ),
    (
        "SENet50, pre-trained on VGGFace2 (Albanie et al. 2018)",
        "26 M",
        "albanie, 3,294 images",
        88.8,
    ),
)


def read_results(split: str) -> list[dict[str, Any]]:
    """All results of one split, by name of the weights."""
    files = sorted(RESULTS.glob(f"*.{split}.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def accuracy_table() -> str:
    """Our weights and the published figures, each with its protocol."""
    headings = "| system | parameters | protocol | accuracy | UAR | macro-F1 | ECE |"
    rows = [headings, "|---" * 7 + "|"]
    for result in read_results("test"):
        size = f"{result['parameters'] / 1e6:.1f} M"
        for protocol, reports in result["protocols"].items():
            for way, report in reports.items():
                name = f"`{result['weights']}`{WAYS[way]}"
                images = f"{protocol}, {report['images']:,} images"
                rows.append(
                    f"| {name} | {size} | {images} | **{report['accuracy']:.2%}** "
                    f"| {report['uar']:.2%} | {report['macro_f1']:.2%} "
                    f"| {report['calibration_error']:.3f} |"
                )
    for name, size, protocol, accuracy in PUBLISHED:
        rows.append(f"| {name} | {size} | {protocol} | {accuracy:.2f}% | | | |")
    return "\n".join(rows)


def recall_table(result: dict[str, Any]) -> str:
    """Recall of each emotion, with the number of test images behind it."""
    report = result["protocols"]["cntk-majority"]["single"]
    rows = ["| emotion | recall (cntk-majority) | test images |", "|---|---|---|"]
    for label, recall in report["recall"].items():
        rows.append(f"| {label} | {recall:.1%} | {report['support'][label]:,} |")
    return "\n".join(rows)


def card(result: dict[str, Any]) -> str:
    """The model card: front matter, figures from the result, and what people must know."""
    folder = ROOT / "weights" / result["weights"]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    written = (Path(__file__).parent / "card.md").read_text(encoding="utf-8")
    figures = "\n\n".join(
        [
            accuracy_table(),
            recall_table(result),
            f"Measured on {result['date']} at commit `{result['commit']}` by `{result['command']}`; "
            f"{result['split']} was looked at once. Training: "
            + ", ".join(f"{key} {value}" for key, value in config["training"].items())
            + f"; temperature {config['settings']['temperature']} "
            f"(fitted on {config['calibrated_on']}).",
        ]
    )
    return written.replace("{name}", result["weights"]).replace("{figures}", figures)


def pages() -> dict[Path, str]:
    """Every generated page with the text it should have."""
    texts = {ROOT / "weights" / r["weights"] / "README.md": card(r) for r in read_results("test")}
    for path in (ROOT / "README.md", ROOT / "recipes" / "ferplus" / "README.md"):
        text = path.read_text(encoding="utf-8")
        texts[path] = fill_block(text, BLOCK, accuracy_table())
    return texts


if __name__ == "__main__":
    for target, content in pages().items():
        target.write_text(content, encoding="utf-8")
        print(f"written: {target.relative_to(ROOT)}")
