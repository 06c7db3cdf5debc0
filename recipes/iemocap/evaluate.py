"""Measure trained systems on their test turns, and compare them.

    python -m recipes.iemocap.evaluate runs/iemocap-mdre [runs/iemocap-fusion ...] data=runs/iemocap
        [results=runs/iemocap-results]

Writes RESULTS/NAME.json for each: figures of each fold, their mean and deviation, and those of all folds'
turns pooled; improvised and scripted turns apart; for late attention, every subset of the modalities. For two
systems of the same protocol and target also RESULTS/NAME-against-NAME.json, a paired bootstrap over dialogs.
Result files hold figures, settings and ids of turns: no label, word, sound or picture of a turn.
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
from recipes.iemocap.corpus.protocols import PROTOCOLS, deal_folds
from recipes.iemocap.figures.measures import (
    Answers,
    FoldAnswers,
    by_kind,
    compare,
    pooled,
    report_of,
    spread,
)
from recipes.iemocap.fuse import FusedFold
from recipes.iemocap.learning.evidence import Joined, scores_among
from recipes.iemocap.learning.runs import TrainedFold, fold_digest, fold_folder, trained_folds
from recipes.iemocap.learning.settings import split_words
from recipes.iemocap.learning.targets import make_goal
from recipes.iemocap.preparation.prepared import Prepared, load_prepared

RESULTS = "runs/iemocap-results"


class Measured:
    """A system with all its folds measured."""

    def __init__(self, run: str, prepared: Prepared) -> None:
        self.name = Path(run).name
        self.folds: list[FoldAnswers] = []
        self.ways: dict[tuple[str, str], list[Answers]] = {}  # by subset and how it is joined
        for number in trained_folds(run):
            self._measure(run, number, prepared)
        self.dealt = len(deal_folds(prepared.turns, self.config.protocol, self.config.target))
        self.answers = pooled([fold.answers for fold in self.folds])

    def _measure(self, run: str, number: int, prepared: Prepared) -> None:
        folder = fold_folder(run, number)
        if (folder / "half-0").is_dir():
            fused = FusedFold(run, number, prepared)
            self.config, self.model = fused.parts.first.config, "late-attention"
            self.modalities = tuple(fused.parts.parts)
            self._keep(fused, self._fused(fused, prepared), {"parts": part_settings(fused)})
        else:
            trained = TrainedFold(folder, prepared)
            self.config, self.model = trained.config, trained.config.model
            self.modalities = trained.system.modalities
            self._keep(trained, part_answers(trained, prepared), {})

    def _keep(self, of: TrainedFold | FusedFold, answers: Answers, about: dict[str, Any]) -> None:
        self.parameters = of.parameters
        digest = fold_digest(of.fold)
        self.folds.append(
            FoldAnswers(of.fold.name, answers, of.record, of.fold.test, digest, about)
        )

    def _fused(self, fused: FusedFold, prepared: Prepared) -> Answers:
        """Late attention's answers, and in `ways` those of every subset by every rule."""
        joined = fused.parts.join("test")
        names = list(joined.evidence)
        prior = label_shares(fused, prepared)
        for pattern in product((1, 0), repeat=len(names)):
            present = joined.present * torch.tensor(pattern)
            if not any(pattern):
                continue
            title = " + ".join(name for name, there in zip(names, pattern, strict=True) if there)
            for way, found in ways_to_join(fused, joined, present, prior).items():
                judged = present.any(1)
                answers = answers_of(fused.labels, joined, prepared, found).rows(judged.tolist())
                self.ways.setdefault((title, way), []).append(answers)
        found = fused.probabilities(joined)
        without = len(fused.fold.test) - len(joined.turns)
        return answers_of(fused.labels, joined, prepared, found, without)

    def result(self) -> dict[str, Any]:
        """What is written."""
        protocol, target = self.config.protocol, self.config.target
        return {
            "name": self.name,
            "model": self.model,
            "modalities": list(self.modalities),
            "parameters": self.parameters,
            "protocol": protocol,
            "protocol_says": PROTOCOLS[protocol].says,
            "speakers_of_test_unheard": PROTOCOLS[protocol].unheard_in_test,
            "target": target,
            "labels": list(self.answers.labels),
            "folds_measured": len(self.folds),
            "folds_of_protocol": self.dealt,
            "turns": len(self.answers.turns),
            "turns_without": self.answers.without,
            "summary": spread([report_of(fold.answers) for fold in self.folds]),
            "pooled": report_of(self.answers),
            **by_kind(self.answers),
            "subsets": self._subsets(),
            "folds": [
                {
                    "name": fold.name,
                    "figures": report_of(fold.answers),
                    "training": fold.training,
                    **fold.about,
                    "fold_sha256": fold.digest,
                    "test": list(fold.test),
                }
                for fold in self.folds
            ],
        }

    def _subsets(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for (title, way), parts in self.ways.items():
            report = report_of(pooled(parts))
            short = ("turns", "accuracy", "uar", "macro_f1", "calibration_error")
            found.setdefault(title, {})[way] = {
                name: report[name] for name in short if name in report
            }
        return found


def part_answers(trained: TrainedFold, prepared: Prepared) -> Answers:
    """Of the test turns that have what the system needs."""
    judged = trained.judge("test")
    if not judged.turns:
        raise DataError(f"{trained.folder}: no test turn has what {trained.config.model} needs")
    turns = [prepared.rows[name].turn for name in judged.turns]
    found = judged.log_scores
    if trained.config.target != NUMBERS:
        found = found.softmax(1)
    without = len(trained.fold.test) - len(turns)
    targets = trained.goal.targets(turns)
    return Answers(trained.goal.labels, turns, found.numpy(), targets.numpy(), without)


def answers_of(
    labels: tuple[str, ...], joined: Joined, prepared: Prepared, found: Tensor, without: int = 0
) -> Answers:
    turns = [prepared.rows[name].turn for name in joined.turns]
    return Answers(labels, turns, found.numpy(), joined.targets.numpy(), without)


def label_shares(fused: FusedFold, prepared: Prepared) -> Tensor:
    """How often each label comes in training: what the product rule divides out."""
    goal = make_goal(fused.parts.first.config)
    targets = goal.targets([prepared.rows[name].turn for name in fused.fold.train])
    counts = torch.bincount(targets, minlength=len(fused.labels)).float().clamp(min=1)
    return counts / counts.sum()


def ways_to_join(
    fused: FusedFold, joined: Joined, present: Tensor, prior: Tensor
) -> dict[str, Tensor]:
    """Probabilities of late attention, and of the two rules without weights."""
    own = fused.parts.own_labels
    scores = torch.stack(
        [
            scores_among(part.log_scores, own[name], fused.labels)
            for name, part in joined.evidence.items()
        ],
        dim=1,
    )
    return {
        "late attention": fused.probabilities(joined, present),
        "mean of scores": mean_of_scores(scores, present),
        "product rule": product_rule(scores, present, prior),
    }


def part_settings(fused: FusedFold) -> dict[str, Any]:
    """What each part was trained with."""
    return {
        name: {"training": part.record, "weights_sha256": part.weights_digest}
        for name, part in fused.parts.parts.items()
    }


def write_comparisons(systems: Sequence[Measured], folder: Path, about: dict[str, Any]) -> None:
    """Every two systems that were asked the same."""
    for one, other in combinations(systems, 2):
        asked = [(of.config.protocol, of.config.target) for of in (one, other)]
        if asked[0] != asked[1] or not one.answers.of_emotions:
            print(f"{one.name} and {other.name} are not compared: protocol or target differ")
            continue
        found = compare(one.answers, other.answers)
        name = f"{one.name}-against-{other.name}"
        write_json(folder / f"{name}.json", {"name": name, **about, **found})
        for figure in ("accuracy", "uar"):
            if figure in found:
                low, high = found[figure]["interval"]
                print(
                    f"{one.name} less {other.name}, {figure} on {found['turns']:,} turns: "
                    f"{found[figure]['difference']:+.4f} (95 % {low:+.4f} to {high:+.4f})"
                )


def tell(measured: Measured, result: dict[str, Any]) -> None:
    """The figures in a few lines."""
    count, of = result["folds_measured"], result["folds_of_protocol"]
    print(
        f"{measured.name}: {result['protocol']}, {result['target']}, {count} of {of} folds, "
        f"{result['turns']:,} turns"
        + (f", {result['turns_without']:,} without" if result["turns_without"] else "")
    )
    for name, figures in result["summary"].items():
        print(
            f"  {name} {figures['mean']:.4f} ± {figures['deviation']:.4f} over folds, "
            f"{result['pooled'][name]:.4f} pooled"
        )
    for title, ways in result["subsets"].items():
        shown = "  ".join(f"{way} {figures['accuracy']:.4f}" for way, figures in ways.items())
        print(f"  {title}: accuracy, {shown}")


def evaluate(runs: Sequence[str], data: str, results: str = RESULTS) -> list[dict[str, Any]]:
    """Measure, print and write."""
    prepared, folder = load_prepared(data), Path(results)
    prepare_folder(folder)
    command = f"python -m recipes.iemocap.evaluate {' '.join(runs)} data={data} results={results}"
    about = {**provenance(command), "manifest_sha256": prepared.hash}
    systems = [Measured(run, prepared) for run in runs]
    found = []
    for measured in systems:
        result = measured.result() | about
        write_json(folder / f"{measured.name}.json", result)
        tell(measured, result)
        found.append(result)
    write_comparisons(systems, folder, about)
    return found


def main(*words: str) -> None:
    """The command line."""
    sitting, runs = split_words(words, data="runs/iemocap", results=RESULTS)
    evaluate(runs, sitting["data"], sitting["results"])


if __name__ == "__main__":
    run_command(main, __doc__, 1, more=True)
