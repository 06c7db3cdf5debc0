"""Measure the speed of `multimodal-fer study` by the number of workers.

    python -m benchmarks.study [--workers 1 2] [--copies 8]

Makes a folder of different recordings from the sample and analyses it anew with each number of workers, with
words and reports; the time includes loading the models. Prints a table and writes
`benchmarks/results/study.json`. Run it on an idle machine; the load before each run is recorded.
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
    """Copy the sample under another title, so that the study takes it for another recording."""
    with av.open(str(SAMPLE)) as old, av.open(str(path), "w") as new:
        new.metadata["title"] = f"copy {number}"
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)


def measure(sessions: Path, results: Path, workers: int) -> float:
    """Return the seconds of one run in its own process."""
    command = [sys.executable, "-m", "multimodal_fer.cli", "study", str(sessions), "--quiet"]
    start = time.perf_counter()
    command += ["--out", str(results), "--workers", str(workers)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def run(numbers: list[int], copies: int) -> dict[str, Any]:
    """Return the figures for each number of workers."""
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
    """Print one line of the table."""
    print(
        f"{row['workers']} workers: {row['seconds']:.1f} s, {recorded / row['seconds']:.1f} x real time, "
        f"{first / row['seconds']:.2f} x the first (load before: {row['load_before']:.1f})"
    )


def main() -> None:
    """Read the command line, measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    write_json(arguments.output, run(arguments.workers, arguments.copies))
    print(arguments.output)


if __name__ == "__main__":
    main()
