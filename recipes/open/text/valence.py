"""Fit and measure the valence of texts: EmoBank's ratings, MELD's sentiment, remarks of usability tests.

Valence is a weighted sum of the fine labels' probabilities. The weights are fitted on the training split of
EmoBank (Buechel and Hahn 2017) and on the development half of the remarks, and drawn to what the labels
mean (`MEANING`); MELD, EmoBank's test split and the other half of the remarks are only measured.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray
from scipy.optimize import lsq_linear
from sklearn.metrics import classification_report, f1_score

from multimodal_fer.errors import DataError
from recipes.open.text.corpora import FINE_LABELS, MELD_FILES

REMARKS = Path(__file__).parents[3] / "tests" / "data" / "usability_remarks.csv"
SIGNS = {"positive": 1, "neutral": 0, "negative": -1}
# A valence nearer to zero counts as neutral; chosen on the development remarks.
NEUTRAL_WITHIN = 0.25
MEANING = {
    **dict.fromkeys(("admiration", "gratitude", "joy", "love", "excitement", "pride"), 1.0),
    **dict.fromkeys(("amusement", "approval", "relief", "optimism"), 0.8),
    "caring": 0.5,
    **dict.fromkeys(("anger", "annoyance", "disgust", "grief", "sadness"), -1.0),
    **dict.fromkeys(("disappointment", "disapproval", "fear", "remorse"), -0.9),
    **dict.fromkeys(("embarrassment", "nervousness", "confusion"), -0.7),
    **dict.fromkeys(("curiosity", "desire", "realization", "surprise", "neutral"), 0.0),
}
PULL = 40.0  # weight of `MEANING`, in texts for each label
EMOBANK_SPREAD = 1.6  # a rating one point from 3 counts as this valence; few are further away
REMARK_WEIGHT = 3.0  # of a remark, in EmoBank's sentences

Values = NDArray[numpy.float64]


class Rated(NamedTuple):
    """A text and how pleasant people found it: a rating, or -1, 0 or 1."""

    text: str
    valence: float


def read_emobank(folder: str | Path, part: str) -> list[Rated]:
    """Read sentences with the mean rating of their valence from 1 to 5; `part` is train, dev or test."""
    rows = _rows(Path(folder) / "emobank" / "emobank.csv", ("split", "V", "text"))
    return [Rated(row["text"], float(row["V"])) for row in rows if row["split"] == part]


def read_sentiment(folder: str | Path, part: str = "validation") -> list[Rated]:
    """Read MELD's lines with their sentiment."""
    rows = _rows(Path(folder) / "meld" / MELD_FILES[part], ("Utterance", "Sentiment"))
    return [Rated(row["Utterance"], SIGNS[row["Sentiment"]]) for row in rows]


def read_remarks(split: str, path: str | Path = REMARKS) -> list[Rated]:
    """Read one half of the remarks: `dev` or `test`."""
    rows = _rows(Path(path), ("text", "valence", "split"))
    return [Rated(row["text"], SIGNS[row["valence"]]) for row in rows if row["split"] == split]


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); unpack the corpus again") from None
    if not rows or any(name not in rows[0] for name in columns):
        raise DataError(f"{path}: expected the columns {', '.join(columns)}; take it as published")
    return rows


def fit_valence(
    emobank: Values, ratings: Values, remarks: Values, signs: Values
) -> dict[str, float]:
    """Return the weight of each fine label from -1 to 1, by least squares.

    `emobank` and `remarks` are probabilities of the fine labels, (N, 28) and (M, 28).
    """
    meaning = numpy.array([MEANING[label] for label in FINE_LABELS])
    size = len(FINE_LABELS)
    rows = numpy.concatenate([emobank, remarks * REMARK_WEIGHT**0.5, numpy.eye(size) * PULL**0.5])
    targets = numpy.concatenate(
        [(ratings - 3) * EMOBANK_SPREAD, signs * REMARK_WEIGHT**0.5, meaning * PULL**0.5]
    )
    found = lsq_linear(rows, targets, bounds=(-1, 1)).x
    return {label: round(float(w), 3) for label, w in zip(FINE_LABELS, found, strict=True)}


def sign_of(valence: Values) -> NDArray[numpy.int64]:
    """Return 1, 0 or -1 for each valence."""
    return numpy.sign(valence).astype(int) * (abs(valence) >= NEUTRAL_WITHIN)


def measure_ratings(valence: Values, rated: Sequence[Rated]) -> dict[str, Any]:
    """Return the correlation of valences with ratings."""
    ratings = numpy.array([row.valence for row in rated])
    return {"texts": len(rated), "pearson": float(numpy.corrcoef(valence, ratings)[0, 1])}


def measure_signs(valence: Values, rated: Sequence[Rated]) -> dict[str, Any]:
    """Return how often the sign is right, over all texts and for each sign, and weighted F1."""
    truth = numpy.array([int(row.valence) for row in rated])
    given = sign_of(valence)
    report: Any = classification_report(truth, given, output_dict=True, zero_division=0.0)
    names = {str(sign): name for name, sign in SIGNS.items()}
    return {
        "texts": len(rated),
        "right": float((truth == given).mean()),
        "weighted_f1": float(f1_score(truth, given, average="weighted")),
        "recall": {name: report[sign]["recall"] for sign, name in names.items() if sign in report},
    }
