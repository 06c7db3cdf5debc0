"""Split texts into tokens: words, marks and signs as the text networks see them."""

import re
import unicodedata
from collections.abc import Sequence

# ------------------------------------------------------------------------------ tokens

# Not seen by readers, or no part of what a sign says: soft hyphens, spaces of no width, the blank of
# Braille, variation selectors, skin tones (a thumb is a thumb, whoever writes), broken characters.
INVISIBLE = re.compile(
    "[\u00ad\u200b\u2060\u2800\ufeff\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\ud800-\udfff]"
)
SAME_MARKS = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'}
    | {"–": " -- ", "—": " -- ", "…": "..."}
)
# Written without spaces: each character is a token (kana, Chinese characters).
CHARACTER = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
LETTER = rf"[^\W_{CHARACTER}]"
# Python's \w leaves out signs that stand inside words: accents, vowel signs, joiners.
SIGN = "\u200c\u200d\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670"
INDIC_AND_THAI = "\u0900-\u0963\u0966-\u0e3e\u0e40-\u109f"
PART = rf"{LETTER}(?:{LETTER}|[{SIGN}{INDIC_AND_THAI}])*"
PICTURE = "[\u2190-\u21ff\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001fbff]"
TOKEN = re.compile(
    rf"""
    (?P<url> (?:https?://|www\.)\S*[\w/] | [\w-]{{1,63}}\.(?:com|org)\b(?:/\S*[\w/])? )
  | (?P<user> [\w.+-]{{1,64}}@[\w-]+(?:\.[\w-]+)+ | (?<!\w)@\w+ )  # addresses name people too
  | (?P<emoji> [\U0001f1e6-\U0001f1ff]{{2}} | [0-9]\u20e3
      | \u200d?{PICTURE}[\U000e0020-\U000e007f]*(?:\u200d{PICTURE})* )
  | (?P<smiley> (?<!\d)[:;=]['^-]?(?P<mouth>[()\[\]|/\\*])(?P=mouth)*(?!\w)
      | (?<!\S)[:;=]-?[dpo]\b )
  | (?P<heart> <3+(?!\d) )
  | (?P<short> (?:[a-z]\.){{2,}} | (?:mr|mrs|ms|dr|prof|st|jr|sr|vs|etc)\. )
  | (?P<character> [{CHARACTER}] )
  | (?P<word> (?<!\w)'(?:em|cause|til|bout)\b | {PART}(?:(?:[-'_]|(?<=\d)[.,:/](?=\d)){PART})* )
  | (?P<clitic> '(?:s|m|d|ll|re|ve)\b )  # on its own, as subtitles and speech recognisers write it
  | (?P<dots> \.{{2,}} )
  | (?P<dashes> -{{2,}} )
  | (?P<shout> [!?]+ )
  | (?P<mark> (?P<one>\S)(?P=one)* )
    """,
    re.VERBOSE,
)
# One token for all of a kind; the first two are spelt as in GloVe's own vectors for tweets.
WRITTEN_AS = {"url": "<url>", "user": "<user>", "heart": "<3", "dots": "...", "dashes": "--"}
CLITICS = ("n't", "'s", "'m", "'d", "'ll", "'re", "'ve")
ELONGATED = re.compile(r"([^\W\d_])\1{2,}")
ROMAN = re.compile(r"[xv]*iii")  # the numerals that elongation would spoil
TWO_WORDS = {
    pair.replace(" ", ""): pair.split()
    for pair in ("can not", "gon na", "got ta", "wan na", "gim me", "lem me")
}


def tokenize(text: str) -> list[str]:
    """Lower-cased words and marks, near to what the published system reads; empty for an empty text.

    Yoon et al. 2018 use NLTK's `word_tokenize`, which follows the Penn Treebank: contractions are split
    (do n't, it 's, ca n't, gon na), punctuation stands alone, hyphenated words and numbers (3.88, 10:30)
    stay whole. What differs, so that subtitles, tweets and comments of users read well too:

    - a full stop is cut off every word but initials (u.s.) and a few titles (mr.); NLTK first looks for
      sentences and cuts the last stop of each
    - quotation marks of all kinds are `"` and `'`; NLTK writes two backquotes for an opening one
    - web addresses become `<url>`; @names and mail addresses `<user>`, so that no vocabulary holds them
    - repeated marks are one (!!! is !, ?!?! is ? !), two or more dots are ..., dashes are --
    - letters stand at most twice in a row (sooooo is soo); numbers and roman numerals are left
    - slashes part words, and a dash where a word breaks off (we-); NLTK keeps and/or and we- whole
    - 'em, 'cause, 'til and 'bout stay whole, as GloVe has them
    - smileys such as :) and emoji, with flags and joined ones, are tokens; skin tones are dropped
    - Chinese and Japanese are split into characters; other scripts at spaces and marks
    """
    text = unicodedata.normalize("NFC", INVISIBLE.sub("", text).lower()).translate(SAME_MARKS)
    return [token for match in TOKEN.finditer(text) for token in tokens_of(match)]


def tokens_of(match: re.Match[str]) -> Sequence[str]:
    """The tokens that one match of `TOKEN` stands for."""
    found = match.group()
    match match.lastgroup:
        case "url" | "user" | "heart" | "dots" | "dashes" as kind:
            return (WRITTEN_AS[kind],)
        case "word":
            return split_word(found)
        case "smiley":
            mouth = match["mouth"] or ""
            return (found.rstrip(mouth) + mouth,)
        case "emoji":
            return (found.lstrip("\u200d"),)  # a joiner that lost what it joined
        case "shout":
            return tuple(dict.fromkeys(found))
        case "mark":
            return (match["one"],)
    return (found,)


def split_word(word: str) -> Sequence[str]:
    """A word without elongation, its contractions split off."""
    if not ROMAN.fullmatch(word):
        word = ELONGATED.sub(r"\1\1", word)
    endings: list[str] = []
    while ending := next((end for end in CLITICS if word.endswith(end) and word != end), None):
        word = word.removesuffix(ending)
        endings.append(ending)
    return (*TWO_WORDS.get(word, (word,)), *reversed(endings))
