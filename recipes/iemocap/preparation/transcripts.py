"""Transcripts of all turns by a speech recogniser, stored in the prepared release, and their word error rate.

    python -m recipes.iemocap.preparation.transcripts data=runs/iemocap [speech_model=auto] [engine=]

Turns are transcribed as `multimodal_fer.analyze` transcribes recordings: only speech spans reach Whisper.
There is one file per dialog; the same command continues after an interruption. Trainings with
`transcripts=whisper` read the files.

The word error rate counts substitutions, insertions and deletions over all reference words, both sides in
lower case without punctuation and marks such as [LAUGHTER], numbers under a hundred in words. The "word error
rate" of 5.53 in Yoon et al. 2018 is a mean number of edits per utterance, with case and punctuation;
`edits_per_turn` is its nearest equivalent.
"""

import json
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy

from multimodal_fer.speech.transcription import transcribe
from multimodal_fer.speech.whisper import FasterWhisper, Recogniser, load_recogniser
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import write_json
from recipes.iemocap.corpus.turns import without_tags
from recipes.iemocap.learning.config import read_settings
from recipes.iemocap.preparation.prepared import Prepared, load_prepared
from recipes.iemocap.preparation.store import writing

LANGUAGE = "en"
RESULT = "result.json"
APOSTROPHES = str.maketrans({"’": "'", "‘": "'"})
WORD = re.compile(r"\d+|[^\W\d_]+(?:'[^\W\d_]+)*")
SMALL = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


class Transcripts:
    """The words of each turn by one recogniser; a dialog is transcribed on first use."""

    def __init__(self, prepared: Prepared, model: str = "auto", engine: str = "") -> None:
        self.prepared, self.model, self.engine = prepared, model, engine
        name = "-".join(filter(None, (engine, Path(model).name)))
        self.folder = prepared.folder / f"transcripts-{name}"
        self._texts: dict[str, dict[str, str]] = {}  # of each turn, by dialog
        self._turns = prepared.turns_by_dialog("voice")

    def of(self, turn: str) -> str:
        """Return the words of a turn; empty without sound or recognised words."""
        if not self.prepared.has(turn, "voice"):
            return ""
        dialog = self.prepared.rows[turn].turn.dialog
        if dialog not in self._texts:
            self._texts[dialog] = self._read(dialog) or self._make(dialog)
        return self._texts[dialog][turn]

    def finish(self) -> None:
        """Transcribe all remaining dialogs and print the progress."""
        waiting = [dialog for dialog in self._turns if self._read(dialog) is None]
        started = time.monotonic()
        for done, dialog in enumerate(waiting, start=1):
            self._texts[dialog] = self._make(dialog)
            left = (time.monotonic() - started) * (len(waiting) / done - 1) / 60
            print(
                f"transcribed {dialog}, {done} of {len(waiting)} dialogs, {left:.0f} min left",
                flush=True,
            )

    def result(self) -> dict[str, Any]:
        """Return the recogniser and the word errors over the turns with words and sound."""
        pairs = [
            (self.prepared.words(turn) or "", self.of(turn))
            for turn in self.prepared.rows
            if self.prepared.has(turn, "voice") and self.prepared.has(turn, "text")
        ]
        path = min(self.folder.glob("Ses*.json"))
        recogniser = json.loads(path.read_text(encoding="utf-8"))["recogniser"]
        return {"recogniser": recogniser, **word_errors(pairs)}

    @cached_property
    def recogniser(self) -> Recogniser:
        return load_recogniser(self.model, engine=self.engine or None, language=LANGUAGE)

    def _digests(self, dialog: str) -> dict[str, str]:
        return {turn: self.prepared.rows[turn].digest for turn in self._turns[dialog]}

    def _read(self, dialog: str) -> dict[str, str] | None:
        """Return stored transcripts of the same sounds; None without a complete file."""
        try:
            stored = json.loads((self.folder / f"{dialog}.json").read_text(encoding="utf-8"))
            return stored["texts"] if stored["digests"] == self._digests(dialog) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _make(self, dialog: str) -> dict[str, str]:
        texts = {turn: self._transcribe(turn) for turn in self._turns[dialog]}
        engine = (
            "faster-whisper" if isinstance(self.recogniser, FasterWhisper) else "openai-whisper"
        )
        content = {
            "recogniser": {"engine": engine, "model": self.recogniser.name, "language": LANGUAGE},
            "digests": self._digests(dialog),
            "texts": texts,
        }
        path = self.folder / f"{dialog}.json"
        with writing(path):
            path.parent.mkdir(exist_ok=True)
            write_json(path, content)
        return texts

    def _transcribe(self, turn: str) -> str:
        waveform = self.prepared.waveform(turn)
        assert waveform is not None
        *_, result = transcribe([(0.0, waveform)], self.recogniser, LANGUAGE)
        return " ".join(word.text for word in result.words)


# --- word errors ---


def normalised(text: str) -> list[str]:
    """Return words in lower case without punctuation and marks; numbers under a hundred in words."""
    words = WORD.findall(without_tags(text).translate(APOSTROPHES).lower())
    return [spoken for word in words for spoken in _spelled(word)]


def _spelled(word: str) -> list[str]:
    # Recognisers write digits. Larger numbers can be spoken in several ways, so they stay.
    if not word.isascii() or not word.isdigit() or len(word) > 2:
        return [word]
    tens, ones = divmod(int(word), 10)
    if tens < 2:
        return [SMALL[int(word)]]
    return [TENS[tens - 2], *([SMALL[ones]] if ones else [])]


def word_errors(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return error figures from (reference, recognised) texts of each turn."""
    edits = words = turns = empty = 0
    for reference_text, found_text in pairs:
        reference, found = normalised(reference_text), normalised(found_text)
        if not reference:  # marks only
            continue
        edits += edit_distance(reference, found)
        words, turns, empty = words + len(reference), turns + 1, empty + (not found)
    return {
        "turns": turns,
        "turns_without_a_word_heard": empty,
        "words": words,
        "edits": edits,
        "word_error_rate": edits / max(words, 1),
        "edits_per_turn": edits / max(turns, 1),
    }


def edit_distance(reference: Sequence[str], found: Sequence[str]) -> int:
    """Return the least number of substituted, deleted and inserted words (Levenshtein 1966)."""
    row = numpy.arange(len(found) + 1)
    for place, word in enumerate(reference, start=1):
        replaced = row[:-1] + numpy.array([word != other for other in found], dtype=int)
        best = numpy.concatenate([[place], numpy.minimum(row[1:] + 1, replaced)])
        # An insertion costs one more than the cell to its left; this covers runs of insertions.
        steps = numpy.arange(len(best))
        row = numpy.minimum.accumulate(best - steps) + steps
    return int(row[-1])


@dataclass(frozen=True)
class Settings:
    """The prepared release and the recogniser."""

    data: str = "runs/iemocap"
    speech_model: str = "auto"
    engine: str = ""


def main(*words: str) -> None:
    """Run the command."""
    settings = read_settings(Settings, words)
    transcripts = Transcripts(load_prepared(settings.data), settings.speech_model, settings.engine)
    transcripts.finish()
    result = transcripts.result()
    write_json(transcripts.folder / RESULT, result)
    print(
        f"{result['recogniser']['model']}: word error rate {result['word_error_rate']:.1%} over "
        f"{result['words']:,} words of {result['turns']:,} turns, {result['edits_per_turn']:.2f} edits per "
        f"turn; {result['turns_without_a_word_heard']:,} turns without a recognised word; written: "
        f"{transcripts.folder}"
    )


if __name__ == "__main__":
    run_command(main, __doc__, 1, more=True)
