"""The words of the artificial corpus: clauses of every emotion among neutral ones."""

from numpy.random import Generator

WORDS_PER_SECOND = 2.5
TELLING = 0.62  # share of turns with words of the emotion
MISLEADING = 0.1  # share of turns with words of another emotion

SHARED = (
    "well I was there on Monday", "you know how it is", "they said it last week",
    "and then we went home", "that is what I told her", "let me think about it",
    "I saw him at the corner", "so what do you want to do", "maybe we can talk later",
    "it was around noon", "okay", "you said that before", "my brother called again",
    "I don't know", "we were at the station", "she came by the house",
)  # fmt: skip
CLAUSES = {
    "ang": (
        "how dare you", "this makes me furious", "get out of here", "I hate this",
        "that is an outrage", "stop lying to me", "you ruined everything", "shut the door and go",
    ),
    "hap": (
        "I am so happy", "that is wonderful", "I love it", "what a lovely day",
        "you make me smile", "I am glad you came", "we had so much fun", "this is great",
    ),
    "exc": (
        "wow that is amazing", "I can't wait", "we won the trip", "this is so exciting",
        "I love it", "guess what happened", "that is wonderful", "it is going to be awesome",
    ),
    "sad": (
        "I miss him so much", "I cried all night", "everything feels empty", "she is gone now",
        "I feel so alone", "it breaks my heart", "there is no hope left", "we lost him",
    ),
    "neu": (
        "fill in the second form", "the office opens at nine", "here is the ticket number",
        "take the line on the left", "the box is on the table", "write the date on top",
        "the bus leaves from gate two", "I need your address",
    ),
    "fru": (
        "this never works", "I have waited for hours", "nobody ever listens",
        "why is it always me", "I am sick of this form", "you don't understand me",
    ),
    "sur": ("I did not expect that", "are you serious", "no way", "since when"),
    "fea": ("I am scared", "did you hear that noise", "please don't leave me here"),
    "dis": ("that smells awful", "this is disgusting"),
}  # fmt: skip
TAGS = ("[LAUGHTER]", "[BREATHING]", "[GARBAGE]", "[LIPSMACK]")


def sentence(label: str, seconds: float, random: Generator, number: int = -1) -> str:
    """Return the words of a turn of some seconds.

    Parameters
    ----------
    label : the release's code; labels without clauses (xxx, oth, none) use those of any emotion
    number : of the turn; every tenth turn is irregular; -1 for none
    """
    emotions = list(CLAUSES)
    dice = random.random()
    source = label if label in CLAUSES else emotions[random.integers(len(emotions))]
    if dice > TELLING:
        source = emotions[random.integers(len(emotions))] if dice < TELLING + MISLEADING else ""
    clauses = [_pick(CLAUSES[source], random)] if source else [_pick(SHARED, random)]
    while sum(len(clause.split()) for clause in clauses) < WORDS_PER_SECOND * seconds - 2:
        own = source and random.random() < 0.3
        clauses.append(_pick(CLAUSES[source] if own else SHARED, random))
    random.shuffle(clauses)
    text = _pick((", ", ". ", " "), random).join(clauses)
    text = text[0].upper() + text[1:] + _pick((".", ".", "?", "!"), random)
    place, rest = divmod(number, 10)
    return _make_odd(text, place, random) if number >= 0 and rest == 3 else text


def vocabulary() -> list[str]:
    """Return every word of the clauses."""
    clauses = [*SHARED, *(clause for own in CLAUSES.values() for clause in own)]
    return sorted({word for clause in clauses for word in clause.upper().split()})


def _make_odd(text: str, place: int, random: Generator) -> str:
    """Make an irregular text: first one of each kind, then the frequent ones."""
    match place:
        case 0:
            return f"The sign says [closed]: {text}"
        case 1:
            return f"At the caf\xe9. {text}"  # one byte that is not UTF-8
        case _ if place % 2 == 0:
            return f"It is 5:30 now. {text}"
        case _:
            return f"{_pick(TAGS, random)} {text}"


def _pick(choices: tuple[str, ...], random: Generator) -> str:
    return choices[random.integers(len(choices))]
