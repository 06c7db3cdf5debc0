"""Measure facial weights on FER+ by named protocols; writes a result file that tables are made from.

    python -m recipes.ferplus.evaluate weights/face-ferplus-seresnet runs/ferplus.npz valid
    python -m recipes.ferplus.evaluate weights/face-ferplus-seresnet runs/ferplus.npz test

`cntk-majority` counts the images on which the majority rule of the released FER+ code finds an emotion (3,191
of PublicTest as `valid`, 3,137 of PrivateTest as `test`), `paper` those behind the published figures (3,359
and 3,335). Look at `test` once per model.
"""

import sys
from pathlib import Path
from typing import Any

import numpy
import torch

from multimodal_fer.files import write_json
from multimodal_fer.hub import find_weights, load_model
from multimodal_fer.metrics import classification_report
from multimodal_fer.training import provenance, run_command
from recipes.ferplus.prepare import load_split
from recipes.ferplus.train import predict
from recipes.ferplus.votes import majority_targets, paper_targets

PROTOCOLS = {"cntk-majority": majority_targets, "paper": paper_targets}
PARTS = {"valid": "PublicTest", "test": "PrivateTest"}
RESULTS = Path(__file__).parent / "results"


def evaluate(weights: str, archive: str, split: str) -> dict[str, Any]:
    """Figures of one split by each protocol, for single pictures and for the mean with the mirror."""
    folder = find_weights(weights)
    model = load_model(folder)
    part = load_split(archive, split)
    images = torch.from_numpy(part.images)
    ways = {
        way: (predict(model, images, flip) / model.config.temperature).softmax(1).numpy()
        for way, flip in (("single", False), ("flip_averaged", True))
    }
    protocols = {}
    for protocol, make_targets in PROTOCOLS.items():
        targets = make_targets(part.votes)
        usable = numpy.flatnonzero(targets.sum(axis=1) > 0)
        truth = targets[usable].argmax(axis=1)
        protocols[protocol] = {
            way: classification_report(probabilities[usable], truth, model.config.labels)
            for way, probabilities in ways.items()
        }
    return {
        "weights": folder.name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "corpus": "FER+ (label.csv)",
        "split": PARTS[split],
        **provenance(
            f"python -m recipes.ferplus.evaluate weights/{folder.name} runs/ferplus.npz {split}"
        ),
        "protocols": protocols,
    }


def main(weights: str, archive: str, split: str) -> None:
    """Evaluate, print the main figures and write the result file."""
    if split not in PARTS:
        sys.exit(f"split {split!r}: expected one of {sorted(PARTS)}")
    result = evaluate(weights, archive, split)
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"{result['weights']}.{split}.json"
    write_json(target, result)
    for protocol, reports in result["protocols"].items():
        for way, report in reports.items():
            print(
                f"{protocol}, {way}: accuracy {report['accuracy']:.4f}  UAR {report['uar']:.4f}  "
                f"macro-F1 {report['macro_f1']:.4f}  ECE {report['calibration_error']:.4f}  "
                f"({report['images']} images)"
            )
    print(f"written: {target}")


if __name__ == "__main__":
    run_command(main, __doc__, 3)
