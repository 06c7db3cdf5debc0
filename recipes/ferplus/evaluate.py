"""Measure facial weights or a run by named protocols.

    python -m recipes.ferplus.evaluate weights/face-ferplus-seresnet runs/ferplus.npz valid
    python -m recipes.ferplus.evaluate weights/face-ferplus-seresnet runs/ferplus.npz test
    python -m recipes.ferplus.evaluate weights/face-ferplus-seresnet+runs/compact runs/ferplus.npz valid

`cntk-majority` counts the images on which the majority rule of the released FER+ code finds an emotion (3,191
of PublicTest as `valid`, 3,137 of PrivateTest as `test`), `paper` those behind the published figures (3,359
and 3,335), `albanie` those of Albanie et al. 2018 (votes of fer2013new.csv). `fer2013` and `fer2013-five`
use FER2013's own label. For networks of the eight emotions, `votes` compares probabilities with shares of
votes (see vote_shares). Names joined by `+` are measured as the mean of their probabilities. Measure `test`
once for each model.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from multimodal_fer.errors import ConfigError
from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.labels import FER_PLUS
from multimodal_fer.models.inference import for_inference
from multimodal_fer.training.metrics import bootstrap_intervals, classification_report
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import write_json
from recipes.ferplus.corpus.releases import Split
from recipes.ferplus.corpus.rows import USAGES
from recipes.ferplus.corpus.votes import albanie_targets, counted, majority_targets, paper_targets
from recipes.ferplus.learning.confusion import draw_confusion
from recipes.ferplus.learning.runs import load_any
from recipes.ferplus.learning.schemes import SCHEMES
from recipes.ferplus.learning.views import VIEWS, predict
from recipes.ferplus.prepare import load_split
from recipes.ferplus.vote_shares import vote_report, vote_shares

Targets = Callable[[Split], NDArray[numpy.float64]]

# Name → labels of the network, and targets (N, K) with all-zero rows for images that are not counted.
PROTOCOLS: dict[str, tuple[tuple[str, ...], Targets]] = {
    "cntk-majority": (FER_PLUS, lambda part: majority_targets(part.votes)),
    "paper": (FER_PLUS, lambda part: paper_targets(part.votes)),
    "albanie": (FER_PLUS, lambda part: albanie_targets(part.new_votes)),
    **{name: SCHEMES[name][:2] for name in ("fer2013", "fer2013-five")},
}
PARTS = {split: USAGES[split] for split in ("valid", "test")}
RESULTS = Path(__file__).parent / "results"


def measure(models: Sequence[FaceNetwork], part: Split) -> dict[str, Any]:
    """Return `protocols`, metrics by each protocol of the networks' labels and each view, and `votes`.

    Several networks with the same labels answer with the mean of their probabilities. Ten crops are only
    measured with FER2013's labels, for which there are published figures.
    """
    labels = tuple(models[0].config.labels)
    images = torch.from_numpy(part.images)
    fast = [for_inference(model) for model in models]
    probabilities_of = {
        view: numpy.mean([probabilities(model, images, view) for model in fast], axis=0)
        for view in VIEWS
        if view != "ten_crop" or labels != FER_PLUS
    }
    protocols: dict[str, dict[str, Any]] = {}
    for protocol, (expected, make_targets) in PROTOCOLS.items():
        targets = make_targets(part) if labels == expected else numpy.zeros((0, len(labels)))
        usable = counted(targets)
        if len(usable):
            truth = targets[usable].argmax(axis=1)
            protocols[protocol] = {
                view: report(found[usable], truth, labels)
                for view, found in probabilities_of.items()
            }
    if labels != FER_PLUS:
        return {"protocols": protocols}
    shares, usable = vote_shares(part.votes)
    agreement = vote_report(probabilities_of["single"][usable], shares)
    return {"protocols": protocols, "votes": agreement}


def probabilities(model: FaceNetwork, images: torch.Tensor, view: str) -> NDArray[numpy.floating]:
    """Return the calibrated probabilities (N, K) of one network."""
    return (predict(model, images, view) / model.config.temperature).softmax(1).numpy()


def report(
    probabilities: NDArray[numpy.floating], truth: NDArray[numpy.integer], labels: tuple[str, ...]
) -> dict[str, Any]:
    """Return all metrics of one view by one protocol, with intervals."""
    intervals = bootstrap_intervals(probabilities.argmax(axis=1), truth)
    return classification_report(probabilities, truth, labels) | {
        f"{name}_interval": list(bounds) for name, bounds in intervals.items()
    }


def evaluate(name: str, archive: str, split: str) -> dict[str, Any]:
    """Return the result of one network, or of the mean of several, on one split.

    Raises `ConfigError` if they have different labels.
    """
    titles, models, trainings = zip(*map(load_any, name.split("+")), strict=True)
    for title, model in zip(titles, models, strict=True):
        if model.config.labels != models[0].config.labels:
            raise ConfigError(
                f"{title}: expected the labels {models[0].config.labels} of {titles[0]}, found "
                f"{model.config.labels}"
            )
    return {
        "name": "+".join(titles),
        "parameters": sum(p.numel() for model in models for p in model.parameters()),
        "corpus": "FER2013 images, FER+ votes",
        "split": PARTS[split],
        **provenance(f"python -m recipes.ferplus.evaluate {name} {archive} {split}"),
        "training": trainings[0] if len(models) == 1 else {},
        **measure(models, load_split(archive, split)),
    }


def main(name: str, archive: str, split: str) -> None:
    """Write the result file and the confusion matrix, and print the main figures."""
    if split not in PARTS:
        sys.exit(f"expected {' or '.join(PARTS)} as the split, found {split!r}")
    result = evaluate(name, archive, split)
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"{result['name']}.{split}.json"
    write_json(target, result)
    for protocol, reports in result["protocols"].items():
        for view, figures in reports.items():
            print(
                f"{protocol}, {view}: accuracy {figures['accuracy']:.4f}  UAR {figures['uar']:.4f}  "
                f"macro-F1 {figures['macro_f1']:.4f}  ECE {figures['calibration_error']:.4f}  "
                f"({figures['images']} images)"
            )
    if "votes" in result:
        figures = ", ".join(
            f"{name} {value:.3f}"
            for name, value in result["votes"]["mean"].items()
            if value is not None
        )
        print(f"probabilities against vote shares, mean over the emotions: {figures}")
    protocol, reports = next(iter(result["protocols"].items()))
    title = f"{result['name']}, {PARTS[split]}, {protocol}"
    draw_confusion(reports["single"], title, target.with_suffix(".svg"))
    print(f"written: {target}, and the confusion matrix as {target.with_suffix('.svg').name}")


if __name__ == "__main__":
    run_command(main, __doc__, 3)
