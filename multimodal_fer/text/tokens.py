"""Split texts into the tokens of the text networks: words, punctuation and emoji."""

import re
import unicodedata
from collections.abc import Sequence

# Invisible or without meaning for the text: soft hyphens, zero-width spaces, the Braille blank, variation
# selectors, skin tones, unpaired surrogates.
INVISIBLE = re.compile(
    "[\u00ad\u200b\u2060\u2800\ufeff\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\ud800-\udfff]"
)
SAME_MARKS = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'}
    | {"–": " -- ", "—": " -- ", "…": "..."}
)
# Kana and Chinese characters, written without spaces: each one is a token.
CHARACTER = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
LETTER = rf"[^\W_{CHARACTER}]"
# Signs inside words that Python's \w lacks: accents, vowel signs, joiners.
SIGN = "\u200c\u200d\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670"
INDIC_AND_THAI = "\u0900-\u0963\u0966-\u0e3e\u0e40-\u109f"
PART = rf"{LETTER}(?:{LETTER}|[{SIGN}{INDIC_AND_THAI}])*"
PICTURE = "[\u2190-\u21ff\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001fbff]"
TOKEN = re.compile(
    rf"""
    (?P<url> (?:https?://|www\.)\S*[\w/] | [\w-]{{1,63}}\.(?:com|org)\b(?:/\S*[\w/])? )
  | (?P<user> [\w.+-]{{1,64}}@[\w-]+(?:\.[\w-]+)+ | (?<!\w)@\w+ )  # mail addresses identify people too
  | (?P<emoji> [\U0001f1e6-\U0001f1ff]{{2}} | [0-9]\u20e3
      | \u200d?{PICTURE}[\U000e0020-\U000e007f]*(?:\u200d{PICTURE})* )
  | (?P<smiley> (?<!\d)[:;=]['^-]?(?P<mouth>[()\[\]|/\\*])(?P=mouth)*(?!\w)
      | (?<!\S)[:;=]-?[dpo]\b )
  | (?P<heart> <3+(?!\d) )
  | (?P<short> (?:[a-z]\.){{2,}} | (?:mr|mrs|ms|dr|prof|st|jr|sr|vs|etc)\. )
  | (?P<character> [{CHARACTER}] )
  | (?P<word> (?<!\w)'(?:em|cause|til|bout)\b | {PART}(?:(?:[-'_]|(?<=\d)[.,:/](?=\d)){PART})* )
  | (?P<clitic> '(?:s|m|d|ll|re|ve)\b )  # standing alone in subtitles and transcripts
  | (?P<dots> \.{{2,}} )
  | (?P<dashes> -{{2,}} )
  | (?P<shout> [!?]+ )
  | (?P<mark> (?P<one>\S)(?P=one)* )
    """,
    re.VERBOSE,
)
# One token for all of a kind; the first two are spelt as in GloVe's vectors for tweets.
WRITTEN_AS = {"url": "<url>", "user": "<user>", "heart": "<3", "dots": "...", "dashes": "--"}
CLITICS = ("n't", "'s", "'m", "'d", "'ll", "'re", "'ve")
ELONGATED = re.compile(r"([^\W\d_])\1{2,}")
ROMAN = re.compile(r"[xv]*iii")  # numerals that are not elongated words
TWO_WORDS = {
    pair.replace(" ", ""): pair.split()
    for pair in ("can not", "gon na", "got ta", "wan na", "gim me", "lem me")
}


def tokenize(text: str) -> list[str]:
    """Return the lower-case tokens of a text; an empty text has none.

    The tokens follow the Penn Treebank like NLTK's `word_tokenize`, which Yoon et al. 2018 use:
    contractions are split (do n't, it 's, ca n't, gon na), punctuation is separate, hyphenated words and
    numbers (3.88, 10:30) stay whole. Differences, for subtitles, tweets and comments:

    - a full stop is separate except after initials (u.s.) and a few titles (mr.); NLTK separates only the
      last one of a sentence
    - quotation marks of all kinds become `"` and `'`; NLTK writes two backquotes for an opening one
    - web addresses become `<url>`; @names and mail addresses become `<user>`, to keep them out of
      vocabularies
    - repeated marks become one (!!! is !, ?!?! is ? !), two or more dots become ..., dashes --
    - letters repeat at most twice (sooooo is soo), except in roman numerals
    - slashes and the dash of a broken-off word (we-) are separate; NLTK keeps and/or and we- whole
    - 'em, 'cause, 'til and 'bout stay whole, as in GloVe
    - smileys such as :) and emoji, flags and joined emoji included, are tokens without skin tone
    - Chinese and Japanese are split into characters, other scripts at spaces and marks
    """
    text = unicodedata.normalize("NFC", INVISIBLE.sub("", text).lower()).translate(SAME_MARKS)
    return [token for match in TOKEN.finditer(text) for token in _tokens_of(match)]


def _tokens_of(match: re.Match[str]) -> Sequence[str]:
    """Return the tokens of one match of `TOKEN`."""
    found = match.group()
    match match.lastgroup:
        case "url" | "user" | "heart" | "dots" | "dashes" as kind:
            return (WRITTEN_AS[kind],)
        case "word":
            return _split_word(found)
        case "smiley":
            mouth = match["mouth"] or ""
            return (found.rstrip(mouth) + mouth,)
        case "emoji":
            return (found.lstrip("\u200d"),)  # without a leading joiner, which joins nothing
        case "shout":
            return tuple(dict.fromkeys(found))
        case "mark":
            return (match["one"],)
    return (found,)


def _split_word(word: str) -> Sequence[str]:
    """Return a word without elongation, and its contractions."""
    if not ROMAN.fullmatch(word):
        word = ELONGATED.sub(r"\1\1", word)
    endings: list[str] = []
    while ending := next((end for end in CLITICS if word.endswith(end) and word != end), None):
        word = word.removesuffix(ending)
        endings.append(ending)
    return (*TWO_WORDS.get(word, (word,)), *reversed(endings))
