"""Measure the speed of each facial network on this machine's CPU: 64 at once and one by one, by threads.

    python -m benchmarks.face_networks

All networks are measured in one run, in turns, so that their ratios are reliable on a busy machine: as
`analyze` runs them (`for_inference`), and the compact one also as it is loaded; with all threads of torch
and, if that is more, with one. Weights are random, which does not change the time. Writes
`benchmarks/results/face_networks.json`.
"""

import os
import statistics
import time
from typing import Any

import torch

from benchmarks.speed import RESULTS
from multimodal_fer.face.network import FaceNetwork
from multimodal_fer.models import FACE_MODELS, build
from multimodal_fer.models.inference import for_inference
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.files import write_json

BATCH, ROUNDS, ONES = 64, 7, 20
COMPACT = "se-resnet"
AS_LOADED = f"{COMPACT} as loaded"


def seconds(model: FaceNetwork, count: int) -> float:
    """Return the seconds for one batch of `count` crops in the network's own size."""
    size = model.config.input_size
    crops = torch.randint(0, 256, (count, size, size), dtype=torch.uint8)
    started = time.perf_counter()
    model(crops)
    return time.perf_counter() - started


def measure(models: dict[str, FaceNetwork]) -> dict[str, dict[str, float]]:
    """Return faces a second in batches, and milliseconds for one, of each network in turns."""
    batches: dict[str, list[float]] = {name: [] for name in models}
    ones: dict[str, list[float]] = {name: [] for name in models}
    for number in range(ROUNDS + 1):
        for name, model in models.items():
            batch = seconds(model, BATCH)
            one = statistics.median(seconds(model, 1) for _ in range(ONES))
            if number:  # the first round is a warm-up
                batches[name].append(batch)
                ones[name].append(one)
    return {
        name: {
            "faces_per_second": round(BATCH / statistics.median(batches[name]), 1),
            "milliseconds_for_one": round(1000 * statistics.median(ones[name]), 2),
        }
        for name in models
    }


@torch.inference_mode()
def main() -> None:
    """Measure, write and print the result."""
    loaded = {name: build(name, {}).eval() for name in FACE_MODELS}
    parameters = {
        name: sum(p.numel() for p in model.parameters()) for name, model in loaded.items()
    }
    models = {name: for_inference(model) for name, model in loaded.items()}
    models[AS_LOADED], parameters[AS_LOADED] = loaded[COMPACT], parameters[COMPACT]
    measured = measure(models)
    rows: dict[str, Any] = {
        name: {"parameters": parameters[name], **row} for name, row in measured.items()
    }
    for row in rows.values():
        ratio = row["faces_per_second"] / rows[COMPACT]["faces_per_second"]
        row["against_the_compact_network"] = round(ratio, 2)
    threads = torch.get_num_threads()
    if threads > 1:
        torch.set_num_threads(1)
        for name, row in measure(models).items():
            rows[name]["one_thread"] = row
        torch.set_num_threads(threads)
    about = {"cores": os.cpu_count(), "threads": threads, "batch": BATCH}
    result = {**provenance("python -m benchmarks.face_networks"), **about, "networks": rows}
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / "face_networks.json", result)
    for name, row in rows.items():
        print(
            f"{name}: {row['faces_per_second']:.0f} faces/s, {row['milliseconds_for_one']:.1f} ms "
            f"for one, {row['against_the_compact_network']:.2f}x"
        )


if __name__ == "__main__":
    main()
