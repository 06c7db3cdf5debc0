"""Recordings per hour of `multimodal-fer study`, by workers.

    python -m benchmarks.study [--workers 1 2] [--copies 8]

Makes a folder of recordings that differ, from the sample, and analyses it afresh with each number of workers,
words and reports included, as people would: models are loaded within the time. Prints a table and writes
`benchmarks/results/study.json`. Run it on an otherwise idle machine; how busy it was is written beside the
figures.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av

from multimodal_fer.media.container import probe
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.files import write_json

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "examples" / "sample.mp4"
RESULTS = ROOT / "benchmarks" / "results" / "study.json"


def copy_sample(path: Path, number: int) -> None:
    """The sample under another title: other content to the study, the same work."""
    with av.open(str(SAMPLE)) as old, av.open(str(path), "w") as new:
        new.metadata["title"] = f"copy {number}"
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)


def measure(sessions: Path, results: Path, workers: int) -> float:
    """Seconds of one run, in a process of its own."""
    command = [sys.executable, "-m", "multimodal_fer.cli", "study", str(sessions), "--quiet"]
    start = time.perf_counter()
    command += ["--out", str(results), "--workers", str(workers)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def run(numbers: list[int], copies: int) -> dict[str, Any]:
    """Figures for each number of workers."""
    seconds = copies * probe(SAMPLE).duration
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sessions = Path(folder, "sessions")
        sessions.mkdir()
        for number in range(copies):
            copy_sample(sessions / f"P{number:02}_task.mp4", number)
        for workers in numbers:
            busy = os.getloadavg()[0]
            spent = measure(sessions, Path(folder, f"results{workers}"), workers)
            rows.append({"workers": workers, "seconds": spent, "load_before": busy})
            print_row(rows[-1], seconds, rows[0]["seconds"])
    return {
        "rows": rows,
        "recordings": copies,
        "recorded_seconds": seconds,
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        **provenance("python -m benchmarks.study"),
    }


def print_row(row: dict[str, Any], recorded: float, first: float) -> None:
    """One line of the table."""
    print(
        f"{row['workers']} workers: {row['seconds']:.1f} s, {recorded / row['seconds']:.1f} x real time, "
        f"{first / row['seconds']:.2f} x the first (load before: {row['load_before']:.1f})"
    )


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    write_json(arguments.output, run(arguments.workers, arguments.copies))
    print(arguments.output)


if __name__ == "__main__":
    main()
