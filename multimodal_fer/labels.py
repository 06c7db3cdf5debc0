"""Label sets and the maps between them.

Labels are matched by name, never by index, because corpora order them differently: the FER2013 table, its
folder release and FER+ use three orders.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

MODALITIES = ("face", "voice", "text")

# In the order of FER+'s columns (Barsoum et al. 2016).
FER_PLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")

# FER+ vote columns: the eight emotions, "unknown" and "not a face".
FER_PLUS_VOTES = (*FER_PLUS, "unknown", "NF")

# In the order of the numbers 0 to 6 in fer2013.csv (Goodfellow et al. 2013).
FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")

# The spelling of FER2013's class folders and label tables.
FER2013_NAMES = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprise": "surprise",
    "neutral": "neutral",
}

# The labels of the default bundle.
OPEN7 = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")

NEUTRAL = "neutral"
PLEASANT = {"happiness"}
UNPLEASANT = {"sadness", "anger", "disgust", "fear", "contempt"}

# Contempt has no counterpart in open7; like disgust, it expresses rejection.
FER_PLUS_TO_OPEN7 = {**{label: label for label in OPEN7}, "contempt": "disgust"}

# Acted speech, as the corpora spell it: RAVDESS (Livingstone and Russo 2018) and nEMO (Christop 2024).
RAVDESS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
NEMO = ("angry", "fearful", "happy", "neutral", "sad", "surprised")

# The codes in CREMA-D's file names (Cao et al. 2014).
CREMA_D = {
    "NEU": "neutral",
    "HAP": "happiness",
    "SAD": "sadness",
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
}

# The codes of IEMOCAP's majority labels (Busso et al. 2008).
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

# The four classes of most publications on IEMOCAP: excitement counts as happiness.
IEMOCAP4 = {
    "ang": "anger",
    "hap": "happiness",
    "exc": "happiness",
    "sad": "sadness",
    "neu": "neutral",
}

# Only RAVDESS separates calm from neutral.
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

# GoEmotions' labels grouped by Ekman's six, as published (Demszky et al. 2020, ekman_mapping.json).
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

# Questions, agreement, wishes and realisations count as neutral in open7. Confusion remains surprise, as
# something was not as expected.
GOEMOTIONS_TO_OPEN7 = GOEMOTIONS_TO_EKMAN | dict.fromkeys(
    ("approval", "curiosity", "desire", "realization"), "neutral"
)

# ISEAR, Stack Overflow posts and MELD. ISEAR's shame and guilt have no counterpart and are left out.
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
    """Map each label of a part to the label of `target` that it counts as.

    Raises `KeyError` for a label without a counterpart.
    """
    mapping = {}
    for label in own:
        counterpart = label if label in target else FER_PLUS_TO_OPEN7.get(label)
        if counterpart not in target:
            raise KeyError(label)
        mapping[label] = counterpart
    return mapping


def fold_scores(
    scores: Mapping[str, float], target: Sequence[str], mapping: Mapping[str, str]
) -> dict[str, float]:
    """Sum scores of one label set into another by name.

    Raises `KeyError` for a label that is missing in `mapping`.
    """
    folded = dict.fromkeys(target, 0.0)
    for label, score in scores.items():
        folded[mapping[label]] += score
    return folded


def strongest(scores: Mapping[str, float]) -> str | None:
    """Return the label with the highest score, the first of equals; None without scores."""
    return max(scores, key=scores.__getitem__) if scores else None


def mean_scores(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of score dictionaries with the same labels."""
    return {label: sum(row[label] for row in rows) / len(rows) for label in rows[0]}


def valence_of(scores: Mapping[str, float] | None) -> float | None:
    """Return the probability of pleasant labels less that of unpleasant ones; None without scores."""
    if not scores:
        return None
    signs = {**dict.fromkeys(PLEASANT, 1), **dict.fromkeys(UNPLEASANT, -1)}
    return sum(signs.get(label, 0) * score for label, score in scores.items())


def rounded(value: Any) -> Any:
    """Round all floats to four decimals, which are the same on every machine; tuples become lists."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return round(float(value), 4) if isinstance(value, float | numpy.floating) else value
