"""Turns of IEMOCAP (Busso et al. 2008): strict readers of its label summaries and transcriptions.

What a summary (`EmoEvaluation/<dialog>.txt`) holds, and the formats' own header, in made-up words:

    % [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

    [6.2000 - 8.4500]⇥Ses01F_impro01_F000⇥fru⇥[2.0000, 3.5000, 3.0000]
    C-E1:⇥Anger; Frustration;⇥(a comment; of any words)
    A-E3:⇥val 2; act 4; dom  3;⇥()

and a transcription (`transcriptions/<dialog>.txt`):

    Ses01F_impro01_F000 [006.2000-008.4500]: Made-up words here.

A line that is none of these, or one of these and damaged, is a `DataError` that names the file and the line:
a turn must not get lost or get another's label in silence.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from multimodal_fer.errors import DataError
from multimodal_fer.labels import IEMOCAP_CODES
from recipes.iemocap.corpus.release import DIALOG, Dialog, read_text

TURN = re.compile(rf"({DIALOG.pattern})_([FM])(\d{{3}}|XX\d)", re.ASCII)
NUMBER = r"(\d{1,5}\.\d{1,9})"
RATING = r"(\d\.\d{1,9})"
SUMMARY = re.compile(
    rf"\[{NUMBER} - {NUMBER}\]\t(\S+)\t(\S+)\t\[{RATING}, {RATING}, {RATING}\]", re.ASCII
)
SUMMARY_FORM = "[start - end]⇥turn⇥label⇥[valence, arousal, dominance]"
RATER = re.compile(r"([CA])-([EFM]\d):(.*)", re.ASCII)
JOINED = re.compile(rf"[CA]-[EFM]\d:|{TURN.pattern}", re.ASCII)  # two lines in one
WORDS = re.compile(r"[A-Za-z]+( [A-Za-z]+)*", re.ASCII)
SCORE = r"(\d(?:\.\d{1,9})?)?"
ATTRIBUTES = re.compile(
    rf"\s*val\s*{SCORE}\s*;\s*act\s*{SCORE}\s*;(?:\s*dom\s*{SCORE}\s*;)?\s*", re.ASCII
)
WRITTEN = re.compile(rf"(\S+) \[{NUMBER}-{NUMBER}\]:(.*)", re.ASCII)
TIMES = re.compile(r"\[\s*\d+\.\d+\s*-", re.ASCII)
UNTIMED = re.compile(r"\w+\s*:", re.ASCII)
TAG = re.compile(r"\[\w+\]", re.ASCII)

Fail = Callable[[int, str, str], DataError]  # from a line's number, the line, what was expected
Line = tuple[int, str]  # as an editor numbers it, and without the spaces around it


@dataclass(frozen=True)
class Rating:
    """What one rater said of a turn, in the corpus's words; None where no number was given."""

    rater: str  # E1 to E6 listened and watched; F or M and a digit is an actor, on the own turn
    labels: tuple[str, ...] = ()  # several where the rater could not decide
    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None

    @property
    def by_actor(self) -> bool:
        """Ratings of the own turn: the summary's label and numbers leave them out."""
        return self.rater[0] in "FM"


@dataclass(frozen=True)
class Turn:
    """One actor's turn, with the label and the means of the outside raters.

    Times are seconds on the clock of the dialog's sound and video. Valence, arousal and dominance are on a
    scale from 1 to 5. All else follows from the id, such as `Ses01F_impro01_M000`: session 1, the female
    actor wears the markers, the male actor speaks.
    """

    id: str
    start: float
    end: float
    label: str  # one of IEMOCAP_CODES
    valence: float
    arousal: float
    dominance: float
    ratings: tuple[Rating, ...] = ()
    text: str = ""

    def __post_init__(self) -> None:
        if not (match := TURN.fullmatch(self.id)) or match[6].startswith("XX"):
            raise ValueError(f"a turn's id is like Ses01F_impro01_M000; got {self.id!r}")
        if not 0 <= self.start < self.end:
            raise ValueError(f"a turn must end after it starts; got {self.start} to {self.end}")
        if self.label not in IEMOCAP_CODES:
            raise ValueError(
                f"a turn's label is one of {', '.join(IEMOCAP_CODES)}; got {self.label!r}"
            )

    @property
    def dialog(self) -> str:
        return self.id.rpartition("_")[0]

    @property
    def session(self) -> int:
        return int(self.id[4])

    @property
    def wearer(self) -> str:
        """The actor who wears the markers, such as Ses01F."""
        return self.id[:6]

    @property
    def speaker(self) -> str:
        """The actor who speaks: the letter after the last "_", not the one of the recording."""
        return self.id[:5] + self.id.rpartition("_")[2][0]

    @property
    def improvised(self) -> bool:
        """Else scripted: all sessions perform the same scripts."""
        return self.id[7:].startswith("impro")

    @property
    def side(self) -> str:
        """Where the speaker is in the video: the left picture is of who wears the markers."""
        return "left" if self.speaker == self.wearer else "right"

    @property
    def duration(self) -> float:
        return self.end - self.start


def without_tags(text: str) -> str:
    """A transcription without its marks of what is no word, such as [LAUGHTER]."""
    return " ".join(TAG.sub(" ", text).split())


# --- a dialog ---


def read_turns(dialog: Dialog) -> list[Turn]:
    """All labelled turns of a dialog with their words, in the order in which they start.

    Turns overlap: a partner may begin before the other ends.
    """
    turns = parse_evaluation(read_text(dialog.evaluation), dialog.evaluation)
    texts = parse_transcription(read_text(dialog.transcription), dialog.transcription)
    labelled = {turn.id for turn in turns}
    _expect_all(labelled, set(texts), dialog.transcription, dialog.evaluation)
    _expect_all(set(texts), labelled, dialog.evaluation, dialog.transcription)
    turns = [replace(turn, text=texts[turn.id]) for turn in turns]
    return sorted(turns, key=lambda turn: (turn.start, turn.id))


def read_all_turns(dialogs: Iterable[Dialog]) -> list[Turn]:
    """The turns of all dialogs, one dialog after the other."""
    return [turn for dialog in dialogs for turn in read_turns(dialog)]


def _expect_all(expected: set[str], found: set[str], path: Path, other: Path) -> None:
    """Both files have the same turns: 10,039 in all, XX ids and lines without an id apart."""
    if missing := sorted(expected - found):
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(
            f"{path}: expected a line for each turn of {other}, found none for "
            f"{', '.join(missing[:3])}{more}; unpack both files again"
        )


def _failing(path: Path) -> Fail:
    """Makes the error for a line of this file."""

    def fail(number: int, line: str, expected: str) -> DataError:
        return DataError(
            f"{path}, line {number}: expected {expected}, found {line[:100]!r}; "
            "take the file as published"
        )

    return fail


# --- summaries of labels ---


def parse_evaluation(text: str, path: Path) -> list[Turn]:
    """The turns of one summary, without words, in the order of the file: all F turns, then all M turns.

    `path` is what errors name, and its stem the dialog that all turns must belong to.
    """
    fail = _failing(path)
    blocks = _blocks(text)
    first = blocks[0][0] if blocks else (1, "")
    if not first[1].startswith("%"):
        raise fail(*first, 'the header, which starts with "%"')
    header, *blocks = blocks
    if header[1:]:
        raise fail(*header[1], "an empty line below the header")
    turns: dict[str, Turn] = {}
    for block in blocks:
        turn = _parse_block(block, path.stem, fail)
        if turn.id in turns:
            raise fail(*block[0], "every turn once")
        turns[turn.id] = turn
    if not turns:
        raise DataError(f"{path}: expected turns below the header, found none; unpack it again")
    return list(turns.values())


def _blocks(text: str) -> list[list[Line]]:
    """Lines between empty lines; only "\\n" ends a line, as a comment may hold any other character."""
    blocks: list[list[Line]] = [[]]
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            blocks[-1].append((number, line.strip()))
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _parse_block(block: list[Line], dialog: str, fail: Fail) -> Turn:
    """One turn: its summary line, then a line for each rater and kind of rating."""
    number, line = block[0]
    match = SUMMARY.fullmatch(line)
    if not match:
        raise fail(number, line, SUMMARY_FORM)
    start, end, turn, label, *means = match.groups()
    name = TURN.fullmatch(turn)
    if not name or name[1] != dialog or name[6].startswith("XX"):
        raise fail(number, line, f"a turn of {dialog}, such as {dialog}_F000")
    if label not in IEMOCAP_CODES:
        raise fail(number, line, f"one of {', '.join(IEMOCAP_CODES)} as the label")
    if float(end) <= float(start):
        raise fail(number, line, "an end after the start")
    valence, arousal, dominance = map(float, means)
    ratings = _parse_ratings(block[1:], fail)
    return Turn(turn, float(start), float(end), label, valence, arousal, dominance, ratings)


def _parse_ratings(lines: list[Line], fail: Fail) -> tuple[Rating, ...]:
    """The raters of a turn in the order of the file; C lines hold labels, A lines hold numbers."""
    ratings: dict[str, Rating] = {}
    seen: set[tuple[str, str]] = set()
    for number, line in _without_open_comments(lines):
        match = RATER.fullmatch(line)
        if not match:
            raise fail(number, line, "a rater's line (C-E1:… or A-E1:…) or an empty line")
        kind, rater, rest = match.groups()
        if (kind, rater) in seen:
            raise fail(number, line, f"one line {kind}-{rater} in a turn")
        seen.add((kind, rater))
        said, bracket, comment = rest.partition("(")  # a comment may hold ";" and all else
        if not bracket:
            raise fail(number, line, "a comment in brackets at the end, if only ()")
        if JOINED.search(comment):
            raise fail(number, line, "each rater's line on a line of its own")
        rating = ratings.get(rater, Rating(rater))
        if kind == "C":
            ratings[rater] = replace(rating, labels=_parse_labels(said, number, line, fail))
        else:
            ratings[rater] = _with_numbers(rating, said, number, line, fail)
    return tuple(ratings.values())


def _without_open_comments(lines: list[Line]) -> Iterator[Line]:
    """Lines but those that go on with a comment; every other line has a tab."""
    within = False
    for number, line in lines:
        if within and "\t" not in line and not JOINED.search(line):
            within = not line.endswith(")")
            continue
        yield number, line
        within = "(" in line and not line.endswith(")")


def _parse_labels(said: str, number: int, line: str, fail: Fail) -> tuple[str, ...]:
    """Categories, each ended by ";". Which words are known is not checked here: none is lost."""
    if said.strip() in ("", ";"):
        return ()
    *labels, rest = [part.strip() for part in said.split(";")]
    if rest or not all(WORDS.fullmatch(label) for label in labels):
        raise fail(number, line, 'categories, each with ";" after it, and a comment in brackets')
    return tuple(labels)


def _with_numbers(rating: Rating, said: str, number: int, line: str, fail: Fail) -> Rating:
    """Valence, activation and dominance; outside raters left out the last one on 36 lines."""
    match = ATTRIBUTES.fullmatch(said)
    if not match or (not rating.by_actor and None in match.groups()[:2]):
        raise fail(number, line, "val 1; act 2; dom 3; and a comment in brackets")
    valence, arousal, dominance = (float(value) if value else None for value in match.groups())
    return replace(rating, valence=valence, arousal=arousal, dominance=dominance)


# --- transcriptions ---


def parse_transcription(text: str, path: Path) -> dict[str, str]:
    """The words of each turn of one dialog by its id, as written.

    Left out: ids with XX, which have no label, and lines without id and times (`M: …`), which a few dialogs
    have for asides.
    """
    fail = _failing(path)
    texts: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if not line or _has_no_label(line, path.stem):
            continue
        match = WRITTEN.fullmatch(line)
        if not match:
            raise fail(number, line, "turn [start-end]: words")
        turn, _, _, words = match.groups()
        if TURN.search(words):
            raise fail(number, line, "each turn on a line of its own")
        name = TURN.fullmatch(turn)
        if not name or name[1] != path.stem:
            raise fail(number, line, f"a turn of {path.stem}, such as {path.stem}_F000")
        if turn in texts:
            raise fail(number, line, "every turn once")
        texts[turn] = words.strip()
    return texts


def _has_no_label(line: str, dialog: str) -> bool:
    """Whether a line is of an XX id or an aside: a damaged line of a turn still shows its id or times."""
    if name := TURN.match(line):
        return name[6].startswith("XX") and name[1] == dialog
    shows_turn = line.startswith("Ses") or TURN.search(line) or TIMES.search(line)
    return bool(UNTIMED.match(line)) and not shows_turn
