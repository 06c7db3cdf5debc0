"""Estimate the scores of a person at rest, and how far each window is from them.

A facial network adds a constant to the logits of a face in every frame: some faces look sad or stern to it
at rest. After softmax that is a factor on the probabilities. It is therefore estimated and removed in
log-odds, in which it is a sum: each emotion's log score less the mean of the others', which is the centred
log-ratio of Aitchison (1986) up to a factor. A constant added to one logit changes this measure by exactly
that constant.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from multimodal_fer.labels import MODALITIES
from multimodal_fer.types import Analysis, Scores, Segment, strongest

FUSED = "fused"
SOURCES = (FUSED, *MODALITIES)

LOWEST = 0.01  # floor of the probabilities: the networks are not calibrated below it
MIN_SECONDS = 20.0  # of candidate windows; less is not enough for an estimate
MIN_WINDOWS = 5
CORE = 0.5  # share of the candidate seconds that is assumed to be calm
OUTLYING = 2.0  # median distances from the centre beyond which a window is not calm
RESTLESS = 0.75  # log-odds; a root mean square spread above it is no rest
MAX_STEPS = 50  # the core settles after a few
USUAL = 2.0  # standard deviations at rest that a notable change must exceed
LEAST_CHANGE = math.log(2)  # a notable change at least doubles the odds

Array = NDArray[numpy.float64]


@dataclass(frozen=True)
class Rest:
    """The scores of a person at rest from one source: a modality, or all fused.

    `scores` sums to 1, and is None if too little calm evidence was found. `spread` is the standard
    deviation of each emotion's log-odds at rest. `seconds` and `windows` count the calm evidence. `note`
    is a sentence on the origin of the estimate or the reason why there is none.
    """

    scores: Scores | None
    spread: Scores
    seconds: float
    windows: int
    note: str


@dataclass(frozen=True)
class Baseline:
    """A person's rest by source ("fused", "face", "voice", "text"), estimated with one bundle."""

    bundle: str
    recordings: int
    rest: dict[str, Rest]

    @property
    def known(self) -> tuple[str, ...]:
        """Return the sources that have an estimate."""
        return tuple(name for name, rest in self.rest.items() if rest.scores)


@dataclass(frozen=True)
class Change:
    """The difference of one window from the person's rest; its scores stay in its `Segment`.

    `log_odds` holds for each source the change of each emotion's log-odds: 0 at rest, log 2 if the odds
    doubled. It is None if the source has no estimate, no scores or another person's face. `notable` names
    the emotions that grew by more than they vary at rest, strongest first.
    """

    start: float
    end: float
    log_odds: dict[str, Scores | None]
    notable: dict[str, tuple[str, ...]]


def resting(analyses: Sequence[Analysis]) -> Baseline:
    """Estimate one person's rest from one or several recordings of this person.

    Candidates are the windows of the most visible person in which nobody speaks or the words are neutral;
    for the source "text", all utterances. The rest is the mean of the half of the candidate seconds that
    lie closest together (least trimmed squares; Rousseeuw 1984), and then of all windows near it. The
    person must be calm in more than half of the candidate seconds. A mood that lasts for the whole
    recording cannot be told from the look of a face at rest: add recordings of other days.

    Raises `ValueError` without a recording, and for recordings analysed with different bundles.
    """
    bundles = sorted({analysis.bundle for analysis in analyses})
    if len(bundles) != 1:
        raise ValueError(
            f"the recordings must be analysed with one bundle, found {bundles or 'no recording'}"
        )
    rest = {name: _estimate(name, analyses) for name in SOURCES}
    return Baseline(bundles[0], len(analyses), rest)


def change(analysis: Analysis, baseline: Baseline) -> tuple[Change, ...]:
    """Return the difference of each window from the person's rest, in the order of `analysis.segments`.

    Raises `ValueError` if the recording and the baseline were analysed with different bundles.
    """
    if analysis.bundle != baseline.bundle:
        raise ValueError(
            f"the baseline was estimated with the bundle {baseline.bundle}, the recording was analysed "
            f"with {analysis.bundle}; analyse both with one bundle"
        )
    person = main_person(analysis)
    return tuple(_changed(segment, person, baseline) for segment in analysis.segments)


def main_person(analysis: Analysis) -> int | None:
    """Return the person whose face was analysed for the most seconds; None without a face."""
    seconds: dict[int, float] = {}
    for segment in analysis.segments:
        if segment.face_id is not None:
            before = seconds.get(segment.face_id, 0.0)
            seconds[segment.face_id] = before + _seconds(segment, "face")
    return max(seconds, key=seconds.__getitem__) if seconds else None


def log_odds(scores: Scores) -> Array:
    """Return each emotion's log score less the mean of the others' (K,); scores are at least 0.01."""
    logs = numpy.log(numpy.maximum(list(scores.values()), LOWEST))
    return (logs - logs.mean()) * len(logs) / max(len(logs) - 1, 1)


def _estimate(source: str, analyses: Sequence[Analysis]) -> Rest:
    candidates: list[tuple[Scores, float]] = []
    for analysis in analyses:
        person = main_person(analysis)
        for segment in analysis.segments:
            scores = _scores_of(segment, source, person)
            if scores and _may_be_calm(segment, source):
                candidates.append((scores, _seconds(segment, source)))
    seconds = sum(weight for _, weight in candidates)
    if seconds < MIN_SECONDS or len(candidates) < MIN_WINDOWS:
        note = (
            f"too little calm evidence: {seconds:.0f} s in {len(candidates)} windows; at least "
            f"{MIN_SECONDS:.0f} s in {MIN_WINDOWS} windows are needed"
        )
        return Rest(None, {}, seconds, len(candidates), note)
    rows_NK = numpy.stack([log_odds(scores) for scores, _ in candidates])
    seconds_N = numpy.array([weight for _, weight in candidates])
    return _rest(rows_NK, seconds_N, tuple(candidates[0][0]))


def _rest(rows_NK: Array, seconds_N: Array, labels: Sequence[str]) -> Rest:
    core = _tightest(rows_NK, seconds_N)
    centre, _ = _moments(rows_NK, seconds_N, core)
    distances_N = _distances(rows_NK, centre)
    # Windows about as near as the core are calm too, and make the estimate steadier.
    used = core | (distances_N <= OUTLYING * _median(distances_N, seconds_N))
    centre, spread = _moments(rows_NK, seconds_N, used)
    seconds, total = float(seconds_N[used].sum()), float(seconds_N.sum())
    if numpy.sqrt((spread**2).mean()) > RESTLESS:
        note = "no rest found: the scores vary too much even in the calmest part of the time"
        return Rest(None, {}, seconds, int(used.sum()), note)
    return Rest(
        scores=dict(zip(labels, _softmax(centre).tolist(), strict=True)),
        spread=dict(zip(labels, spread.tolist(), strict=True)),
        seconds=seconds,
        windows=int(used.sum()),
        note=f"estimated from {seconds:.0f} calm seconds of {total:.0f} candidate seconds",
    )


def _tightest(rows_NK: Array, seconds_N: Array) -> NDArray[numpy.bool_]:
    """Mark the windows (N,) that make up the half of the seconds closest together."""
    centre = numpy.array([_median(column, seconds_N) for column in rows_NK.T])
    core = numpy.zeros(len(seconds_N), bool)
    for _ in range(MAX_STEPS):
        order = _distances(rows_NK, centre).argsort(kind="stable")
        reached = seconds_N[order].cumsum()
        needed = int(numpy.searchsorted(reached, CORE * reached[-1])) + 1
        closer = numpy.zeros_like(core)
        closer[order[:needed]] = True
        if (closer == core).all():
            break
        core = closer
        centre, _ = _moments(rows_NK, seconds_N, core)
    return core


def _moments(rows_NK: Array, seconds_N: Array, used: NDArray[numpy.bool_]) -> tuple[Array, Array]:
    """Return mean and standard deviation of the log-odds (K,) of the used windows, weighted by seconds."""
    rows, weights = rows_NK[used], seconds_N[used]
    mean = numpy.average(rows, axis=0, weights=weights)
    return mean, numpy.sqrt(numpy.average((rows - mean) ** 2, axis=0, weights=weights))


def _distances(rows_NK: Array, centre: Array) -> Array:
    """Return the root mean square distance of each row from the centre in log-odds (N,)."""
    return numpy.sqrt(((rows_NK - centre) ** 2).mean(axis=1))


def _median(values: Array, weights: Array) -> float:
    order = values.argsort(kind="stable")
    reached = weights[order].cumsum()
    return float(values[order][numpy.searchsorted(reached, reached[-1] / 2)])


def _softmax(centre: Array) -> Array:
    """Return the scores that have these log-odds."""
    scores = numpy.exp(centre * max(len(centre) - 1, 1) / len(centre))
    return scores / scores.sum()


def _may_be_calm(segment: Segment, source: str) -> bool:
    words = segment.by_modality.get("text")  # they depend least on the person
    return source == "text" or not words or strongest(words) == "neutral"


def _scores_of(segment: Segment, source: str, person: int | None) -> Scores | None:
    """Return the scores of one source, or None if they come from another person's face."""
    if source in (FUSED, "face") and segment.face_id not in (None, person):
        return None
    return segment.scores if source == FUSED else segment.by_modality.get(source)


def _seconds(segment: Segment, source: str) -> float:
    return (segment.end - segment.start) * segment.coverage.get(source, 1.0)


def _changed(segment: Segment, person: int | None, baseline: Baseline) -> Change:
    changes: dict[str, Scores | None] = dict.fromkeys(baseline.rest)
    notable: dict[str, tuple[str, ...]] = dict.fromkeys(baseline.rest, ())
    for source, rest in baseline.rest.items():
        scores = _scores_of(segment, source, person)
        if scores and rest.scores:
            grown = log_odds(scores) - log_odds(rest.scores)
            changed = dict(zip(scores, grown.tolist(), strict=True))
            changes[source], notable[source] = changed, _notable(changed, rest)
    return Change(segment.start, segment.end, changes, notable)


def _notable(grown: Scores, rest: Rest) -> tuple[str, ...]:
    doubt = math.sqrt(1 + 1 / rest.windows)  # the rest is a mean of so many windows
    beyond = [
        label
        for label, value in grown.items()
        if value > max(LEAST_CHANGE, USUAL * doubt * rest.spread[label])
    ]
    return tuple(sorted(beyond, key=grown.__getitem__, reverse=True))
