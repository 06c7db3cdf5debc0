"""Search files that are to be published for anything of the corpus: weights, results, logs, pages.

    python -m recipes.iemocap.publication.scan runs/iemocap-results weights/iemocap4 weights/text-iemocap4
        data=runs/iemocap

Reports sentences and parts of them, labels or predictions of single turns, ids of turns outside the lists
`test` of result files, pictures, sounds and arrays under any name, long lists of numbers and long texts
that may encode one of these, and vocabularies that are not in alphabetical order. The exit code is 1 if
anything is found.
"""

import base64
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from multimodal_fer.errors import DataError, WeightsError
from multimodal_fer.hub import weights_folder
from multimodal_fer.hub.weights_folder import MATERIAL, TURN, VOCABULARY
from multimodal_fer.utils.command_line import run_command
from recipes.iemocap.learning.config import split_words
from recipes.iemocap.preparation.prepared import Prepared, load_prepared
from recipes.iemocap.preparation.transcripts import normalised

SHORTEST = 4  # words of a sentence; shorter ones such as "I don't know" occur everywhere
SPAN = 6  # consecutive words of a longer sentence that do not occur by chance
LINES = 3  # short sentences on lines of their own that make a list of transcripts
NUMBERS = 500  # in a list; a crop has 2,304, a sound thousands
UNBROKEN = 400  # letters of base64 without a space
TESTED = "test"  # the key of result files whose lists are ids of test turns
MAGIC = {
    b"RIFF": "sound or video",
    b"fLaC": "sound",
    b"OggS": "sound",
    b"ID3": "sound",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"PK\x03\x04": "arrays or an archive",
    b"\x93NUMPY": "arrays",
    b"\x1f\x8b": "an archive",
    b"\x89HDF": "arrays",
}
BASE64 = re.compile(rf"[A-Za-z0-9+/_-]{{{UNBROKEN},}}")


class Scanner:
    """Searches files for the words of a prepared release and for other material of it."""

    def __init__(self, prepared: Prepared) -> None:
        sentences = [normalised(turn.text) for turn in prepared.turns]
        self.short = {" ".join(words) for words in sentences if 0 < len(words) < SHORTEST}
        self.known: set[tuple[str, ...]] = set()
        for words in sentences:
            if len(words) >= SHORTEST:
                self.known.update(windows(words, min(len(words), SPAN)))
        self.sizes = sorted({len(words) for words in self.known})

    def scan(self, places: Iterable[str | Path]) -> dict[str, list[str]]:
        """Return the findings by file. Raises `DataError` for a missing file or folder."""
        found: dict[str, list[str]] = {}
        for place in map(Path, places):
            if not place.exists():
                raise DataError(f"{place}: expected a file or folder to search, found none")
            if (place / weights_folder.CONFIG).is_file():
                for name, why in weights_folder.unexpected_files(place).items():
                    found.setdefault(str(place / name), []).append(why)
            for path in [place] if place.is_file() else sorted(place.rglob("*")):
                if path.is_file() and (reasons := list(dict.fromkeys(self._findings(path)))):
                    found.setdefault(str(path), []).extend(reasons)
        return found

    def _findings(self, path: Path) -> Iterator[str]:
        if path.name == weights_folder.WEIGHTS:
            try:
                weights_folder.tensor_shapes(path)
            except WeightsError as error:
                yield str(error)
            return
        content = path.read_bytes()
        for magic, kind in MAGIC.items():
            if content.startswith(magic):
                yield f"is {kind}"
                return
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            yield "is not text, so its content cannot be checked"
            return
        for kind, suffixes in MATERIAL.items():
            if path.suffix.lower() in suffixes.split() and path.name != VOCABULARY:
                yield f"has the name of {kind}"
        yield from self._vocabulary(text) if path.name == VOCABULARY else self._text(text)

    def _vocabulary(self, text: str) -> Iterator[str]:
        words = text.split("\n")[2:]
        words = words[:-1] if words and not words[-1] else words
        if words != sorted(words):
            yield "is a vocabulary that is not in alphabetical order"
        if any(len(word.split()) > 1 for word in words):
            yield "is a vocabulary with several words in a line"

    def _text(self, text: str) -> Iterator[str]:
        try:
            value = json.loads(text)
        except ValueError:
            yield from self._lines(text)
            return
        for string in _strings(value):
            yield from self._words(string)
        yield from _of_turns(value)

    def _lines(self, text: str) -> Iterator[str]:
        yield from self._words(text)
        lines = [" ".join(normalised(line)) for line in text.splitlines()]
        if sum(line in self.short for line in lines if line) >= LINES:
            yield f"has {LINES} or more lines that are sentences of the corpus"
        if ids := [line for line in text.splitlines() if TURN.search(line)]:
            yield f"names single turns in {len(ids)} lines"
        rows = [line for line in text.splitlines() if len(re.findall(r"[-\d.]+", line)) > NUMBERS]
        if rows:
            yield f"has lines of more than {NUMBERS} numbers"

    def _words(self, text: str) -> Iterator[str]:
        words = normalised(text)
        if any(window in self.known for size in self.sizes for window in windows(words, size)):
            yield "has consecutive words of a sentence of the corpus"
        if (match := BASE64.search(text)) and _is_packed(match[0]):
            yield f"has {len(match[0]):,} letters without a space, which may be encoded data"


def windows(words: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[place : place + size]) for place in range(len(words) - size + 1))


def _is_packed(text: str) -> bool:
    try:
        base64.b64decode(text[: len(text) // 4 * 4], altchars=b"-_" if "-" in text else None)
    except ValueError:
        return False
    return len(set(text)) > 2  # a line of dashes is not data


def _strings(value: Any) -> Iterator[str]:
    """Yield every text of a JSON value; a list of texts is joined into one."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _strings(inner)
    elif isinstance(value, list):
        if value and all(isinstance(inner, str) for inner in value):
            yield " ".join(value)
        else:
            for inner in value:
                yield from _strings(inner)


def _of_turns(value: Any, tested: int = 0) -> Iterator[str]:
    """Find ids outside the lists of test turns, and lists of the same length as such a list."""
    if isinstance(value, str):
        if TURN.search(value):
            yield "names single turns outside a list of test turns"
    elif isinstance(value, dict):
        ids = value.get(TESTED)
        tested = len(ids) if isinstance(ids, list) else tested
        for key, inner in value.items():
            yield from _of_turns(key)
            if key != TESTED or not _is_ids(inner):
                yield from _of_turns(inner, tested)
    elif isinstance(value, list):
        flat = [inner for inner in value if not isinstance(inner, dict | list)]
        if tested > 1 and len(flat) == tested:
            yield "has a list as long as that of the test turns, which may be their labels"
        if len([inner for inner in flat if isinstance(inner, int | float)]) > NUMBERS:
            yield f"has a list of more than {NUMBERS} numbers"
        for inner in value:
            yield from _of_turns(inner, tested)


def _is_ids(value: Any) -> bool:
    """Check for a sorted list of ids; another order could encode labels."""
    if not isinstance(value, list) or not all(isinstance(inner, str) for inner in value):
        return False
    plain = all(re.fullmatch(r"Ses0\d[FM]_\w+_[FM]\d{3}", inner) for inner in value)
    return plain and value == sorted(value)


def check_free(places: Iterable[str | Path], prepared: Prepared) -> None:
    """Raise `DataError` that lists all material of the corpus in files and folders."""
    if found := Scanner(prepared).scan(places):
        listed = "\n  ".join(f"{path}: {'; '.join(reasons)}" for path, reasons in found.items())
        raise DataError(
            f"these files must not be published, as they may hold material of the corpus:\n  {listed}"
        )


def main(*words: str) -> None:
    """Run the command."""
    options, places = split_words(words, data="runs/iemocap")
    if not places:
        sys.exit(__doc__)
    check_free(places, load_prepared(options["data"]))
    print(f"nothing of the corpus found in {', '.join(places)}")


if __name__ == "__main__":
    run_command(main, __doc__, 1, more=True)
