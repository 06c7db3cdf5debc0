"""Draw a confusion matrix: share of each row, with the number of images in each cell."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy
from matplotlib.figure import Figure

from multimodal_fer.utils.files import replacing

# Text instead of outlines and fixed names make the file reproducible.
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "confusion", "font.family": "sans-serif"}


def draw_confusion(report: dict[str, Any], title: str, path: Path) -> None:
    """Write the confusion matrix of a `metrics.classification_report` as SVG."""
    counts = numpy.array(report["confusion"])
    shares = counts / numpy.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = list(report["recall"])
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(7.5, 6.5), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in numpy.ndindex(counts.shape):
            share = shares[row, column]
            axes.text(
                column,
                row,
                f"{share:.0%}\n{counts[row, column]}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share > 0.5 else "black",
            )
        places = range(len(labels))
        axes.set_xticks(places, labels, rotation=30)
        axes.set_yticks(places, labels)
        axes.set(xlabel="prediction", ylabel="label", title=title)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})
