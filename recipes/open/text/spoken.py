"""Change written texts into what a speech recogniser would write of them, as training augmentation.

Comments and posts have exclamation marks, emoji and capitals; recognised speech has fillers, repeated words,
few marks, and some words that sound like the right ones.
"""

import random
import re

NAMES = ("John", "Anna", "Mike", "Sarah", "David", "Maria", "Tom", "Lisa", "Kevin", "Emma")
FIRST = ("um", "uh", "so", "okay so", "well", "I mean", "yeah", "oh", "and", "okay", "right so")
AMID = ("um", "uh", "like", "you know", "I mean", "kind of", "just", "sort of")
# Words that recognisers confuse because they sound alike, and forms that they write in two ways.
ALIKE = (
    ("their", "there", "they're"),
    ("to", "too", "two"),
    ("your", "you're"),
    ("its", "it's"),
    ("then", "than"),
    ("here", "hear"),
    ("right", "write"),
    ("know", "no"),
    ("by", "buy"),
    ("are", "our"),
    ("in", "and"),
    ("a", "the"),
    ("this", "the"),
    ("accept", "except"),
    ("weather", "whether"),
    ("site", "sight"),
    ("where", "were"),
    ("quiet", "quite"),
    ("of", "have"),
    ("than", "that"),
)
FORMS = (
    ("i'm", "i am"),
    ("don't", "do not"),
    ("can't", "cannot"),
    ("it's", "it is"),
    ("that's", "that is"),
    ("going to", "gonna"),
    ("want to", "wanna"),
    ("because", "cause"),
    ("them", "em"),
    ("kind of", "kinda"),
    ("okay", "ok"),
    ("lol", ""),
    ("wtf", "what the fuck"),
    ("omg", "oh my god"),
    ("idk", "i don't know"),
    ("tbh", "to be honest"),
    ("thx", "thanks"),
)
OTHERS = {
    word: [other for other in group if other != word]
    for group in ALIKE
    for word in group
    if word
    not in ("know", "no")  # no is a word of its own; know becomes no, which is not the reverse
}
OTHERS["know"] = ["no"]
PLACEHOLDER = re.compile(r"\[(?:NAME|RELIGION)\]", re.IGNORECASE)
NOT_HEARD = re.compile(r"[^\w\s.,?!'’\-%$€£]|_")  # emoji, brackets, quotation marks, slashes
MARKS = re.compile(r"[.,?!]+")


def spoken(text: str, chance: random.Random) -> str:
    """Return a text as it might be recognised; the text itself if nothing of it can be heard."""
    written = text
    text = PLACEHOLDER.sub(lambda _: chance.choice(NAMES), text)
    text = NOT_HEARD.sub(" ", text.replace("’", "'")).lower()
    text = rewrite_forms(text, chance)
    marks = chance.random()
    if marks < 0.5:
        text = MARKS.sub(" ", text)
    elif marks < 0.9:
        text = re.sub(r"!+", ".", re.sub(r"\.{2,}", " ", text))
    words = [changed for word in text.split() for changed in misheard(word, chance)]
    return " ".join(with_fillers(words, chance)) if words else written


def rewrite_forms(text: str, chance: random.Random) -> str:
    """Write some contractions out, and contract others."""
    for pair in FORMS:
        old, new = pair if chance.random() < 0.7 else pair[::-1]
        if old and chance.random() < 0.5:
            text = re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", new, text)
    return text


def misheard(word: str, chance: random.Random) -> list[str]:
    """Return a word, sometimes twice, as a word that sounds alike, or, if it is very short, not at all."""
    draw = chance.random()
    if draw < 0.02:
        return [word, word]
    if draw < 0.08 and word in OTHERS:
        return [chance.choice(OTHERS[word])]
    if draw < 0.11 and word in ("a", "the", "is", "to", "of", "it", "and"):
        return []
    return [word]


def with_fillers(words: list[str], chance: random.Random) -> list[str]:
    """Put fillers before and amid the words."""
    if chance.random() < 0.3:
        place = chance.randrange(len(words))
        words = [*words[:place], *chance.choice(AMID).split(), *words[place:]]
    return [*chance.choice(FIRST).split(), *words] if chance.random() < 0.3 else words
