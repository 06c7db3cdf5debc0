"""Measure a text network or a run by named protocols.

    python -m recipes.open.text.evaluate runs/text FOLDER valid
    python -m recipes.open.text.evaluate weights/text-open7-words FOLDER test

`goemotions-ekman`: macro-F1 over six emotions and neutral of all labels that each comment has, as Demszky et
al. 2020 report it (biLSTM 0.53, BERT 0.64), with their mapping of GoEmotions' labels to Ekman's; a label is
predicted if its score reaches a threshold that was fitted on the validation split. `goemotions-one`, `isear`,
`so_emotion`: the strongest label of open7, on texts with one label. `meld`: weighted F1 on MELD's development
split, which is not trained on. Measure `test` once for each model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from multimodal_fer.labels import GOEMOTIONS_TO_EKMAN, OPEN7
from multimodal_fer.layers.hierarchical import sum_fine_labels
from multimodal_fer.training.metrics import classification_report
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import write_json
from recipes.open.runs import Trained, load_trained
from recipes.open.text.corpora import Sample, read_texts, targets_of
from recipes.open.text.train import encode_texts, predict_texts

PARTS = {"valid": "validation", "test": "test"}
RESULTS = Path(__file__).parent.parent / "results"
THRESHOLDS = [number / 100 for number in range(5, 80)]

Scores = NDArray[numpy.float32]


def predict_scores(trained: Trained, samples: Sequence[Sample]) -> Scores:
    """Return calibrated probabilities (N, 7) over open7."""
    tokens = encode_texts(trained.model, trained.vocabulary, [sample.text for sample in samples])
    logits = predict_texts(trained.model, tokens) / trained.model.config.temperature
    return logits.softmax(1).numpy()


def predict_ekman(trained: Trained, samples: Sequence[Sample]) -> Scores:
    """Return probabilities (N, 7) of Ekman's emotions and neutral, from fine labels if there are some."""
    head = trained.model.head
    if set(head.finer) != set(GOEMOTIONS_TO_EKMAN):
        return predict_scores(trained, samples)
    tokens = encode_texts(trained.model, trained.vocabulary, [sample.text for sample in samples])
    fine = predict_texts(trained.model, tokens, fine=True)
    counts_as = [GOEMOTIONS_TO_EKMAN[name] for name in head.finer]
    return sum_fine_labels(fine, OPEN7, counts_as).softmax(1).numpy()


def ekman_truth(samples: Sequence[Sample]) -> NDArray[numpy.bool_]:
    """Return which of Ekman's emotions and neutral each comment has, bool (N, 7)."""
    named = [{GOEMOTIONS_TO_EKMAN[name] for name in sample.fine_labels} for sample in samples]
    return numpy.array([[label in names for label in OPEN7] for names in named])


def f1(truth: NDArray[numpy.bool_], given: NDArray[numpy.bool_]) -> float:
    """Return the F1 of one label, zero if it neither occurs nor is predicted."""
    return float(f1_score(truth, given, zero_division=0.0))  # type: ignore[arg-type]


def fit_thresholds(scores: Scores, truth: NDArray[numpy.bool_]) -> list[float]:
    """Return the threshold with the best F1 for each label."""
    return [
        max(THRESHOLDS, key=lambda t: f1(truth[:, label], scores[:, label] >= t))
        for label in range(scores.shape[1])
    ]


def all_labels(scores: Scores, thresholds: Sequence[float]) -> NDArray[numpy.bool_]:
    """Return the labels that reach their thresholds, bool (N, 7); the strongest one if none does."""
    given = scores >= numpy.array(thresholds)
    strongest = numpy.eye(scores.shape[1], dtype=bool)[scores.argmax(1)]
    return numpy.where(given.any(1, keepdims=True), given, strongest)


def by_all_labels(trained: Trained, folder: str, part: str) -> dict[str, Any]:
    """Return the figures of the GoEmotions paper's protocol."""
    fitted_on = read_texts(folder, ["goemotions"], "validation")
    samples = read_texts(folder, ["goemotions"], part)
    thresholds = fit_thresholds(predict_ekman(trained, fitted_on), ekman_truth(fitted_on))
    truth = ekman_truth(samples)
    given = all_labels(predict_ekman(trained, samples), thresholds)
    each = [f1(truth[:, label], given[:, label]) for label in range(len(OPEN7))]
    return {
        "texts": len(samples),
        "macro_f1": float(numpy.mean(each)),
        "f1": dict(zip(OPEN7, each, strict=True)),
        "thresholds": dict(zip(OPEN7, thresholds, strict=True)),
    }


def by_strongest(trained: Trained, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return all metrics of the strongest label on texts with one label."""
    single = [sample for sample in samples if len(sample.labels) == 1]
    scores = predict_scores(trained, single)
    truth = targets_of(single).argmax(1)
    report = classification_report(scores, truth, OPEN7)
    report["texts"] = report.pop("images")
    weighted = f1_score(truth, scores.argmax(1), average="weighted")
    return report | {"weighted_f1": float(weighted)}


def measure(trained: Trained, folder: str, part: str) -> dict[str, Any]:
    """Return the figures of every protocol; MELD is measured on its development split in both."""
    figures = {"goemotions-ekman": by_all_labels(trained, folder, part)}
    for corpus in ("goemotions", "isear", "so_emotion"):
        name = "goemotions-one" if corpus == "goemotions" else corpus
        figures[name] = by_strongest(trained, read_texts(folder, [corpus], part))
    figures["meld"] = by_strongest(trained, read_texts(folder, ["meld"], "validation"))
    return figures


def main(name: str, folder: str, split: str) -> None:
    """Evaluate, write the result file and print the figures."""
    torch.manual_seed(0)
    trained = load_trained(name)
    figures = measure(trained, folder, PARTS[split])
    result = {
        "name": trained.name,
        "parameters": sum(parameter.numel() for parameter in trained.model.parameters()),
        "split": split,
        **provenance(f"python -m recipes.open.text.evaluate {name} FOLDER {split}"),
        "training": trained.training,
        "protocols": figures,
    }
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{trained.name}.{split}.json", result)
    for protocol, row in figures.items():
        shown = ("macro_f1", "accuracy", "uar", "weighted_f1", "calibration_error")
        print(
            f"{protocol} ({row['texts']}):",
            "  ".join(f"{k} {row[k]:.4f}" for k in shown if k in row),
        )


if __name__ == "__main__":
    run_command(main, __doc__, 3)
