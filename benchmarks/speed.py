"""Measure processing time per second of recording, by part, and peak memory by length.

Sound (decode, find speech, transcribe) and video (decode, detect, classify) are processed in parallel, so the
parts add up to more than the whole.

    python -m benchmarks.speed [--long]

Makes 720p recordings at 30 pictures per second of 60 s and 600 s (with --long also 18 minutes) from the
sample's portrait and speech, analyses each in its own process with default settings, prints a table and
writes it into the README and `benchmarks/results/speed.json`. Run it on an idle machine.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy

from multimodal_fer import analyzer
from multimodal_fer.face import classification
from multimodal_fer.face.network import SEResNet
from multimodal_fer.media.frames import iter_frames
from multimodal_fer.media.sound import iter_audio, read_audio
from multimodal_fer.speech import transcription, whisper
from multimodal_fer.training.generated_pages import table
from multimodal_fer.training.run import provenance
from multimodal_fer.types import SAMPLE_RATE
from multimodal_fer.utils.files import fill_block, write_json

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "examples" / "sample.mp4"
RESULTS = ROOT / "benchmarks" / "results"
MINUTE, RATE, WIDTH, HEIGHT = 60, 30, 1280, 720
BIT_RATE = 2_000_000  # per second, as webcams and meeting software write 720p
MEBIBYTE = 1024  # of the kibibytes that Linux reports


def write_minute(path: Path) -> None:
    """Write one minute of a moving face that speaks about two thirds of the time."""
    portrait = cv2.resize(next(iter_frames(SAMPLE)).image, (WIDTH, HEIGHT))
    sound = numpy.resize(read_audio(SAMPLE), MINUTE * SAMPLE_RATE)
    noise = numpy.random.default_rng(0).integers(-12, 13, (8, HEIGHT, WIDTH, 3), numpy.int16)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "faster"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.bit_rate = BIT_RATE
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for number in range(MINUTE * RATE):
            shift = round(30 * numpy.sin(number / 20))
            moved = numpy.roll(portrait, shift, axis=1).astype(numpy.int16)
            image = (moved + noise[number % 8]).clip(0, 255).astype(numpy.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for first in range(0, len(sound), 1024):
            piece = av.AudioFrame.from_ndarray(sound[None, first : first + 1024], "fltp", "mono")
            piece.sample_rate, piece.pts = SAMPLE_RATE, first
            piece.time_base = Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(piece))
        container.mux(audio.encode())


def repeat(source: Path, target: Path, times: int) -> None:
    """Repeat a recording several times by copying its packets, without encoding."""
    with av.open(str(target), "w") as new:
        streams: dict[int, Any] = {}
        # Packets of the encoder's lead-in overlap the end of the turn before and are left out.
        reached: dict[int, int] = {}
        for turn in range(times):
            with av.open(str(source)) as old:
                for stream in old.streams:
                    if stream.index not in streams:
                        streams[stream.index] = new.add_stream_from_template(stream)
                for packet in old.demux():
                    if packet.size and packet.pts is not None and packet.dts is not None:
                        shift = round(turn * MINUTE / packet.time_base)
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        index = packet.stream.index
                        if packet.dts > reached.get(index, packet.dts - 1):
                            reached[index] = packet.dts
                            packet.stream = streams[index]
                            new.mux(packet)


class Timers:
    """Wall-clock seconds of the parts, measured by wrapping their functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, name: str, function: Callable) -> Callable:
        def timed(*arguments: Any, **settings: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **settings)
            finally:
                spent = time.perf_counter() - start
                self.seconds[name] = self.seconds.get(name, 0.0) + spent

        return timed

    def wrap_stream(self, name: str, function: Callable) -> Callable:
        def timed(*arguments: Any, **settings: Any) -> Any:
            items = iter(function(*arguments, **settings))
            step = self.wrap(name, lambda: next(items, None))
            while (item := step()) is not None:
                yield item

        return timed


def measure(path: str) -> dict[str, Any]:
    """Analyse one recording in this process; loading the models is measured separately."""
    timers = Timers()
    start = time.perf_counter()
    tool = analyzer.Analyzer()
    loading = time.perf_counter() - start
    # Functions are replaced in the modules that call them.
    analyzer.iter_frames = timers.wrap_stream("decode video", iter_frames)
    analyzer.iter_audio = timers.wrap_stream("decode audio", iter_audio)
    classification.find_faces = timers.wrap("detect faces", classification.find_faces)
    transcription.find_speech = timers.wrap("find speech", transcription.find_speech)
    SEResNet.forward = timers.wrap("classify faces", SEResNet.forward)
    whisper.FasterWhisper.recognise = timers.wrap("transcribe", whisper.FasterWhisper.recognise)
    start = time.perf_counter()
    answer = tool.analyze(path)
    total = time.perf_counter() - start
    return {
        "recording": answer.duration,
        "loading": loading,
        "total": total,
        "per_second": total / answer.duration,
        "parts_per_second": {k: v / answer.duration for k, v in sorted(timers.seconds.items())},
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBIBYTE,
        "words": len(answer.transcript.words) if answer.transcript else 0,
        "pictures": len(answer.frames),
        "coverage": answer.coverage,
    }


def in_own_process(path: Path) -> dict[str, Any]:
    """Measure one recording in a new process, as peak memory is that of a process."""
    command = [sys.executable, "-m", "benchmarks.speed", "--measure", str(path)]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
    return json.loads(result.stdout)


def speed_table() -> str:
    """Return the stored results as a Markdown table."""
    stored = json.loads((RESULTS / "speed.json").read_text(encoding="utf-8"))
    results = list(stored["results"].values())
    parts = sorted({part for r in results for part in r["parts_per_second"]})
    smallest = results[0]["peak_memory_mib"]
    rows = [
        ["processing in all", *(f"{r['total']:.1f} s" for r in results)],
        ["**per second of recording**", *(f"**{r['per_second']:.3f} s**" for r in results)],
        *([part, *(f"{r['parts_per_second'][part]:.4f} s" for r in results)] for part in parts),
        ["peak memory", *(f"{r['peak_memory_mib']:.0f} MiB" for r in results)],
        ["relative to the shortest", *(f"{r['peak_memory_mib'] / smallest:.2f}x" for r in results)],
    ]
    machine = f"{stored['cores']} cores, {stored['video']}"
    where = f"{stored['date']}, commit `{stored['commit']}`, {machine}"
    overlap = (
        "Sound and video are processed in parallel, so the parts add up to more than the whole."
    )
    speeds = table(["recording", *stored["results"]], rows)
    return f"{speeds}\n\n{overlap} Measured by `{stored['command']}` on {where}."


def with_table(page: str) -> str:
    """Return a page with the table filled in."""
    return fill_block(page, "speed", speed_table())


def main() -> None:
    """Make the recordings, measure each and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="also an 18-minute recording")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    minutes = [1, 10, 18] if options.long else [1, 10]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder) / "minute.mp4"
        write_minute(one)
        for count in minutes:
            path = Path(folder) / f"{count}.mp4"
            repeat(one, path, count)
            results[f"{count * MINUTE} s"] = in_own_process(path)
    RESULTS.mkdir(exist_ok=True)
    about = {
        **provenance(f"python -m benchmarks.speed{' --long' if options.long else ''}"),
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "video": f"{WIDTH}x{HEIGHT}, {RATE} pictures per second, H.264, 2 Mbit/s",
    }
    write_json(RESULTS / "speed.json", about | {"results": results})
    page = ROOT / "docs" / "figures.md"
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
    print(speed_table())


if __name__ == "__main__":
    main()
