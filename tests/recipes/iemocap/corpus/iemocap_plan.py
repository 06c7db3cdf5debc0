"""The dialogs and turns of the artificial corpus of `iemocap_corpus`, planned before any file is written.

Emotions are learnable, and each modality shows only a part of them:

- the voice shows arousal: anger, happiness and excitement are high, fast and loud, sadness and neutral not
- the face shows valence: happiness and excitement smile, neutral is flat, anger and sadness frown
- the words show the emotion itself in about two of three turns

Each cue is noisy, so that no modality is certain and all together are best.
"""

import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, zip_longest

import numpy
from iemocap_words import sentence
from numpy.random import Generator

RELEASE_TURNS = 10_039
TICKS = 10_000  # per second: the resolution of times in the release's text files
SESSIONS = (1, 2, 3, 4, 5)
SCRIPTS = ["01_1", "01_2", "01_3", "02_1", "02_2", "03_1", "03_2"]

# The real release's counts. Per session happiness includes excitement.
SESSION_TURNS = (1819, 1811, 2136, 2103, 2170)
FOUR_CLASSES = {
    "ang": (229, 137, 240, 327, 170),
    "hap": (278, 327, 286, 303, 442),
    "sad": (194, 197, 305, 143, 245),
    "neu": (384, 362, 320, 258, 384),
}
LABEL_TOTALS = {
    "ang": 1103, "hap": 595, "exc": 1041, "sad": 1084, "neu": 1708, "fru": 1849,
    "sur": 107, "fea": 40, "oth": 3, "dis": 2, "xxx": 2507,
}  # fmt: skip
IMPROVISED = {"ang": 289, "hap": 284, "exc": 663, "sad": 608, "neu": 1099}
IMPROVISED_TURNS = 4784  # of all labels
MALE_TURNS = 5098
OUTSIDE = ("fru", "sur", "fea", "oth", "dis", "xxx")  # labels besides the four classes

UNLABELLED = {"M": "MXX0", "F": "FXX1"}  # ids of these turns

# Means and spreads of the cues of voice and face.
AROUSAL = {"ang": 1, "hap": 1, "exc": 1.2, "sad": -1, "neu": -1, "fru": 0.5, "sur": 1, "fea": 0.7}
MOOD = {"ang": -1, "hap": 1, "exc": 1.2, "sad": -1, "neu": 0, "fru": -1, "sur": 0.3, "fea": -0.6}
AROUSAL_SPREAD = 0.7
MOOD_SPREAD = 0.4


@dataclass(frozen=True)
class CorpusConfig:
    """The size and content of the corpus.

    turns : labelled turns in all; 10,039 (in all sessions) means the real release's counts
    sessions : which of the five
    media : write wav and avi; without, only text
    seconds : mean length of a turn
    oddities : include the irregularities of the real release; names of dialogs are always real
    """

    turns: int = 40
    sessions: tuple[int, ...] = SESSIONS
    media: bool = True
    seconds: float = 1.5
    oddities: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        known = [session for session in SESSIONS if session in self.sessions]
        if not known or known != sorted(self.sessions):
            raise ValueError(f"expected sessions out of {SESSIONS}, got {self.sessions}")
        if self.turns < 4 * len(self.sessions):
            raise ValueError(f"expected at least 4 turns a session, got {self.turns} in all")

    @property
    def is_release(self) -> bool:
        return self.turns == RELEASE_TURNS and set(self.sessions) == set(SESSIONS)


@dataclass(frozen=True)
class Turn:
    """One actor's turn; `emotion` is empty for the few turns without a label (XX)."""

    name: str
    start: int  # ticks
    end: int
    emotion: str
    text: str  # of Latin-1 letters; those that are not ASCII are invalid as UTF-8
    arousal: float
    mood: float
    number: int  # among all labelled turns; -1 for XX

    @property
    def speaker(self) -> str:
        return self.name.rsplit("_", 1)[1][0]


@dataclass(frozen=True)
class Dialog:
    """One scene: its turns by time, its length, and the length of its video (0: no video)."""

    name: str
    turns: tuple[Turn, ...]
    length: int  # ticks
    picture: int

    @property
    def session(self) -> int:
        return int(self.name[4])

    @property
    def wearer(self) -> str:
        """Return the actor with markers, who is on the left in video and sound."""
        return self.name[5]

    @property
    def labelled(self) -> list[Turn]:
        return [turn for turn in self.turns if turn.emotion]


def chance(config: CorpusConfig, purpose: str) -> Generator:
    """Return random numbers for one purpose, independent of other draws."""
    return numpy.random.default_rng([config.seed, zlib.crc32(purpose.encode())])


def plan_corpus(config: CorpusConfig) -> list[Dialog]:
    """Return all dialogs by name."""
    random = chance(config, "plan")
    groups = _release_groups(random) if config.is_release else _small_groups(config, random)
    labels = {name: part for names, pool in groups for name, part in _split(names, pool, random)}
    names = sorted(labels)
    sizes = [len(labels[name]) for name in names]
    men = apportion(round(config.turns * MALE_TURNS / RELEASE_TURNS), sizes)
    firsts = numpy.cumsum([0, *sizes])
    dialogs = []
    for place, name in enumerate(names):
        speakers = _interleave({"F": sizes[place] - men[place], "M": men[place]}, random)
        dialogs.append(
            _plan_dialog(config, name, place, speakers, labels[name], int(firsts[place]))
        )
    return _shorten_pictures(dialogs) if config.oddities else dialogs


def dialog_names(session: int) -> list[str]:
    """Return the 28 to 32 dialogs of one session of the release."""
    improvised = [f"{scene:02d}" for scene in range(1, 8 if session == 1 else 9)]
    names = []
    for wearer in "FM":
        scenes, scripts = improvised, SCRIPTS
        if (session, wearer) == (3, "M"):
            scenes = ["01", "02", "03", "04", "05a", "05b", "06", "07", "08a", "08b"]
        if (session, wearer) == (5, "M"):
            scripts = [*SCRIPTS, "01_1b"]
        names += [f"Ses0{session}{wearer}_impro{scene}" for scene in scenes]
        names += [f"Ses0{session}{wearer}_script{script}" for script in scripts]
    return names


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Return whole numbers proportional to `weights` with the sum `total` (largest remainders)."""
    exact = total * numpy.asarray(weights, float) / numpy.sum(weights)
    whole = numpy.floor(exact).astype(int)
    missing = total - int(whole.sum())
    whole[numpy.argsort(whole - exact, kind="stable")[:missing]] += 1
    return whole.tolist()


Group = tuple[list[str], list[str]]  # dialogs, and the labels of their turns


def _release_groups(random: Generator) -> list[Group]:
    """Return the improvised and the scripted dialogs of each session, with their labels."""
    outside = [label for label in OUTSIDE for _ in range(LABEL_TOTALS[label])]
    improvised = IMPROVISED_TURNS - sum(IMPROVISED.values())
    random.shuffle(outside)
    pools = {label: _by_kind(label) for label in ("ang", "sad", "neu")}
    pools["hap"] = _by_kind("hap") + _by_kind("exc")
    counts = dict(FOUR_CLASSES)
    pools["outside"] = [(lab, "impro") for lab in outside[:improvised]]
    pools["outside"] += [(lab, "script") for lab in outside[improvised:]]
    four = numpy.sum(list(FOUR_CLASSES.values()), axis=0)
    counts["outside"] = tuple((numpy.array(SESSION_TURNS) - four).tolist())
    shares: dict[tuple[int, str], list[str]] = defaultdict(list)
    for name, pool in pools.items():
        # One shuffled pool gives exact counts by session and by kind.
        dealt = iter([pool[place] for place in random.permutation(len(pool))])
        for session, size in zip(SESSIONS, counts[name], strict=True):
            for _ in range(size):
                label, kind = next(dealt)
                shares[session, kind].append(label)
    return [
        ([name for name in dialog_names(session) if kind in name], share)
        for (session, kind), share in shares.items()
    ]


def _by_kind(label: str) -> list[tuple[str, str]]:
    improvised = IMPROVISED[label]
    scripted = LABEL_TOTALS[label] - improvised
    return [(label, "impro")] * improvised + [(label, "script")] * scripted


def _small_groups(config: CorpusConfig, random: Generator) -> list[Group]:
    """Return a few dialogs of each session; every session has the classes, some have rare labels."""
    sizes = apportion(config.turns, [1] * len(config.sessions))
    shares = [["ang", "hap", "sad", "neu", "exc"][:size] for size in sizes]
    room = config.turns - sum(map(len, shares))
    pool = list(OUTSIDE[:room])
    more = apportion(room - len(pool), list(LABEL_TOTALS.values()))
    pool += [lab for lab, size in zip(LABEL_TOTALS, more, strict=True) for _ in range(size)]
    random.shuffle(pool)
    groups = []
    for session, size, share in zip(sorted(config.sessions), sizes, shares, strict=True):
        missing = size - len(share)
        share, pool = share + pool[:missing], pool[missing:]
        groups.append((_favourites(session)[: max(2, size // 12)], share))
    return groups


def _favourites(session: int) -> list[str]:
    """Return the session's dialogs, first two with different wearers and irregular names."""
    groups = defaultdict(list)
    for name in sorted(dialog_names(session), key=lambda name: not re.search("[a-z]$", name)):
        groups[name[5:8]].append(name)
    order = ("M_i", "F_s", "M_s", "F_i") if session == 3 else ("M_s", "F_i", "M_i", "F_s")
    rows = zip_longest(*(groups[key] for key in order))
    return [name for row in rows for name in row if name]


def _split(names: list[str], pool: list[str], random: Generator) -> list[tuple[str, list[str]]]:
    """Distribute a group's labels over its dialogs, unequally if they are long."""
    spread = 0.33 if len(pool) > 24 * len(names) else 0.0
    weights = numpy.exp(spread * random.standard_normal(len(names)).clip(-2, 2))
    ends = numpy.cumsum(apportion(len(pool), weights.tolist()))
    dealt = [pool[place] for place in random.permutation(len(pool))]
    starts = [0, *ends[:-1]]
    return [(name, dealt[a:b]) for name, a, b in zip(names, starts, ends, strict=True)]


def _interleave(counts: dict[str, int], random: Generator) -> list[str]:
    """Return the order of two actors who mostly alternate."""
    places = [
        ((place + random.uniform(0.2, 0.8)) / turns, speaker)
        for speaker, turns in counts.items()
        for place in range(turns)
    ]
    return [speaker for _, speaker in sorted(places)]


def _plan_dialog(
    config: CorpusConfig, name: str, place: int, speakers: list[str], labels: list[str], first: int
) -> Dialog:
    random = chance(config, name)
    entries = list(zip(speakers, labels, strict=True))
    if config.oddities and place % 3 == 0:  # two without a label
        entries[1:1] = [("M", "")]
        entries.append(("F", ""))
    times = _place_turns([speaker for speaker, _ in entries], config.seconds, random)
    turns: list[Turn] = []
    for turn_name, (_, label), (start, end) in zip(
        _turn_names(name, entries), entries, times, strict=True
    ):
        number = first if label else -1
        first += bool(label)
        text = sentence(
            label, (end - start) / TICKS, random, number=number if config.oddities else -1
        )
        arousal = AROUSAL.get(label, 0.0) + AROUSAL_SPREAD * random.standard_normal()
        mood = MOOD.get(label, 0.0) + MOOD_SPREAD * random.standard_normal()
        turns.append(Turn(turn_name, start, end, label, text, arousal, mood, number))
    length = max(turn.end for turn in turns) + TICKS // 2
    return Dialog(name, tuple(turns), length, picture=length)


def _turn_names(dialog: str, entries: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield ids, counted by actor; the two without a label are named as in the release."""
    counts = {"F": count(), "M": count()}
    for speaker, label in entries:
        turn = f"{speaker}{next(counts[speaker]):03d}" if label else UNLABELLED[speaker]
        yield f"{dialog}_{turn}"


def _place_turns(
    speakers: Sequence[str], seconds: float, random: Generator
) -> list[tuple[int, int]]:
    """Return start and end of each turn in ticks; turns of one actor do not overlap."""
    spread = 0.35
    lengths = seconds * numpy.exp(
        spread * random.standard_normal(len(speakers)) - 0.5 * spread**2
    ).clip(0.25 / seconds)
    gaps = seconds * random.uniform(-0.25, 0.35, len(speakers))
    gaps[1] = -0.2 * seconds  # at least one begins before the other has ended
    begun, silent = int(random.integers(TICKS // 2, TICKS)), {"F": 0, "M": 0}
    times = []
    for speaker, length, gap in zip(speakers, lengths, gaps, strict=True):
        start = max(silent.values()) + round(gap * TICKS)
        start = max(start, begun + TICKS // 10, silent[speaker] + TICKS // 20)
        begun, silent[speaker] = start, start + round(length * TICKS)
        times.append((start, silent[speaker]))
    return times


def _shorten_pictures(dialogs: list[Dialog]) -> list[Dialog]:
    """End one dialog's video at least two seconds early, before its last turn; remove another one."""
    short, bare = 1, 3 if len(dialogs) > 3 else 0
    picture = dialogs[short].labelled[-1].start - TICKS // 10
    length = max(dialogs[short].length, picture + 2 * TICKS)
    changed = {
        short: replace(dialogs[short], length=length, picture=picture),
        bare: replace(dialogs[bare], picture=0),
    }
    return [changed.get(place, dialog) for place, dialog in enumerate(dialogs)]
