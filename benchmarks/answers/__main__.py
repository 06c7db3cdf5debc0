"""Measure the answers of `analyze` and `analyze_text` on held-out data, beside the predictions of the parts.

    python -m benchmarks.answers speech RAVDESS NEMO
    python -m benchmarks.answers faces FERPLUS
    python -m benchmarks.answers texts TEXTS tests/data/usability_answers.csv tests/data/factual_remarks.csv

`speech` takes corpus folders like `recipes.open.voice.prepare`, `faces` the FER+ folder (data/FER2013Test),
`texts` the folder of the text corpora and any number of tables with the columns text, label and also (another
label that a person could defend). `bundle=NAME` or a folder measures another bundle. `limit=N` measures N
random samples of each corpus, with a fixed seed, to try a command out. `workers=N` measures speech in N
processes. Progress goes to stderr, the result to
`benchmarks/results/answers-KIND.json`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.answers import faces, speech, texts
from benchmarks.answers.figures import summaries
from multimodal_fer.errors import ConfigError
from multimodal_fer.hub.loading import DEFAULT_BUNDLE
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import write_json

RESULTS = Path(__file__).parent.parent / "results"
KINDS = ("speech", "faces", "texts")


class Settings(NamedTuple):
    """Folders, tables and settings of the command line."""

    paths: list[str]
    bundle: str
    limit: int
    workers: int


def read_settings(words: Sequence[str]) -> Settings:
    """Separate paths from `key=value`. Raises `ConfigError` for an unknown key or a wrong value."""
    settings = {"bundle": DEFAULT_BUNDLE, "limit": "0", "workers": "1"}
    paths = []
    for word in words:
        key, separator, value = word.partition("=")
        if not separator:
            paths.append(word)
        elif key in settings:
            settings[key] = value
        else:
            raise ConfigError(f"unknown setting {key!r}; known: {', '.join(settings)}")
    for key in ("limit", "workers"):
        if not settings[key].isdecimal():
            raise ConfigError(f"{key} must be a whole number, found {settings[key]!r}")
    if not paths:
        raise ConfigError("expected the folder of a corpus, found only settings; name the folder")
    return Settings(paths, settings["bundle"], int(settings["limit"]), int(settings["workers"]))


def measure(kind: str, settings: Settings) -> dict[str, Any]:
    """Return the result of one kind of data."""
    paths, bundle, limit, workers = settings
    if kind == "speech":
        return speech.measure(paths, bundle, limit, workers)
    if kind == "texts":
        return texts.measure(paths[0], paths[1:], bundle, limit)
    if kind != "faces":
        raise ConfigError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")
    if len(paths) > 1:
        raise ConfigError(f"faces takes one folder, that of FER+, found {' '.join(paths)}")
    return faces.measure(paths[0], bundle, limit)


def main(kind: str, *words: str) -> None:
    """Measure, write and print the result."""
    settings = read_settings(words)
    result = measure(kind, settings)
    command = " ".join(["python -m benchmarks.answers", kind, *words])
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"answers-{kind}.json"
    write_json(target, {**provenance(command), "limit": settings.limit, **result})
    print("\n".join(summaries(result["rows"])))
    print(f"written: {target}")


if __name__ == "__main__":
    run_command(main, __doc__, 2, more=True)
