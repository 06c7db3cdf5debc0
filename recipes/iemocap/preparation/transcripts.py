"""What a speech recogniser hears in every turn, kept beside a prepared release; and how wrong it is.

    python -m recipes.iemocap.preparation.transcripts data=runs/iemocap [speech_model=auto] [engine=]

The turns are heard as `multimodal_fer.analyze` hears recordings: only stretches of speech reach Whisper. One
file a dialog; the same command goes on after a kill, and trainings with `transcripts=whisper` read the files.

The word error rate is true: substitutions, insertions and deletions over the words of the reference, of all
turns together, both sides in small letters without punctuation and marks such as [LAUGHTER], numbers under a
hundred in words. What Yoon et al. 2018 call a word error rate of 5.53 is a mean number of edits of an
utterance, with case and punctuation: `edits_per_turn` comes nearest to it.
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

from multimodal_fer.speech.transcription import listen
from multimodal_fer.speech.whisper import FasterWhisper, Recogniser, load_recogniser
from multimodal_fer.utils.command_line import run_command
from multimodal_fer.utils.files import write_json
from recipes.iemocap.corpus.turns import without_tags
from recipes.iemocap.learning.settings import read_settings
from recipes.iemocap.preparation.prepared import Prepared, load_prepared
from recipes.iemocap.preparation.store import writing

LANGUAGE = "en"
RESULT = "result.json"
APOSTROPHES = str.maketrans({"’": "'", "‘": "'"})
WORD = re.compile(r"\d+|[^\W\d_]+(?:'[^\W\d_]+)*")
SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


class Transcripts:
    """The words of each turn by one recogniser; a dialog is heard when it is first asked for."""

    def __init__(self, prepared: Prepared, model: str = "auto", engine: str = "") -> None:
        self.prepared, self.model, self.engine = prepared, model, engine
        name = "-".join(filter(None, (engine, Path(model).name)))
        self.folder = prepared.folder / f"transcripts-{name}"
        self._dialogs: dict[str, dict[str, str]] = {}
        self._turns: dict[str, list[str]] = {}
        for turn, row in prepared.rows.items():
            if prepared.has(turn, "voice"):
                self._turns.setdefault(row.turn.dialog, []).append(turn)

    def of(self, turn: str) -> str:
        """What was heard; empty where there is no sound or no word in it."""
        if not self.prepared.has(turn, "voice"):
            return ""
        dialog = self.prepared.rows[turn].turn.dialog
        if dialog not in self._dialogs:
            self._dialogs[dialog] = self._read(dialog) or self._make(dialog)
        return self._dialogs[dialog][turn]

    def finish(self) -> None:
        """Hear what has not been heard yet, and say how it goes."""
        waiting = [dialog for dialog in self._turns if self._read(dialog) is None]
        started = time.monotonic()
        for done, dialog in enumerate(waiting, start=1):
            self._dialogs[dialog] = self._make(dialog)
            left = (time.monotonic() - started) * (len(waiting) / done - 1) / 60
            print(
                f"heard {dialog}, {done} of {len(waiting)} dialogs, {left:.0f} min left", flush=True
            )

    def result(self) -> dict[str, Any]:
        """Who heard, and how many of the words are wrong; over the turns that have words and sound."""
        pairs = [
            (self.prepared.words(turn) or "", self.of(turn))
            for turn in self.prepared.rows
            if self.prepared.has(turn, "voice") and self.prepared.has(turn, "text")
        ]
        return {"recogniser": self._heard_by, **word_errors(pairs)}

    # --- files ---

    @cached_property
    def recogniser(self) -> Recogniser:
        return load_recogniser(self.model, engine=self.engine or None, language=LANGUAGE)

    @property
    def _heard_by(self) -> dict[str, str]:
        """Engine and model by name, from any of the files."""
        path = next(iter(sorted(self.folder.glob("Ses*.json"))))
        return json.loads(path.read_text(encoding="utf-8"))["recogniser"]

    def _digests(self, dialog: str) -> dict[str, str]:
        return {turn: self.prepared.rows[turn].digest for turn in self._turns[dialog]}

    def _read(self, dialog: str) -> dict[str, str] | None:
        """What was heard in the same sounds; None where there is no whole file of them."""
        try:
            kept = json.loads((self.folder / f"{dialog}.json").read_text(encoding="utf-8"))
            return kept["texts"] if kept["digests"] == self._digests(dialog) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _make(self, dialog: str) -> dict[str, str]:
        texts = {turn: self._hear(turn) for turn in self._turns[dialog]}
        engine = (
            "faster-whisper" if isinstance(self.recogniser, FasterWhisper) else "openai-whisper"
        )
        kept = {
            "recogniser": {"engine": engine, "model": self.recogniser.name, "language": LANGUAGE},
            "digests": self._digests(dialog),
            "texts": texts,
        }
        path = self.folder / f"{dialog}.json"
        with writing(path):
            path.parent.mkdir(exist_ok=True)
            write_json(path, kept)
        return texts

    def _hear(self, turn: str) -> str:
        waveform = self.prepared.waveform(turn)
        assert waveform is not None
        *_, heard = listen([(0.0, waveform)], self.recogniser, LANGUAGE)
        return " ".join(word.text for word in heard.words)


# --- how wrong it is ---


def normalised(text: str) -> list[str]:
    """Words in small letters, without punctuation and marks of what is no word; numbers as said."""
    words = WORD.findall(without_tags(text).translate(APOSTROPHES).lower())
    return [spoken for word in words for spoken in _spoken(word)]


def _spoken(word: str) -> list[str]:
    """Numbers under a hundred in words, since recognisers write digits; larger ones are said in many ways."""
    if not word.isascii() or not word.isdigit() or len(word) > 2:
        return [word]
    tens, ones = divmod(int(word), 10)
    if tens < 2:
        return [SMALL[int(word)]]
    return [TENS[tens - 2], *([SMALL[ones]] if ones else [])]


def word_errors(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Figures of what was heard against what was said, from (said, heard) of each turn."""
    edits = words = turns = unheard = 0
    for said, heard in pairs:
        reference, found = normalised(said), normalised(heard)
        if not reference:  # marks only
            continue
        edits += edit_distance(reference, found)
        words, turns, unheard = words + len(reference), turns + 1, unheard + (not found)
    return {
        "turns": turns,
        "turns_without_a_word_heard": unheard,
        "words": words,
        "edits": edits,
        "word_error_rate": edits / max(words, 1),
        "edits_per_turn": edits / max(turns, 1),
    }


def edit_distance(reference: Sequence[str], found: Sequence[str]) -> int:
    """The least number of words to replace, leave out or put in (Levenshtein 1966)."""
    row = numpy.arange(len(found) + 1)
    for place, word in enumerate(reference, start=1):
        replaced = row[:-1] + numpy.array([word != other for other in found], dtype=int)
        best = numpy.concatenate([[place], numpy.minimum(row[1:] + 1, replaced)])
        # A word put in costs one more than the cell to its left, however many stand in a row.
        steps = numpy.arange(len(best))
        row = numpy.minimum.accumulate(best - steps) + steps
    return int(row[-1])


@dataclass(frozen=True)
class Settings:
    """Whose turns are heard, and by what."""

    data: str = "runs/iemocap"
    speech_model: str = "auto"
    engine: str = ""


def main(*words: str) -> None:
    """The command line."""
    settings = read_settings(Settings, words)
    heard = Transcripts(load_prepared(settings.data), settings.speech_model, settings.engine)
    heard.finish()
    result = heard.result()
    write_json(heard.folder / RESULT, result)
    print(
        f"{result['recogniser']['model']}: word error rate {result['word_error_rate']:.1%} over "
        f"{result['words']:,} words of {result['turns']:,} turns, {result['edits_per_turn']:.2f} edits a "
        f"turn; {result['turns_without_a_word_heard']:,} turns without a word heard; written: {heard.folder}"
    )


if __name__ == "__main__":
    run_command(main, __doc__, 1, more=True)
