"""Label sets and the maps between them: the only place where label strings live.

The corpora disagree on the order of their labels (the FER2013 table, its folder release and FER+ use
three different ones), so everything in this package matches labels by name, never by index.
"""

from collections.abc import Mapping, Sequence

MODALITIES = ("face", "voice", "text")

# FER+ column order (Barsoum et al. 2016). "contempt" is kept in a face's own scores.
FER_PLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")

# FER+ vote columns: the eight emotions, then two ways of not answering ("not a face").
FER_PLUS_VOTES = (*FER_PLUS, "unknown", "NF")

# FER2013's own label, in the order of the numbers 0 to 6 in fer2013.csv (Goodfellow et al. 2013).
FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")

# How FER2013's releases spell these labels: the class folders and the label tables.
FER2013_NAMES = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprise": "surprise",
    "neutral": "neutral",
}

# What the default bundle answers with, whichever modalities it could judge.
OPEN7 = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")

PLEASANT = {"happiness"}
UNPLEASANT = {"sadness", "anger", "disgust", "fear", "contempt"}

# Contempt has no counterpart in open7; both express rejection of what is seen.
FER_PLUS_TO_OPEN7 = {**{label: label for label in OPEN7}, "contempt": "disgust"}

# Acted speech: RAVDESS (Livingstone and Russo 2018) and nEMO (Christop 2024), as their tables spell them.
RAVDESS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
NEMO = ("angry", "fearful", "happy", "neutral", "sad", "surprised")

# CREMA-D's file names (Cao et al. 2014).
CREMA_D = {
    "NEU": "neutral",
    "HAP": "happiness",
    "SAD": "sadness",
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
}

# IEMOCAP's summaries (Busso et al. 2008): what most of the outside raters agreed on, by its code.
IEMOCAP_CODES = {
    "ang": "anger",
    "hap": "happiness",
    "exc": "excitement",
    "sad": "sadness",
    "neu": "neutral",
    "fru": "frustration",
    "fea": "fear",
    "sur": "surprise",
    "dis": "disgust",
    "oth": "other",
    "xxx": "no majority",
}

# The four classes of nearly every published figure on it: excitement counts as happiness.
IEMOCAP4 = {
    "ang": "anger",
    "hap": "happiness",
    "exc": "happiness",
    "sad": "sadness",
    "neu": "neutral",
}

# Calm is neutral with a low voice: RAVDESS alone tells the two apart.
SPEECH_TO_OPEN7 = {
    "neutral": "neutral",
    "calm": "neutral",
    "happy": "happiness",
    "sad": "sadness",
    "angry": "anger",
    "fearful": "fear",
    "disgust": "disgust",
    "surprised": "surprise",
}

# GoEmotions' own labels by Ekman's six, as published (Demszky et al. 2020, ekman_mapping.json).
GOEMOTIONS_TO_EKMAN = {
    **dict.fromkeys(("anger", "annoyance", "disapproval"), "anger"),
    "disgust": "disgust",
    **dict.fromkeys(("fear", "nervousness"), "fear"),
    **dict.fromkeys(
        ("joy", "amusement", "approval", "excitement", "gratitude", "love", "optimism", "relief"),
        "happiness",
    ),
    **dict.fromkeys(("pride", "admiration", "desire", "caring"), "happiness"),
    **dict.fromkeys(("sadness", "disappointment", "embarrassment", "grief", "remorse"), "sadness"),
    **dict.fromkeys(("surprise", "realization", "confusion", "curiosity"), "surprise"),
    "neutral": "neutral",
}

# What they count as in open7: a question is no surprise, and to agree, to wish or to notice is no joy or
# surprise yet. Confusion stays with surprise: something was not as expected.
GOEMOTIONS_TO_OPEN7 = GOEMOTIONS_TO_EKMAN | dict.fromkeys(
    ("approval", "curiosity", "desire", "realization"), "neutral"
)

# ISEAR, Stack Overflow posts and MELD. Shame and guilt (ISEAR) have no counterpart, so such texts are left
# out.
TEXT_TO_OPEN7 = {
    "neutral": "neutral",
    "joy": "happiness",
    "love": "happiness",
    "surprise": "surprise",
    "sadness": "sadness",
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
}


def map_labels(own: Sequence[str], target: Sequence[str]) -> dict[str, str]:
    """Map each of a part's labels to the label of the answer that it counts as.

    Raises `KeyError` for a label that the answer has no place for.
    """
    mapping = {}
    for label in own:
        counts_as = label if label in target else FER_PLUS_TO_OPEN7.get(label)
        if counts_as not in target:
            raise KeyError(label)
        mapping[label] = counts_as
    return mapping


def fold_scores(
    scores: Mapping[str, float], target: Sequence[str], mapping: Mapping[str, str]
) -> dict[str, float]:
    """Sum scores of one label set into another by name.

    Raises `KeyError` for a label without a place in `mapping`: a probability never disappears.
    """
    folded = dict.fromkeys(target, 0.0)
    for label, score in scores.items():
        folded[mapping[label]] += score
    return folded
