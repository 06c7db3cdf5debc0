"""Measure what a user gets: `analyze` and `analyze_text` on held-out data, beside the parts' own figures.

    python -m recipes.open.evaluate speech RAVDESS NEMO
    python -m recipes.open.evaluate faces FERPLUS
    python -m recipes.open.evaluate texts TEXTS tests/data/*.csv

`speech` takes corpus folders as `prepare` does, `faces` the FER+ folders (data/FER2013Test), `texts` the
folder of the text corpora and any number of tables with the columns text, label and also. Sound and faces go
through files, `speech` with default settings, without words, and with other silence around the speech.
`bundle=NAME` or a folder measures another bundle, `limit=N` only N examples of each corpus, drawn with a
fixed seed: for trying out, not to report. Writes `results/answers-speech.json` and so on;
progress goes to stderr.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multimodal_fer.errors import ConfigError
from multimodal_fer.hub.loading import DEFAULT_BUNDLE
from multimodal_fer.training.run import provenance
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import write_json
from recipes.open.answers import faces, speech, texts
from recipes.open.answers.answers import in_words

RESULTS = Path(__file__).parent / "results"
KINDS = ("speech", "faces", "texts")


class Settings(NamedTuple):
    """The words of the command line: folders and tables, and the settings among them."""

    paths: list[str]
    bundle: str
    limit: int


def read_settings(words: Sequence[str]) -> Settings:
    """Tell paths from `key=value`. Raises `ConfigError` for an unknown key or a wrong value."""
    settings = {"bundle": DEFAULT_BUNDLE, "limit": "0"}
    paths = []
    for word in words:
        key, separator, value = word.partition("=")
        if not separator:
            paths.append(word)
        elif key in settings:
            settings[key] = value
        else:
            raise ConfigError(f"unknown setting {key!r}; known: {', '.join(settings)}")
    if not settings["limit"].isdecimal():
        raise ConfigError(f"limit must be a whole number, found {settings['limit']!r}")
    if not paths:
        raise ConfigError("expected the folder of a corpus")
    return Settings(paths, settings["bundle"], int(settings["limit"]))


def shareable(word: str) -> str:
    """Return a word of the command without a folder of this machine, which helps no other."""
    key, separator, value = word.rpartition("=")
    return f"{key}{separator}{'FOLDER' if Path(value).is_absolute() else value}"


def measure(kind: str, settings: Settings) -> dict[str, Any]:
    """Return the result of one kind of data."""
    paths, bundle, limit = settings
    if kind == "speech":
        return speech.measure(paths, bundle, limit)
    if kind == "texts":
        return texts.measure(paths[0], paths[1:], bundle, limit)
    if kind != "faces":
        raise ConfigError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")
    if len(paths) > 1:
        raise ConfigError("faces takes one folder, that of FER+")
    return faces.measure(paths[0], bundle, limit)


def main(kind: str, *words: str) -> None:
    """Measure, print and write."""
    settings = read_settings(words)
    result = measure(kind, settings)
    command = " ".join(["python -m recipes.open.evaluate", kind, *map(shareable, words)])
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"answers-{kind}.json"
    write_json(target, {**provenance(command), "limit": settings.limit, **result})
    print("\n".join(in_words(result["rows"])))
    print(f"written: {target}")


if __name__ == "__main__":
    run_command(main, __doc__, 2, more=True)
