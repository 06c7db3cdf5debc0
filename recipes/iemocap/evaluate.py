"""Measure trained systems on their test turns, and compare them.

    python -m recipes.iemocap.evaluate runs/iemocap-mdre [runs/iemocap-fusion ...] data=runs/iemocap
        [results=runs/iemocap-results]

Writes RESULTS/NAME.json for each system: figures of each fold, their mean and deviation, and those of all
folds' turns pooled; improvised and scripted turns separately; for late attention, every subset of the
modalities. Two systems of the same protocol and target also get RESULTS/NAME-against-NAME.json, a paired
bootstrap over dialogs. Result files hold figures, settings and ids of turns: no label, word, sound or
picture of a turn.
"""

from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multimodal_fer.errors import DataError
from multimodal_fer.fusion.late_attention import mean_of_scores, product_rule
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import prepare_folder, write_json
from recipes.iemocap.corpus.emotions import NUMBERS
from recipes.iemocap.corpus.protocols import PROTOCOLS, make_folds
from recipes.iemocap.fuse import FusedFold
from recipes.iemocap.learning.config import split_words
from recipes.iemocap.learning.evidence import Joined, scores_among
from recipes.iemocap.learning.measures import Answers, by_kind, compare, pooled, report_of, spread
from recipes.iemocap.learning.runs import TrainedFold, fold_digest, fold_folder, trained_folds
from recipes.iemocap.learning.targets import make_goal
from recipes.iemocap.preparation.prepared import Prepared, load_prepared

RESULTS = "runs/iemocap-results"
SHORT = ("turns", "accuracy", "uar", "macro_f1", "calibration_error")  # figures of a subset


class Measured:
    """A system with the predictions of all its folds."""

    def __init__(self, run: str, prepared: Prepared) -> None:
        self.name = Path(run).name
        self.folds: list[dict[str, Any]] = []  # as in the result file
        self.subsets: dict[tuple[str, str], list[Answers]] = {}  # by subset and fusion method
        answers = [self._measure(run, number, prepared) for number in trained_folds(run)]
        folds = make_folds(prepared.turns, self.config.protocol, self.config.target)
        self.folds_of_protocol = len(folds)
        self.answers = pooled(answers)

    def _measure(self, run: str, number: int, prepared: Prepared) -> Answers:
        folder = fold_folder(run, number)
        if (folder / "half-0").is_dir():
            trained = FusedFold(run, number, prepared)
            self.config, self.model = trained.parts.first.config, "late-attention"
            self.modalities = tuple(trained.parts.parts)
            answers = self._fused(trained, prepared)
            parts = {
                name: {"training": part.record, "weights_sha256": part.weights_digest}
                for name, part in trained.parts.parts.items()
            }
            about = {"parts": parts}
        else:
            trained = TrainedFold(folder, prepared)
            self.config, self.model = trained.config, trained.config.model
            self.modalities = trained.system.modalities
            answers, about = part_answers(trained, prepared), {}
        self.parameters = trained.parameters
        self.folds.append(
            {
                "name": trained.fold.name,
                "figures": report_of(answers),
                "training": trained.record,
                **about,
                "fold_sha256": fold_digest(trained.fold),
                "test": list(trained.fold.test),
            }
        )
        return answers

    def _fused(self, fused: FusedFold, prepared: Prepared) -> Answers:
        """Return late attention's predictions; store those of every subset and method in `subsets`."""
        joined = fused.parts.join("test")
        turns, names = prepared.turns_of(joined.turns), list(joined.evidence)

        def answers_of(found: Tensor, without: int = 0) -> Answers:
            return Answers(fused.labels, turns, found.numpy(), joined.targets.numpy(), without)

        prior = label_shares(fused, prepared)
        for pattern in product((1, 0), repeat=len(names)):
            present = joined.present * torch.tensor(pattern)
            if not any(pattern):
                continue
            title = " + ".join(name for name, used in zip(names, pattern, strict=True) if used)
            for method, found in fusion_methods(fused, joined, present, prior).items():
                answers = answers_of(found).rows(present.any(1).tolist())
                self.subsets.setdefault((title, method), []).append(answers)
        return answers_of(fused.probabilities(joined), len(fused.fold.test) - len(turns))

    def result(self) -> dict[str, Any]:
        """Return the content of the result file."""
        protocol, target = self.config.protocol, self.config.target
        return {
            "name": self.name,
            "model": self.model,
            "modalities": list(self.modalities),
            "parameters": self.parameters,
            "protocol": protocol,
            "protocol_says": PROTOCOLS[protocol].description,
            "speakers_of_test_unheard": PROTOCOLS[protocol].unseen_test_speakers,
            "target": target,
            "labels": list(self.answers.labels),
            "folds_measured": len(self.folds),
            "folds_of_protocol": self.folds_of_protocol,
            "turns": len(self.answers.turns),
            "turns_without": self.answers.without,
            "summary": spread([fold["figures"] for fold in self.folds]),
            "pooled": report_of(self.answers),
            **by_kind(self.answers),
            "subsets": self._subset_figures(),
            "folds": self.folds,
        }

    def _subset_figures(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for (title, method), parts in self.subsets.items():
            report = report_of(pooled(parts))
            figures = {name: report[name] for name in SHORT if name in report}
            found.setdefault(title, {})[method] = figures
        return found


def part_answers(trained: TrainedFold, prepared: Prepared) -> Answers:
    """Return the predictions for the test turns. Raises `DataError` if no turn has the system's inputs."""
    prediction = trained.predict("test")
    if not prediction.turns:
        needed = " and ".join(trained.system.modalities)
        raise DataError(f"{trained.folder}: no test turn has {needed}; prepare the release with it")
    turns = prepared.turns_of(prediction.turns)
    found = prediction.log_scores
    if trained.config.target != NUMBERS:
        found = found.softmax(1)
    without = len(trained.fold.test) - len(turns)
    targets = trained.goal.targets(turns)
    return Answers(trained.goal.labels, turns, found.numpy(), targets.numpy(), without)


def label_shares(fused: FusedFold, prepared: Prepared) -> Tensor:
    """Return the share (K,) of each label in training, as the prior of the product rule."""
    goal = make_goal(fused.parts.first.config)
    targets = goal.targets(prepared.turns_of(fused.fold.train))
    counts = torch.bincount(targets, minlength=len(fused.labels)).float().clamp(min=1)
    return counts / counts.sum()


def fusion_methods(
    fused: FusedFold, joined: Joined, present: Tensor, prior: Tensor
) -> dict[str, Tensor]:
    """Return probabilities (N, K) of late attention and of two rules without weights."""
    own = fused.parts.own_labels
    scores = [
        scores_among(part.log_scores, own[name], fused.labels)
        for name, part in joined.evidence.items()
    ]
    stacked = torch.stack(scores, dim=1)
    return {
        "late attention": fused.probabilities(joined, present),
        "mean of scores": mean_of_scores(stacked, present),
        "product rule": product_rule(stacked, present, prior),
    }


def write_comparisons(systems: Sequence[Measured], folder: Path, about: dict[str, Any]) -> None:
    """Compare every two systems with the same protocol and target."""
    for one, other in combinations(systems, 2):
        first, second = ((of.config.protocol, of.config.target) for of in (one, other))
        if first != second or not one.answers.of_emotions:
            print(f"{one.name} and {other.name} are not compared: protocol or target differ")
            continue
        found = compare(one.answers, other.answers)
        name = f"{one.name}-against-{other.name}"
        write_json(folder / f"{name}.json", {"name": name, **about, **found})
        for figure in ("accuracy", "uar"):
            if figure in found:
                low, high = found[figure]["interval"]
                print(
                    f"{one.name} minus {other.name}, {figure} on {found['turns']:,} turns: "
                    f"{found[figure]['difference']:+.4f} (95 % {low:+.4f} to {high:+.4f})"
                )


def print_summary(result: dict[str, Any]) -> None:
    """Print the figures of a system."""
    count, of = result["folds_measured"], result["folds_of_protocol"]
    without = result["turns_without"]
    print(
        f"{result['name']}: {result['protocol']}, {result['target']}, {count} of {of} folds, "
        f"{result['turns']:,} turns" + (f", {without:,} excluded for a missing input" if without else "")
    )  # fmt: skip
    for name, figures in result["summary"].items():
        print(
            f"  {name} {figures['mean']:.4f} ± {figures['deviation']:.4f} over folds, "
            f"{result['pooled'][name]:.4f} pooled"
        )
    for title, methods in result["subsets"].items():
        shown = "  ".join(f"{name} {row['accuracy']:.4f}" for name, row in methods.items())
        print(f"  {title}: accuracy, {shown}")


def evaluate(runs: Sequence[str], data: str, results: str = RESULTS) -> list[dict[str, Any]]:
    """Measure systems, print and write their results, and return these."""
    prepared, folder = load_prepared(data), Path(results)
    prepare_folder(folder)
    command = f"python -m recipes.iemocap.evaluate {' '.join(runs)} data={data} results={results}"
    about = {**provenance(command), "manifest_sha256": prepared.hash}
    systems = [Measured(run, prepared) for run in runs]
    found = [measured.result() | about for measured in systems]
    for result in found:
        write_json(folder / f"{result['name']}.json", result)
        print_summary(result)
    write_comparisons(systems, folder, about)
    return found


def main(*words: str) -> None:
    """Run the command."""
    options, runs = split_words(words, data="runs/iemocap", results=RESULTS)
    evaluate(runs, options["data"], options["results"])


if __name__ == "__main__":
    run_command(main, __doc__, 1, more=True)
