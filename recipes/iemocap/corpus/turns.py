"""Strict readers of the label summaries and transcriptions of IEMOCAP (Busso et al. 2008).

A summary (`EmoEvaluation/<dialog>.txt`) in invented words:

    % [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

    [6.2000 - 8.4500]⇥Ses01F_impro01_F000⇥fru⇥[2.0000, 3.5000, 3.0000]
    C-E1:⇥Anger; Frustration;⇥(a comment; of any words)
    A-E3:⇥val 2; act 4; dom  3;⇥()

A transcription (`transcriptions/<dialog>.txt`):

    Ses01F_impro01_F000 [006.2000-008.4500]: Made-up words here.

Any other or damaged line raises a `DataError` that names the file and the line, so that no turn is lost or
gets the label of another one.
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
JOINED = re.compile(rf"[CA]-[EFM]\d:|{TURN.pattern}", re.ASCII)  # two lines joined into one
WORDS = re.compile(r"[A-Za-z]+( [A-Za-z]+)*", re.ASCII)
SCORE = r"(\d(?:\.\d{1,9})?)?"
ATTRIBUTES = re.compile(
    rf"\s*val\s*{SCORE}\s*;\s*act\s*{SCORE}\s*;(?:\s*dom\s*{SCORE}\s*;)?\s*", re.ASCII
)
TRANSCRIBED = re.compile(rf"(\S+) \[{NUMBER}-{NUMBER}\]:(.*)", re.ASCII)
TIMES = re.compile(r"\[\s*\d+\.\d+\s*-", re.ASCII)
UNTIMED = re.compile(r"\w+\s*:", re.ASCII)
TAG = re.compile(r"\[\w+\]", re.ASCII)

Fail = Callable[[int, str, str], DataError]  # of a line's number, the line, the expected form
Line = tuple[int, str]  # number from 1, and the line without surrounding spaces


@dataclass(frozen=True)
class Rating:
    """The rating of a turn by one rater, in the corpus's words; None for a missing number."""

    rater: str  # E1 to E6 are outside raters; F or M and a digit is an actor who rates the own turn
    labels: tuple[str, ...] = ()  # several if the rater could not decide
    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None

    @property
    def by_actor(self) -> bool:
        """Return true for a self-rating, which the summary's label and means exclude."""
        return self.rater[0] in "FM"


@dataclass(frozen=True)
class Turn:
    """One actor's turn, with the label and the mean ratings of the outside raters.

    Times are seconds from the start of the dialog's sound and video. Valence, arousal and dominance range
    from 1 to 5. The id `Ses01F_impro01_M000` means session 1, female actor with markers, male speaker.
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
        """Return the actor who wears the markers, such as Ses01F."""
        return self.id[:6]

    @property
    def speaker(self) -> str:
        """Return the actor who speaks, by the letter after the last "_"."""
        return self.id[:5] + self.id.rpartition("_")[2][0]

    @property
    def improvised(self) -> bool:
        """Return false for scripted turns; all sessions perform the same scripts."""
        return self.id[7:].startswith("impro")

    @property
    def side(self) -> str:
        """Return the speaker's side of the video; the actor with markers is on the left."""
        return "left" if self.speaker == self.wearer else "right"

    @property
    def duration(self) -> float:
        return self.end - self.start


def without_tags(text: str) -> str:
    """Remove marks of non-verbal sounds, such as [LAUGHTER]."""
    return " ".join(TAG.sub(" ", text).split())


# --- a dialog ---


def read_turns(dialog: Dialog) -> list[Turn]:
    """Return all labelled turns of a dialog with their words, by start time; turns may overlap."""
    turns = parse_evaluation(read_text(dialog.evaluation), dialog.evaluation)
    texts = parse_transcription(read_text(dialog.transcription), dialog.transcription)
    labelled = {turn.id for turn in turns}
    _expect_all(labelled, set(texts), dialog.transcription, dialog.evaluation)
    _expect_all(set(texts), labelled, dialog.evaluation, dialog.transcription)
    turns = [replace(turn, text=texts[turn.id]) for turn in turns]
    return sorted(turns, key=lambda turn: (turn.start, turn.id))


def read_all_turns(dialogs: Iterable[Dialog]) -> list[Turn]:
    """Return the turns of all dialogs, dialog by dialog."""
    return [turn for dialog in dialogs for turn in read_turns(dialog)]


def _expect_all(expected: set[str], found: set[str], path: Path, other: Path) -> None:
    if missing := sorted(expected - found):
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(
            f"{path}: expected a line for each turn of {other}, found none for "
            f"{', '.join(missing[:3])}{more}; unpack both files again"
        )


def _failing(path: Path) -> Fail:
    def fail(number: int, line: str, expected: str) -> DataError:
        return DataError(
            f"{path}, line {number}: expected {expected}, found {line[:100]!r}; "
            "take the file as published"
        )

    return fail


# --- summaries of labels ---


def parse_evaluation(text: str, path: Path) -> list[Turn]:
    """Return the turns of one summary without words, in the order of the file: F turns, then M turns.

    Errors name `path`; its stem is the dialog to which all turns must belong.
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
    """Split at empty lines; only "\\n" ends a line, because comments may hold any other character."""
    blocks: list[list[Line]] = [[]]
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            blocks[-1].append((number, line.strip()))
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _parse_block(block: list[Line], dialog: str, fail: Fail) -> Turn:
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
    """Return the ratings in the order of the file; C lines hold labels, A lines hold numbers."""
    ratings: dict[str, Rating] = {}
    read: set[tuple[str, str]] = set()
    for number, line in _without_open_comments(lines):
        match = RATER.fullmatch(line)
        if not match:
            raise fail(number, line, "a rater's line (C-E1:… or A-E1:…) or an empty line")
        kind, rater, rest = match.groups()
        if (kind, rater) in read:
            raise fail(number, line, f"one line {kind}-{rater} in a turn")
        read.add((kind, rater))
        values, bracket, comment = rest.partition("(")  # comments may hold ";"
        if not bracket:
            raise fail(number, line, "a comment in brackets at the end, if only ()")
        if JOINED.search(comment):
            raise fail(number, line, "each rater's line on a line of its own")
        rating = ratings.get(rater, Rating(rater))
        if kind == "C":
            ratings[rater] = replace(rating, labels=_parse_labels(values, number, line, fail))
        else:
            ratings[rater] = _with_numbers(rating, values, number, line, fail)
    return tuple(ratings.values())


def _without_open_comments(lines: list[Line]) -> Iterator[Line]:
    """Skip lines that continue a comment; every other line has a tab."""
    within = False
    for number, line in lines:
        if within and "\t" not in line and not JOINED.search(line):
            within = not line.endswith(")")
            continue
        yield number, line
        within = "(" in line and not line.endswith(")")


def _parse_labels(values: str, number: int, line: str, fail: Fail) -> tuple[str, ...]:
    """Return categories, each terminated by ";"; unknown words are kept."""
    if values.strip() in ("", ";"):
        return ()
    *labels, rest = [part.strip() for part in values.split(";")]
    if rest or not all(WORDS.fullmatch(label) for label in labels):
        raise fail(number, line, 'categories, each with ";" after it, and a comment in brackets')
    return tuple(labels)


def _with_numbers(rating: Rating, values: str, number: int, line: str, fail: Fail) -> Rating:
    """Add valence, activation and dominance; 36 lines of outside raters lack dominance."""
    match = ATTRIBUTES.fullmatch(values)
    if not match or (not rating.by_actor and None in match.groups()[:2]):
        raise fail(number, line, "val 1; act 2; dom 3; and a comment in brackets")
    valence, arousal, dominance = (float(value) if value else None for value in match.groups())
    return replace(rating, valence=valence, arousal=arousal, dominance=dominance)


# --- transcriptions ---


def parse_transcription(text: str, path: Path) -> dict[str, str]:
    """Return the words of each turn of one dialog by id, as written.

    Skips ids with XX, which have no label, and asides: lines without id and times (`M: …`).
    """
    fail = _failing(path)
    texts: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if not line or _has_no_label(line, path.stem):
            continue
        match = TRANSCRIBED.fullmatch(line)
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
    """Check for an XX id or an aside; a damaged line of a turn still shows its id or times."""
    if name := TURN.match(line):
        return name[6].startswith("XX") and name[1] == dialog
    of_turn = line.startswith("Ses") or TURN.search(line) or TIMES.search(line)
    return bool(UNTIMED.match(line)) and not of_turn
