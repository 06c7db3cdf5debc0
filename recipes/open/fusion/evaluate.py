"""Measure late attention on test evidence against single modalities, mean of scores and product rule.

    python -m recipes.open.fusion.evaluate weights/fusion-open7 runs/evidence

Samples are paired by label, for every pattern of present modalities: `corrupted` ones with the shares of
corruption and label noise of the training, `clean` ones with neither. They are not recordings of one person:
the figures measure how well evidence is weighted, not how well real recordings are recognised. `attention` is
the mean attention to a modality in each of its conditions, the others clean.
"""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multimodal_fer.errors import DataError
from multimodal_fer.fusion.late_attention import (
    LateAttention,
    fold_labels,
    mean_of_scores,
    product_rule,
)
from multimodal_fer.hub.registry import find_weights
from multimodal_fer.hub.weights_folder import read_config
from multimodal_fer.labels import FER_PLUS_TO_OPEN7, OPEN7
from multimodal_fer.training.evidence import EvidenceSet
from multimodal_fer.training.metrics import classification_report
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import file_hash, write_json
from recipes.open.fusion.train import FusionTrainConfig, Paired, Pairing, draw_labels, load_sets
from recipes.open.runs import config_of, load_trained

RESULTS = Path(__file__).parent.parent / "results"
SAMPLES = 20_000


def own_scores(paired: Paired, sets: dict[str, EvidenceSet]) -> Tensor:
    """Return each modality's probabilities over open7, (B, M, K)."""
    folded = [
        fold_labels(
            paired.evidence[name].log_scores.exp(), held.part_labels, OPEN7, FER_PLUS_TO_OPEN7
        )
        for name, held in sets.items()
    ]
    return torch.stack(folded, dim=1)


def predictions(
    model: LateAttention, paired: Paired, sets: dict[str, EvidenceSet], prior: tuple[float, ...]
) -> dict[str, Tensor]:
    """Return the probabilities (B, K) of each way to fuse the present modalities."""
    scores_BMK = own_scores(paired, sets)
    with torch.inference_mode():
        late_BK, _ = model.predict(paired.evidence, paired.present)
    found = {
        "late attention": late_BK,
        "mean of scores": mean_of_scores(scores_BMK, paired.present),
        "product rule": product_rule(scores_BMK, paired.present, torch.tensor(prior)),
    }
    for number, name in enumerate(sets):
        if paired.present[:, number].all():
            found[f"{name} alone"] = scores_BMK[:, number]
    return found


def by_pattern(
    model: LateAttention, pairing: Pairing, config: FusionTrainConfig
) -> dict[str, dict[str, Any]]:
    """Return the metrics of each way to fuse, for each pattern of present modalities."""
    names = list(pairing.sets)
    rows: dict[str, dict[str, Any]] = {}
    for pattern in product((1, 0), repeat=len(names)):
        if not any(pattern):
            continue
        generator = torch.Generator().manual_seed(3)
        labels = draw_labels(SAMPLES, config.prior, generator)
        paired = pairing.draw(labels, replace(config, missing=0.0), generator)
        paired = replace(paired, present=torch.tensor([pattern] * SAMPLES).float())
        found = predictions(model, paired, pairing.sets, config.prior)
        title = " + ".join(name for name, shown in zip(names, pattern, strict=True) if shown)
        rows[title] = {
            way: shortened(classification_report(scores.numpy(), labels.numpy(), OPEN7))
            for way, scores in found.items()
        }
    return rows


def shortened(report: dict[str, Any]) -> dict[str, float]:
    return {name: report[name] for name in ("accuracy", "uar", "macro_f1", "calibration_error")}


def attention_by_condition(
    model: LateAttention, pairing: Pairing, config: FusionTrainConfig
) -> dict[str, dict[str, float]]:
    """Return the mean attention to each modality in each of its conditions, the others clean."""
    clean = replace(config, missing=0.0, label_noise=0.0, corrupted=0.0)
    rows: dict[str, dict[str, float]] = {}
    for number, (name, held) in enumerate(pairing.sets.items()):
        rows[name] = {}
        for place, condition in enumerate(held.conditions):
            generator = torch.Generator().manual_seed(4)
            labels = draw_labels(4000, config.prior, generator)
            paired = pairing.draw(labels, clean, generator)
            picks = pairing.pick(name, labels, generator)
            changed = held.rows(picks, torch.full_like(picks, place))
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


def main(name: str, evidence: str) -> None:
    """Measure, write and print the result."""
    trained = load_trained(name)
    sets = load_sets(evidence, "test")
    check_parts(name, sets)
    config = config_of(trained, FusionTrainConfig)
    pairing = Pairing(sets, {name: torch.arange(len(held.labels)) for name, held in sets.items()})
    result = {
        "name": trained.name,
        "weights": file_hash(find_weights(name) / "model.safetensors"),
        **provenance(f"python -m recipes.open.fusion.evaluate {name} {evidence}"),
        "training": trained.training,
        "corrupted": by_pattern(trained.model, pairing, config),
        "clean": by_pattern(
            trained.model, pairing, replace(config, corrupted=0.0, label_noise=0.0)
        ),
        "attention": attention_by_condition(trained.model, pairing, config),
    }
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{trained.name}.test.json", result)
    for kind in ("corrupted", "clean"):
        for pattern, ways in result[kind].items():
            shown = "  ".join(f"{way} {figures['accuracy']:.4f}" for way, figures in ways.items())
            print(f"{kind}, {pattern}: {shown}")
    for modality, conditions in result["attention"].items():
        shown = "  ".join(f"{condition} {share:.3f}" for condition, share in conditions.items())
        print(f"attention to {modality}: {shown}")


if __name__ == "__main__":
    run_command(main, __doc__, 2)
