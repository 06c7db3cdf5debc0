"""Make the picture of a report that the README shows, from the sample recording.

    python examples/make_report_picture.py docs/report.png

Needs the extras `offline` and `report`, Pillow, and Chromium or Chrome on PATH.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from multimodal_fer import analyze
from multimodal_fer.report.page import write_report

SAMPLE = Path(__file__).parent / "sample.mp4"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTH, HEIGHT = 1200, 1280  # pixels: the page from its title to the scores of the first window
WAIT = 8000  # milliseconds in which the page draws itself
COLOURS = 256  # a palette keeps the file small; MAXCOVERAGE keeps the rare colours of the emotions


def find_browser() -> str:
    """Return the path of a browser. Raises `SystemExit` if there is none."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    raise SystemExit(f"expected one of {', '.join(BROWSERS)} on PATH, found none; install Chromium")


def take_picture(page: Path, picture: Path) -> None:
    """Open a page in a headless browser and write it as a PNG."""
    command = [
        find_browser(),
        *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        f"--user-data-dir={picture.parent / 'browser'}",
        f"--window-size={WIDTH},{HEIGHT}",
        f"--virtual-time-budget={WAIT}",
        f"--screenshot={picture}",
        page.as_uri(),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def make_picture(output: Path) -> None:
    """Analyse the sample recording, write its report and store a picture of it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        recording = Path(shutil.copy(SAMPLE, folder))
        page = folder / "sample.html"
        write_report(analyze(recording), page, recording=recording)
        picture = folder / "page.png"
        take_picture(page, picture)
        with Image.open(picture) as image:
            palette = image.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=3)
            palette.save(output, optimize=True)


def main() -> None:
    """Read the command line and write the picture."""
    parser = argparse.ArgumentParser(description="Make the picture of a report.")
    parser.add_argument("output", type=Path, help="the PNG file to write")
    output = parser.parse_args().output
    make_picture(output)
    print(f"{output}: {output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
