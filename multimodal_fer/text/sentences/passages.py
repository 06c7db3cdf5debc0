"""Clean texts and cut long ones into passages, so that all of a written answer is read."""

import html
import re
import unicodedata
from functools import cache

LONGEST_PASSAGE = 40  # words; the training texts have 13 on average, and few have more
LONGEST_SENTENCE = 90  # words; a longer sentence is cut, because 128 word pieces are read
TAG = re.compile(r"<(?:/?[a-z][^<>]{0,500}|!--.{0,2000}?--)>", re.IGNORECASE | re.DOTALL)
ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|\n+")
SPACES = re.compile(r"\s+")
INVISIBLE = re.compile(
    "[\u00ad\u200b\u200d\u2060\ufeff\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\ud800-\udfff]"
)

# Pictographs whose Unicode names do not say what people mean by them.
MEANT = {
    "👍": "great",
    "👎": "bad",
    "👏": "well done",
    "👌": "perfect",
    "❤": "love",
    "💔": "heartbroken",
}
MEANT |= {"🙄": "annoying", "🤦": "annoying", "🤷": "i don't know", "🎉": "hooray", "🔥": "awesome"}


def clean(text: str) -> str:
    """Return a text without HTML tags and web addresses, and with the names of emoji in words.

    The word pieces of BERT know no emoji; "loudly crying face" says what the picture says.
    """
    text = ADDRESS.sub(" link ", TAG.sub(" ", html.unescape(TAG.sub(" ", text))))
    return INVISIBLE.sub("", "".join(map(in_words, INVISIBLE.sub("", text))))


@cache
def in_words(character: str) -> str:
    """Return what a pictograph means, or its Unicode name in lower case; other characters unchanged."""
    if character in MEANT:
        return f" {MEANT[character]} "
    if character < "\u2600" or unicodedata.category(character) not in ("So", "Sk"):
        return character
    name = unicodedata.name(character, "")
    return f" {name.lower()} " if name else " "


def split_passages(text: str) -> list[str]:
    """Return the passages of a text: whole sentences, as many as fit into `LONGEST_PASSAGE` words."""
    passages: list[list[str]] = []
    for sentence in SENTENCE_END.split(text):
        words = SPACES.sub(" ", sentence).split(" ")
        for start in range(0, len(words), LONGEST_SENTENCE):
            piece = [word for word in words[start : start + LONGEST_SENTENCE] if word]
            if passages and len(passages[-1]) + len(piece) <= LONGEST_PASSAGE:
                passages[-1] += piece
            elif piece:
                passages.append(piece)
    return [" ".join(passage) for passage in passages]
