"""Whether a release of IEMOCAP is the one that everybody's figures are on: its published counts.

Public loaders agree on 151 dialogs, 10,039 turns and 5,531 turns of four classes; the table by session is
what the published fold lists of EmoBox count to. Only counts and names of dialogs are printed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from multimodal_fer.errors import DataError
from multimodal_fer.labels import IEMOCAP_CODES
from recipes.iemocap.corpus.emotions import LABEL_SETS, select_turns
from recipes.iemocap.corpus.release import SESSIONS, published_dialogs
from recipes.iemocap.corpus.turns import Turn

LABELS = {
    "ang": 1103,
    "hap": 595,
    "exc": 1041,
    "sad": 1084,
    "neu": 1708,
    "fru": 1849,
    "sur": 107,
    "fea": 40,
    "oth": 3,
    "dis": 2,
    "xxx": 2507,
}
TURNS = (1819, 1811, 2136, 2103, 2170)  # of each session
FOUR = {  # excitement counts as happiness
    "anger": (229, 137, 240, 327, 170),
    "happiness": (278, 327, 286, 303, 442),
    "sadness": (194, 197, 305, 143, 245),
    "neutral": (384, 362, 320, 258, 384),
}
KINDS = {"improvised": 4784, "scripted": 5255}
LETTERS = {"F": 4941, "M": 5098}  # of who speaks


class Difference(NamedTuple):
    """A count that is not the published one."""

    what: str
    published: int
    found: int


def published_counts() -> dict[str, int]:
    """What the whole release counts to, by what is counted."""
    return _named_counts(
        dialogs=_sessions_of(published_dialogs()),
        turns=Counter(dict(zip(SESSIONS, TURNS, strict=True))),
        codes=Counter(LABELS),
        four=Counter(
            {
                (session, label): count
                for label, row in FOUR.items()
                for session, count in zip(SESSIONS, row, strict=True)
            }
        ),
        kinds=Counter(KINDS),
        letters=Counter(LETTERS),
    )


def found_counts(turns: Sequence[Turn]) -> dict[str, int]:
    """The same counts of these turns."""
    four = LABEL_SETS["four"]
    return _named_counts(
        dialogs=_sessions_of({turn.dialog for turn in turns}),
        turns=Counter(turn.session for turn in turns),
        codes=Counter(turn.label for turn in turns),
        four=Counter((t.session, four.label_of(t)) for t in select_turns(turns, "four")),
        kinds=Counter("improvised" if turn.improvised else "scripted" for turn in turns),
        letters=Counter(turn.speaker[-1] for turn in turns),
    )


def _sessions_of(dialogs: Iterable[str]) -> Counter[int]:
    return Counter(int(name[4]) for name in dialogs)


def _named_counts(
    dialogs: Counter[int],
    turns: Counter[int],
    codes: Counter[str],
    four: Counter,
    kinds: Counter[str],
    letters: Counter[str],
) -> dict[str, int]:
    """Totals first, then each session."""
    counts = {"dialogs": dialogs.total(), "turns": turns.total()}
    counts |= {f"label {code} ({IEMOCAP_CODES[code]})": codes[code] for code in LABELS}
    counts["turns of four classes"] = four.total()
    counts |= {f"{kind} turns": kinds[kind] for kind in KINDS}
    counts |= {f"turns of speakers {letter}": letters[letter] for letter in LETTERS}
    for session in SESSIONS:
        counts[f"session {session}, dialogs"] = dialogs[session]
        counts[f"session {session}, turns"] = turns[session]
        counts |= {f"session {session}, {label} of four": four[session, label] for label in FOUR}
    return counts


def differences(turns: Sequence[Turn]) -> list[Difference]:
    """Every count that is not the published one, and dialogs that nobody else knows."""
    found = found_counts(turns)
    different = [
        Difference(what, count, found[what])
        for what, count in published_counts().items()
        if found[what] != count
    ]
    unknown = {turn.dialog for turn in turns} - set(published_dialogs())
    return different + [Difference(f"dialog {name}", 0, 1) for name in sorted(unknown)]


def differences_table(found: Sequence[Difference]) -> str:
    """Columns for people to read."""
    width = max(map(len, ["what", *(row.what for row in found)]))
    lines = [f"{'what':{width}}  published   found  difference"]
    for what, published, count in found:
        lines.append(f"{what:{width}}  {published:9,}  {count:6,}  {count - published:+10,}")
    return "\n".join(lines)


def check_contract(turns: Sequence[Turn], *, allow_partial: bool = False) -> list[Difference]:
    """The differences from the published counts; any is an error unless `allow_partial`.

    Figures on other turns are not comparable with anybody's, and a difference most often means that an
    archive was not wholly unpacked.
    """
    found = differences(turns)
    if found and not allow_partial:
        raise DataError(
            "IEMOCAP: expected the published counts, found others:\n"
            f"{differences_table(found)}\n{_missing_dialogs(turns)}"
            "unpack the whole release again, or set allow_partial=true to go on with what there is; "
            "figures are then not comparable with published ones"
        )
    return found


def _missing_dialogs(turns: Sequence[Turn]) -> str:
    """A line that names them, or the session where all of one are missing."""
    present = {turn.dialog for turn in turns}
    sessions = {turn.session for turn in turns}
    missing = [f"all of session {session}" for session in SESSIONS if session not in sessions]
    missing += [
        name for name in published_dialogs() if name not in present and int(name[4]) in sessions
    ]
    return f"missing dialogs: {', '.join(missing)}\n" if missing else ""


def off_scale(turns: Sequence[Turn]) -> str:
    """A sentence on means that are not from 1 to 5, the scale of the raters; empty where all are."""
    count = sum(
        not all(1 <= mean <= 5 for mean in (turn.valence, turn.arousal, turn.dominance))
        for turn in turns
    )
    return (
        f"turns with a mean of their ratings off the scale from 1 to 5: {count:,}" if count else ""
    )
