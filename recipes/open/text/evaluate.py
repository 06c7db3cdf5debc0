"""Measure a text network or a run by named protocols.

    python -m recipes.open.text.evaluate runs/text FOLDER valid
    python -m recipes.open.text.evaluate weights/text-open7-minilm FOLDER test

`goemotions-ekman`: macro-F1 over six emotions and neutral of all labels that each comment has, as Demszky et
al. 2020 report it (biLSTM 0.53, BERT 0.64), with their mapping of GoEmotions' labels to Ekman's; a label is
predicted if its score reaches a threshold that was fitted on the validation split; `goemotions-28`: the same
over the 28 labels themselves (BERT 0.46). `goemotions-named`: the names of fine labels in the answer, with
their thresholds. `emobank`: Pearson's correlation of valence with ratings; `meld-sentiment`, `remarks`: its
sign. `goemotions-one`, `isear`,
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
from torch import Tensor

from multimodal_fer.labels import GOEMOTIONS_TO_EKMAN, OPEN7
from multimodal_fer.layers.hierarchical import sum_fine_labels
from multimodal_fer.training.metrics import classification_report
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import write_json
from recipes.open.runs import Trained, load_trained
from recipes.open.text.corpora import FINE_LABELS, Sample, read_texts, targets_of
from recipes.open.text.fine import Scores, Truth, f1, fine_truth, fit_thresholds, merge
from recipes.open.text.train import encode_texts, predict_texts
from recipes.open.text.valence import (
    Rated,
    measure_ratings,
    measure_signs,
    read_emobank,
    read_remarks,
    read_sentiment,
)

PARTS = {"valid": "validation", "test": "test"}
RESULTS = Path(__file__).parent.parent / "results"


class FineLogits:
    """The logits of the fine labels, computed once for each list of texts."""

    def __init__(self, trained: Trained) -> None:
        self.trained, self.config = trained, trained.model.config
        self.names = tuple(trained.model.head.finer)
        self.known: dict[tuple[str, ...], Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the logits (N, F); of the labels themselves if the network has no fine ones."""
        key = tuple(texts)
        if key not in self.known:
            tokens = encode_texts(self.trained.model, self.trained.vocabulary, texts)
            self.known[key] = predict_texts(self.trained.model, tokens, fine=True)
        return self.known[key]

    def open7(self, texts: Sequence[str]) -> Scores:
        """Return calibrated probabilities (N, 7) over open7."""
        counts_as = list(self.trained.model.head.finer.values())
        logits = sum_fine_labels(self(texts), self.config.labels, counts_as)
        return (logits / self.config.temperature).softmax(1).numpy()

    def ekman(self, texts: Sequence[str]) -> Scores:
        """Return probabilities (N, 7) of Ekman's emotions and neutral, from fine labels if there are some."""
        if set(self.names) != set(GOEMOTIONS_TO_EKMAN):
            return self.open7(texts)
        counts_as = [GOEMOTIONS_TO_EKMAN[name] for name in self.names]
        return sum_fine_labels(self(texts), OPEN7, counts_as).softmax(1).numpy()

    def fine(self, texts: Sequence[str]) -> Scores:
        """Return calibrated probabilities (N, F) of the fine labels."""
        return (self(texts) / getattr(self.config, "fine_temperature", 1.0)).softmax(1).numpy()


def ekman_truth(samples: Sequence[Sample]) -> Truth:
    """Return which of Ekman's emotions and neutral each comment has, bool (N, 7)."""
    named = [{GOEMOTIONS_TO_EKMAN[name] for name in sample.fine_labels} for sample in samples]
    return numpy.array([[label in names for label in OPEN7] for names in named])


def all_labels(scores: Scores, thresholds: Sequence[float]) -> NDArray[numpy.bool_]:
    """Return the labels that reach their thresholds, bool (N, 7); the strongest one if none does."""
    given = scores >= numpy.array(thresholds)
    strongest = numpy.eye(scores.shape[1], dtype=bool)[scores.argmax(1)]
    return numpy.where(given.any(1, keepdims=True), given, strongest)


def by_all_labels(logits: FineLogits, folder: str, part: str) -> dict[str, Any]:
    """Return the figures of the GoEmotions paper's protocols, by Ekman's emotions and by all 28 labels."""
    fitted_on = read_texts(folder, ["goemotions"], "validation")
    samples = read_texts(folder, ["goemotions"], part)
    both = ([sample.text for sample in fitted_on], [sample.text for sample in samples])
    fitted, measured = (logits.ekman(texts) for texts in both)
    truth = ekman_truth(fitted_on), ekman_truth(samples)
    figures = {"goemotions-ekman": f1_figures(OPEN7, (fitted, truth[0]), (measured, truth[1]))}
    if logits.names != FINE_LABELS:
        return figures
    fitted, measured = (logits.fine(texts) for texts in both)
    truth = fine_truth(fitted_on), fine_truth(samples)
    figures["goemotions-28"] = f1_figures(FINE_LABELS, (fitted, truth[0]), (measured, truth[1]))
    if shown_as := getattr(logits.config, "shown_as", {}):
        names, scores, named = merge(measured, truth[1], shown_as)
        each = {
            name: f1(named[:, n], scores[:, n] >= logits.config.thresholds[name])
            for n, name in enumerate(names)
            if name in logits.config.thresholds
        }
        mean = float(numpy.mean(list(each.values())))
        figures["goemotions-named"] = {"texts": len(samples), "macro_f1": mean, "f1": each}
    return figures


def f1_figures(
    names: Sequence[str], fitted: tuple[Scores, Truth], measured: tuple[Scores, Truth]
) -> dict[str, Any]:
    """Return the F1 of each label with thresholds that are fitted on other texts."""
    thresholds = fit_thresholds(*fitted)
    scores, truth = measured
    given = all_labels(scores, thresholds)
    each = [f1(truth[:, label], given[:, label]) for label in range(len(names))]
    return {
        "texts": len(truth),
        "macro_f1": float(numpy.mean(each)),
        "f1": dict(zip(names, each, strict=True)),
        "thresholds": dict(zip(names, thresholds, strict=True)),
    }


def by_valence(logits: FineLogits, folder: str, part: str) -> dict[str, Any]:
    """Return the figures of valence; MELD is measured on its development split in both parts."""
    weights = getattr(logits.config, "valence", {})
    if not weights:
        return {}
    column = numpy.array([weights[label] for label in FINE_LABELS])

    def valence(rated: Sequence[Rated]) -> NDArray[numpy.float64]:
        return logits.fine([row.text for row in rated]) @ column

    ratings = read_emobank(folder, "test" if part == "test" else "dev")
    sentiment = read_sentiment(folder)
    remarks = read_remarks("test" if part == "test" else "dev")
    return {
        "emobank": measure_ratings(valence(ratings), ratings),
        "meld-sentiment": measure_signs(valence(sentiment), sentiment),
        "remarks": measure_signs(valence(remarks), remarks),
    }


def by_strongest(logits: FineLogits, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return all metrics of the strongest label on texts with one label."""
    rows = [number for number, sample in enumerate(samples) if len(sample.labels) == 1]
    scores = logits.open7([sample.text for sample in samples])[rows]
    truth = targets_of([samples[row] for row in rows]).argmax(1)
    report = classification_report(scores, truth, OPEN7)
    report["texts"] = report.pop("images")
    weighted = f1_score(truth, scores.argmax(1), average="weighted")
    return report | {"weighted_f1": float(weighted)}


def measure(trained: Trained, folder: str, part: str) -> dict[str, Any]:
    """Return the figures of every protocol; MELD is measured on its development split in both."""
    logits = FineLogits(trained)
    figures = by_all_labels(logits, folder, part)
    for corpus in ("goemotions", "isear", "so_emotion"):
        name = "goemotions-one" if corpus == "goemotions" else corpus
        figures[name] = by_strongest(logits, read_texts(folder, [corpus], part))
    figures["meld"] = by_strongest(logits, read_texts(folder, ["meld"], "validation"))
    return figures | by_valence(logits, folder, part)


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
        shown = (
            "macro_f1",
            "accuracy",
            "uar",
            "weighted_f1",
            "calibration_error",
            "pearson",
            "right",
        )
        print(
            f"{protocol} ({row['texts']}):",
            "  ".join(f"{k} {row[k]:.4f}" for k in shown if k in row),
        )


if __name__ == "__main__":
    run_command(main, __doc__, 3)
