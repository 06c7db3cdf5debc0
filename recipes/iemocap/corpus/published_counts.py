"""Comparison of a release of IEMOCAP with the published counts.

Public loaders agree on 151 dialogs, 10,039 turns and 5,531 turns of four classes; the counts by session are
those of the published fold lists of EmoBox. Only counts and names of dialogs are printed.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from multimodal_fer.errors import DataError
from multimodal_fer.labels import IEMOCAP_CODES
from recipes.iemocap.corpus.emotions import LABEL_SETS
from recipes.iemocap.corpus.release import SESSIONS, published_dialogs
from recipes.iemocap.corpus.turns import Turn

LABELS = {
    "ang": 1103, "hap": 595, "exc": 1041, "sad": 1084, "neu": 1708, "fru": 1849,
    "sur": 107, "fea": 40, "oth": 3, "dis": 2, "xxx": 2507,
}  # fmt: skip
TURNS = (1819, 1811, 2136, 2103, 2170)  # of each session
FOUR = {  # excitement counts as happiness
    "anger": (229, 137, 240, 327, 170),
    "happiness": (278, 327, 286, 303, 442),
    "sadness": (194, 197, 305, 143, 245),
    "neutral": (384, 362, 320, 258, 384),
}
KINDS = {"improvised": 4784, "scripted": 5255}
LETTERS = {"F": 4941, "M": 5098}  # of the speaker


class Difference(NamedTuple):
    """A count that differs from the published one."""

    what: str
    published: int
    found: int


def published_counts() -> dict[str, int]:
    """Return the published counts by name, totals first."""
    dialogs = Counter(int(name[4]) for name in published_dialogs())
    counts = {"dialogs": dialogs.total(), "turns": sum(TURNS)}
    counts |= {_label_key(code): count for code, count in LABELS.items()}
    counts["turns of four classes"] = sum(map(sum, FOUR.values()))
    counts |= {f"{kind} turns": count for kind, count in KINDS.items()}
    counts |= {f"turns of speakers {letter}": count for letter, count in LETTERS.items()}
    for place, session in enumerate(SESSIONS):
        counts[f"session {session}, dialogs"] = dialogs[session]
        counts[f"session {session}, turns"] = TURNS[place]
        counts |= {f"session {session}, {label} of four": row[place] for label, row in FOUR.items()}
    return counts


def found_counts(turns: Sequence[Turn]) -> Counter[str]:
    """Return the same counts of some turns."""
    counts = Counter({"dialogs": len({turn.dialog for turn in turns}), "turns": len(turns)})
    counts.update(f"session {name[4]}, dialogs" for name in {turn.dialog for turn in turns})
    for turn in turns:
        counts[_label_key(turn.label)] += 1
        counts[f"{'improvised' if turn.improvised else 'scripted'} turns"] += 1
        counts[f"turns of speakers {turn.speaker[-1]}"] += 1
        counts[f"session {turn.session}, turns"] += 1
        if label := LABEL_SETS["four"].label_of(turn):
            counts["turns of four classes"] += 1
            counts[f"session {turn.session}, {label} of four"] += 1
    return counts


def _label_key(code: str) -> str:
    return f"label {code} ({IEMOCAP_CODES[code]})"


def differences(turns: Sequence[Turn]) -> list[Difference]:
    """Return every count that differs from the published one, and unknown dialogs."""
    found = found_counts(turns)
    different = [
        Difference(what, count, found[what])
        for what, count in published_counts().items()
        if found[what] != count
    ]
    unknown = {turn.dialog for turn in turns} - set(published_dialogs())
    return different + [Difference(f"dialog {name}", 0, 1) for name in sorted(unknown)]


def differences_table(found: Sequence[Difference]) -> str:
    """Return a table of differences as aligned plain text."""
    width = max(map(len, ["count", *(row.what for row in found)]))
    lines = [f"{'count':{width}}  published   found  difference"]
    for what, published, count in found:
        lines.append(f"{what:{width}}  {published:9,}  {count:6,}  {count - published:+10,}")
    return "\n".join(lines)


def check_counts(turns: Sequence[Turn], *, allow_partial: bool = False) -> list[Difference]:
    """Return the differences from the published counts.

    Raises `DataError` if there are any and `allow_partial` is false: figures on other turns are not
    comparable, and most differences come from an incompletely unpacked archive.
    """
    found = differences(turns)
    if found and not allow_partial:
        raise DataError(
            "IEMOCAP: expected the published counts, found others:\n"
            f"{differences_table(found)}\n{_missing_dialogs(turns)}"
            "unpack the whole release again, or set allow_partial=true to continue with an incomplete "
            "release; figures are then not comparable with published ones"
        )
    return found


def _missing_dialogs(turns: Sequence[Turn]) -> str:
    present = {turn.dialog for turn in turns}
    sessions = {turn.session for turn in turns}
    missing = [f"all of session {session}" for session in SESSIONS if session not in sessions]
    missing += [
        name for name in published_dialogs() if name not in present and int(name[4]) in sessions
    ]
    return f"missing dialogs: {', '.join(missing)}\n" if missing else ""


def off_scale(turns: Sequence[Turn]) -> str:
    """Return a sentence that counts mean ratings outside the scale from 1 to 5; empty if there are none."""
    count = sum(
        not all(1 <= mean <= 5 for mean in (turn.valence, turn.arousal, turn.dominance))
        for turn in turns
    )
    return f"turns with a mean rating outside the scale from 1 to 5: {count:,}" if count else ""
