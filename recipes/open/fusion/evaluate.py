"""Measure late attention on test evidence against single modalities and other ways to fuse.

    python -m recipes.open.fusion.evaluate weights/fusion-open7 runs/evidence

Samples are paired by label, for every pattern of at least two modalities, in three worlds: `clean`;
`corrupted`, half of the evidence in a random condition; and `realistic`, also with the label noise and the
restraint of the training. Each has two priors: that of `analyze`, and equal shares. All fitted baselines saw
the samples of the training. The samples are not recordings of one person: the figures measure how well
evidence is weighted, not how well real recordings are recognised. `attention` is the mean attention to a
modality in each of its conditions, the others clean.

The interval of the gain over the best fitted baseline comes from drawing people, not samples: speakers,
authors and faces are drawn with replacement.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from multimodal_fer.errors import DataError
from multimodal_fer.fusion.late_attention import LateAttention, mean_of_scores, pattern_name
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.hub.weights_folder import read_config
from multimodal_fer.labels import OPEN7
from multimodal_fer.training.evidence import EvidenceSet
from multimodal_fer.training.metrics import classification_report
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import file_hash, write_json
from recipes.open.fusion import baselines
from recipes.open.fusion.train import (
    EQUAL_PRIOR,
    NEUTRAL_PRIOR,
    FusionTrainConfig,
    Paired,
    Pairing,
    load_sets,
    split_evidence,
)
from recipes.open.runs import config_of, load_trained

RESULTS = Path(__file__).parent.parent / "results"
SAMPLES = 20_000
DRAWS, DRAWN_SAMPLES = 30, 4_000  # of people; samples in each
LATE = "late attention"
Fitted = dict[str, nn.Module]


def own_scores(model: LateAttention, paired: Paired) -> Tensor:
    """Return each modality's probabilities over the fusion's labels, (B, M, K)."""
    found = [model.own_scores(name, paired.evidence[name]) for name in model.modalities]
    return torch.stack(found, dim=1)


def fit_baselines(model: LateAttention, evidence: str, config: FusionTrainConfig) -> Fitted:
    """Fit the baselines on the training samples of the fusion."""
    training, _ = split_evidence(load_sets(evidence, "validation"))
    priors = (config.prior, EQUAL_PRIOR, NEUTRAL_PRIOR)

    def draw(step: int) -> baselines.Sample:
        generator = torch.Generator().manual_seed(step)
        paired = training.draw(config.batch, priors[step % len(priors)], config, generator)
        log_scores = own_scores(model, paired).clamp(min=baselines.SMALLEST).log()
        return log_scores, paired.present, paired.log_prior, paired.labels

    return {name: baselines.fit(kind, draw) for name, kind in baselines.FITTED.items()}


@torch.inference_mode()
def predictions(model: LateAttention, fitted: Fitted, paired: Paired) -> dict[str, Tensor]:
    """Return the probabilities (B, K) of each way to fuse the present modalities, the same in all rows."""
    shown = paired.present[0].bool()
    names = [name for name, is_shown in zip(model.modalities, shown, strict=True) if is_shown]
    scores_BMK = own_scores(model, paired)
    log_scores_BMK = scores_BMK.clamp(min=baselines.SMALLEST).log()
    frequencies_MK = torch.tensor([model.config.frequencies[name] for name in names])
    found = {
        LATE: model.predict(paired.evidence, paired.present, paired.log_prior)[0],
        "mean of scores": mean_of_scores(scores_BMK, paired.present),
        "product rule": baselines.product_of_ratios(
            scores_BMK[:, shown], frequencies_MK, paired.log_prior
        ),
    }
    for name, way in fitted.items():
        found[name] = way(log_scores_BMK, paired.present, paired.log_prior).softmax(1)
    return found | {f"{name} alone": scores_BMK[:, model.modalities.index(name)] for name in names}


def patterns_of(modalities: Sequence[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name of each pattern of at least two modalities, and the pattern."""
    for pattern in product((1, 0), repeat=len(modalities)):
        if sum(pattern) > 1:
            names = [name for name, shown in zip(modalities, pattern, strict=True) if shown]
            yield pattern_name(names), pattern


def by_pattern(
    model: LateAttention, fitted: Fitted, pairing: Pairing, config: FusionTrainConfig
) -> dict[str, dict[str, Any]]:
    """Return the metrics of each way to fuse under the prior of `config`, for each pattern."""
    rows: dict[str, dict[str, Any]] = {}
    for title, pattern in patterns_of(model.modalities):
        paired = draw(pairing, pattern, config, SAMPLES, 3)
        labels = paired.labels.numpy()
        rows[title] = {
            way: shortened(classification_report(scores.numpy(), labels, OPEN7))
            for way, scores in predictions(model, fitted, paired).items()
        }
        rows[title]["gain"] = gain_over(model, fitted, pairing, pattern, config)
    return rows


def draw(
    pairing: Pairing, pattern: Sequence[int], config: FusionTrainConfig, count: int, seed: int
) -> Paired:
    generator = torch.Generator().manual_seed(seed)
    paired = pairing.draw(count, config.prior, replace(config, missing=0.0), generator)
    return replace(paired, present=torch.tensor([pattern] * count).float())


def gain_over(
    model: LateAttention,
    fitted: Fitted,
    pairing: Pairing,
    pattern: Sequence[int],
    config: FusionTrainConfig,
) -> dict[str, float]:
    """Return the gain in accuracy over the best other way, with a 95 % interval over draws of people."""
    gains = []
    for seed in range(DRAWS):
        drawn = Pairing(pairing.sets, draw_people(pairing.sets, seed))
        paired = draw(drawn, pattern, config, DRAWN_SAMPLES, seed)
        right = {
            way: (scores.argmax(1) == paired.labels).float().mean().item()
            for way, scores in predictions(model, fitted, paired).items()
        }
        gains.append(right.pop(LATE) - max(right.values()))
    low, high = numpy.percentile(gains, [2.5, 97.5])
    return {"mean": float(numpy.mean(gains)), "low": float(low), "high": float(high)}


def draw_people(sets: dict[str, EvidenceSet], seed: int) -> dict[str, Tensor]:
    """Return rows of each modality's people, drawn with replacement."""
    generator = numpy.random.default_rng(seed)
    picks = {}
    for name, held in sets.items():
        people = held.people.numpy()
        order = numpy.argsort(people, kind="stable")
        known, first, counts = numpy.unique(people[order], return_index=True, return_counts=True)
        chosen = generator.integers(len(known), size=len(known))
        rows = [order[first[number] : first[number] + counts[number]] for number in chosen]
        picks[name] = torch.from_numpy(numpy.concatenate(rows))
    return picks


def shortened(report: dict[str, Any]) -> dict[str, float]:
    return {name: report[name] for name in ("accuracy", "uar", "macro_f1", "calibration_error")}


def attention_by_condition(
    model: LateAttention, pairing: Pairing, config: FusionTrainConfig
) -> dict[str, dict[str, float]]:
    """Return the mean attention to each modality in each of its conditions, the others clean.

    `uniform` replaces its scores by equal ones.
    """
    rows: dict[str, dict[str, float]] = {}
    paired = draw(pairing, [1] * len(model.modalities), config, 4000, 4)
    for number, (name, held) in enumerate(pairing.sets.items()):
        picks = pairing.pick(name, paired.labels, torch.Generator().manual_seed(5))
        conditions = {
            condition: held.rows(picks, torch.full_like(picks, place))
            for place, condition in enumerate(held.conditions)
        }
        clean = conditions[held.conditions[0]]
        even = torch.full_like(clean.log_scores, 1 / len(held.part_labels)).log()
        conditions["uniform"] = clean._replace(log_scores=even)
        rows[name] = {}
        for condition, changed in conditions.items():
            with torch.inference_mode():
                fused = model(paired.evidence | {name: changed}, paired.present)
            rows[name][condition] = float(fused.attention[:, number].mean())
    return rows


def check_parts(weights: str, sets: dict[str, EvidenceSet]) -> None:
    """Raise `DataError` if evidence is of other weights than the fusion was trained on."""
    pinned = read_config(find_weights(weights)).get("parts", {})
    for name, held in sets.items():
        if pinned and pinned.get(name) != held.digest:
            raise DataError(
                f"the {name} evidence was made with weights {held.digest[:12]}, but {weights} was trained on "
                f"evidence of {str(pinned.get(name))[:12]}; make the evidence again with these weights"
            )


def worlds(config: FusionTrainConfig) -> dict[str, FusionTrainConfig]:
    """Return the settings of each world."""
    shown = replace(config, label_noise=0.0, restraint=(0.0,) * len(config.restraint))
    return {"realistic": config, "corrupted": shown, "clean": replace(shown, corrupted=0.0)}


def main(name: str, evidence: str) -> None:
    """Measure, write and print the result."""
    trained = load_trained(name)
    model: LateAttention = trained.model
    sets = load_sets(evidence, "test")
    check_parts(name, sets)
    config = config_of(trained, FusionTrainConfig)
    pairing = Pairing(sets, {name: torch.arange(len(held.labels)) for name, held in sets.items()})
    fitted = fit_baselines(model, evidence, config)
    settings = worlds(config)
    result: dict[str, Any] = {
        "name": trained.name,
        "weights": file_hash(find_weights(name) / "model.safetensors"),
        **provenance(f"python -m recipes.open.fusion.evaluate {name} {evidence}"),
        "training": trained.training,
        **{world: by_pattern(model, fitted, pairing, own) for world, own in settings.items()},
        **{
            f"{world}, equal shares": by_pattern(
                model, fitted, pairing, replace(own, prior=EQUAL_PRIOR)
            )
            for world, own in settings.items()
        },
        "attention": attention_by_condition(model, pairing, settings["clean"]),
    }
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{trained.name}.test.json", result)
    for world in [key for key in result if key.partition(",")[0] in settings]:
        for pattern, ways in result[world].items():
            print(f"{world}, {pattern}: {summary(ways)}")
    for modality, conditions in result["attention"].items():
        shown = "  ".join(f"{condition} {share:.3f}" for condition, share in conditions.items())
        print(f"attention to {modality}: {shown}")


def summary(ways: dict[str, Any]) -> str:
    """Return the accuracies of a pattern, the gain and the calibration error."""
    rows = {way: row for way, row in ways.items() if way != "gain"}
    shown = "  ".join(f"{way} {row['accuracy']:.4f}" for way, row in rows.items())
    gain, error = ways["gain"], ways[LATE]["calibration_error"]
    return (
        f"{shown}  gain {gain['mean']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})  "
        f"ECE {error:.3f}"
    )


if __name__ == "__main__":
    run_command(main, __doc__, 2)
