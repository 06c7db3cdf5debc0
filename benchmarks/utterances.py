"""Measure the time of voice, text and fusion of the default bundle for an utterance of 5 s on this CPU.

    python -m benchmarks.utterances

Reports the shortest and the median of 60 rounds, the parts in turns. The sound is noise, which takes as long
as speech. Writes `benchmarks/results/utterances.json`.
"""

import os
import statistics
import time
from collections.abc import Callable

import numpy
import torch

from benchmarks.speed import RESULTS
from multimodal_fer.analyzer import Analyzer
from multimodal_fer.training.run import provenance
from multimodal_fer.types import SAMPLE_RATE
from multimodal_fer.utils.files import write_json

SECONDS, ROUNDS = 5, 60
TEXT = "I could not find the button, and so I gave up in the end."


def main() -> None:
    """Measure, write and print the result."""
    predictor = Analyzer(speech_model="none").predictor
    sound = numpy.random.default_rng(0).normal(0, 0.1, SECONDS * SAMPLE_RATE).astype("f4")
    voice, words = predictor.predict_voices([(0, sound)])[0], predictor.predict_texts({0: TEXT})[0]
    parts: dict[str, Callable[[], object]] = {
        "voice": lambda: predictor.predict_voices([(0, sound)]),
        "text": lambda: predictor.predict_texts({0: TEXT}),
        "fusion": lambda: predictor.fuse([{"voice": voice, "text": words}]),
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(ROUNDS):
        for name, ask in parts.items():
            started = time.perf_counter()
            ask()
            times[name].append(1000 * (time.perf_counter() - started))
    rows = {
        name: {"shortest": round(min(row), 2), "median": round(statistics.median(row), 2)}
        for name, row in times.items()
    }
    rows["all"] = {
        kind: round(sum(row[kind] for row in rows.values()), 2) for kind in ("shortest", "median")
    }
    about = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "seconds": SECONDS}
    result = {**provenance("python -m benchmarks.utterances"), **about, "milliseconds": rows}
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / "utterances.json", result)
    for name, row in rows.items():
        print(f"{name}: {row['median']:.1f} ms (shortest {row['shortest']:.1f})")


if __name__ == "__main__":
    main()
