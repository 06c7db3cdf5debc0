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

# Contempt has no counterpart in open7; both express rejection of what is seen.
FER_PLUS_TO_OPEN7 = {**{label: label for label in OPEN7}, "contempt": "disgust"}


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
