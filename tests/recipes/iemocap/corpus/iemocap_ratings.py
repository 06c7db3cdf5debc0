"""The ratings of the artificial corpus, and their files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from iemocap_plan import RELEASE_TURNS, TICKS, CorpusConfig, Dialog, Turn, chance
from numpy.random import Generator

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"
WORDS = {
    "ang": "Anger", "hap": "Happiness", "exc": "Excited", "sad": "Sadness", "neu": "Neutral",
    "fru": "Frustration", "fea": "Fear", "sur": "Surprise", "dis": "Disgust", "oth": "Other",
}  # fmt: skip
ATTRIBUTES = {  # valence, activation, dominance as evaluators rate the labels on average, 1 to 5
    "ang": (1.8, 4.0, 4.0), "hap": (4.2, 3.5, 3.0), "exc": (4.3, 4.1, 3.5), "sad": (2.0, 2.2, 2.5),
    "neu": (3.0, 2.5, 2.8), "fru": (2.2, 3.2, 3.2), "fea": (2.0, 3.6, 2.0), "sur": (3.2, 3.8, 2.8),
    "dis": (1.8, 3.2, 3.5),
}  # fmt: skip
# The release lacks dominance in 36 lines; a small corpus has both spellings.
NO_DOMINANCE_STEP = -(-RELEASE_TURNS // 36)

Attributes = tuple[int, int, int | None]


@dataclass(frozen=True)
class Rating:
    """One rater's labels and attributes of one turn; an outside rater may give labels only."""

    rater: str  # E1 to E6, or the actor: F or M with the session
    labels: tuple[str, ...]
    attributes: Attributes | None
    comment: str = ""


Ratings = dict[str, list[Rating]]  # by turn


def rate(dialog: Dialog, config: CorpusConfig) -> Ratings:
    """Return ratings by three outside raters, two of them with attributes, and by some actors."""
    random = chance(config, f"{dialog.name} ratings")
    outside = [f"E{number}" for number in sorted(random.choice(6, 3, replace=False) + 1)]
    with_actors = dialog.name.endswith("01") or random.random() < 0.5
    return {
        turn.name: _rate_turn(turn, dialog, outside, with_actors, config, random)
        for turn in dialog.labelled
    }


def _rate_turn(
    turn: Turn,
    dialog: Dialog,
    outside: Sequence[str],
    with_actors: bool,
    config: CorpusConfig,
    random: Generator,
) -> list[Rating]:
    votes = _vote(turn, config, random)
    attributes: list[Attributes | None] = [None]  # the first rater gives labels only
    attributes += [_attributes(turn.emotion, random) for _ in range(2)]
    step = NO_DOMINANCE_STEP if config.is_release else 20
    if config.oddities and turn.number % step == 5 and attributes[2]:
        attributes[2] = (*attributes[2][:2], None)
    ratings = [
        Rating(*answers)
        for answers in zip(outside, votes, attributes, _comments(turn, config), strict=True)
    ]
    if with_actors:
        rater = f"{turn.speaker}{dialog.session}"
        ratings.append(Rating(rater, (votes[0][0],), _attributes(turn.emotion, random)))
    return ratings


def _vote(turn: Turn, config: CorpusConfig, random: Generator) -> list[tuple[str, ...]]:
    """Return three votes, at least two for the turn's label; for xxx all three differ."""
    words = list(WORDS.values())
    if turn.emotion == "xxx":
        return [(words[place],) for place in random.choice(len(words) - 1, 3, replace=False)]
    own = WORDS[turn.emotion]
    other = words[random.integers(len(words) - 1)]
    votes: list[tuple[str, ...]] = [(own,), (own,), (own if random.random() < 0.4 else other,)]
    if config.oddities and turn.number % 10 == 1 and other != own:
        votes[2] = (other, own)
    return votes


def _attributes(label: str, random: Generator) -> Attributes:
    means = ATTRIBUTES.get(label, (2.8, 3.0, 3.0))
    values = [min(5, max(1, round(mean + 0.5 * random.standard_normal()))) for mean in means]
    return values[0], values[1], values[2]


def _comments(turn: Turn, config: CorpusConfig) -> list[str]:
    if not config.oddities:
        return ["", "", ""]
    match turn.number % 10:
        case 2:
            return ["", "not sure; could be more, or less", "calm at first; then not"]
        case 7:
            return ["", "clich\xe9", ""]
        case _:
            return ["", "", ""]


def evaluation_text(dialog: Dialog, ratings: Ratings) -> str:
    """Return the summary file: all F turns by time, then all M turns."""
    blocks = [HEADER, ""]
    for turn in sorted(dialog.labelled, key=lambda turn: (turn.speaker, turn.start)):
        rows = ratings[turn.name]
        means = ", ".join(f"{mean:.4f}" for mean in _means(rows))
        times = f"[{turn.start / TICKS:.4f} - {turn.end / TICKS:.4f}]"
        blocks.append(f"{times}\t{turn.name}\t{turn.emotion}\t[{means}]")
        for row in rows:
            labels = " ".join(f"{label};" for label in row.labels)
            blocks.append(f"C-{row.rater}:\t{labels}\t({row.comment})")
        blocks += [
            f"A-{row.rater}:\t{_spell(row.attributes, turn.number)}\t({row.comment})"
            for row in rows
            if row.attributes
        ]
        blocks.append("")
    return "\n".join(blocks) + "\n"


def _means(rows: Sequence[Rating]) -> list[float]:
    """Return the means over the outside raters who gave each value."""
    outside = [row.attributes for row in rows if row.attributes and row.rater[0] == "E"]
    columns = [
        [value for value in column if value is not None] for column in zip(*outside, strict=True)
    ]
    return [sum(column) / len(column) for column in columns]


def _spell(attributes: Attributes, number: int) -> str:
    valence, activation, dominance = attributes
    space = "  " if dominance or number // 20 % 2 == 0 else ""
    return f"val {valence}; act {activation}; dom{space}{dominance or ''};"


def write_evaluations(dialog: Dialog, ratings: Ratings, folder: Path) -> None:
    """Write the summary that recipes read, and the sub-directories that they must not read."""
    write_text(folder / f"{dialog.name}.txt", evaluation_text(dialog, ratings))
    raters = {row.rater for rows in ratings.values() for row in rows}
    for rater in sorted(raters):
        kind = "Categorical" if rater[0] == "E" else "Self-evaluation"
        ending = "_cat" if rater[0] == "E" else ""
        stem = folder / kind / f"{dialog.name}_{rater.lower()}{ending}"
        _write_pair(stem, _category_lines(ratings, rater))
        if rater[0] == "E" and any(_attribute_lines(ratings, rater)):
            stem = folder / "Attribute" / f"{dialog.name}_{rater.lower()}_atr"
            _write_pair(stem, _attribute_lines(ratings, rater))


def _category_lines(ratings: Ratings, rater: str) -> Iterable[str]:
    for name, row in _rows_of(ratings, rater):
        for label in row.labels:
            yield f"{name} :{'Neutral state' if label == 'Neutral' else label}; ()"


def _attribute_lines(ratings: Ratings, rater: str) -> Iterable[str]:
    for name, row in _rows_of(ratings, rater):
        if row.attributes:
            valence, activation, dominance = row.attributes
            yield f"{name} :act {activation}; :val {valence}; :dom {dominance or ''}; ()"


def _rows_of(ratings: Ratings, rater: str) -> Iterable[tuple[str, Rating]]:
    return ((name, row) for name, rows in ratings.items() for row in rows if row.rater == rater)


def _write_pair(stem: Path, lines: Iterable[str]) -> None:
    """Write a table, and an empty file of the annotation program."""
    write_text(stem.with_name(stem.name + ".txt"), "".join(f"{line}\n" for line in lines))
    shell = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<annotation>\n</annotation>\n'
    write_text(stem.with_name(stem.name + ".anvil"), shell)


def write_text(path: Path, text: str) -> None:
    """Write Latin-1 with LF; other than ASCII letters become bytes that are not UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="latin-1", newline="\n")
