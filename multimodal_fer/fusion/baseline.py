"""How one person scores at rest, and how far each window is from that.

A network adds the same to the logits of a face in every picture of it: some faces look sad to it, or stern,
with nothing to be sad about. Softmax turns that into a factor on probabilities, so it is estimated and
taken off in log-odds, where it is a plain sum whatever else the face expresses: here each emotion's log
score less the mean of the others', the centred log-ratio of Aitchison (1986) up to a constant. What is
added to one logit is exactly what this measure grows by.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from multimodal_fer.labels import MODALITIES
from multimodal_fer.types import Analysis, Scores, Segment, strongest

FUSED = "fused"
SOURCES = (FUSED, *MODALITIES)

LOWEST = (
    0.01  # probabilities under this are taken for this: nobody has calibrated the parts so far down
)
MIN_SECONDS = 20.0  # of calm evidence; from less nothing is estimated
MIN_WINDOWS = 5
CORE = 0.5  # share of the candidate seconds that is surely calm: the tightest half
OUTLYING = 2.0  # typical distances from the rest beyond which a window does not belong to it
RESTLESS = 0.75  # log-odds; what varies by more, in a typical emotion, is no calm
STEPS = 50  # at most; the tightest half settles after a few
USUAL = 2.0  # standard deviations of the person's own calm that a change must leave to be notable
LEAST_CHANGE = math.log(2)  # and it must at least double the odds

Array = NDArray[numpy.float64]


@dataclass(frozen=True)
class Rest:
    """How one source, a modality or all together, scores a person at rest.

    `scores` sums to 1 and is None where too little calm evidence was found; `spread` is the standard
    deviation of each emotion's log-odds while at rest; `seconds` and `windows` count the calm evidence;
    `note` is a sentence on where the estimate comes from or why there is none.
    """

    scores: Scores | None
    spread: Scores
    seconds: float
    windows: int
    note: str


@dataclass(frozen=True)
class Baseline:
    """A person's rest as "fused", "face", "voice" and "text" each see it, under one bundle."""

    bundle: str
    recordings: int
    rest: dict[str, Rest]

    @property
    def known(self) -> tuple[str, ...]:
        """The sources with an estimate; a change can be given for these only."""
        return tuple(name for name, rest in self.rest.items() if rest.scores)


@dataclass(frozen=True)
class Change:
    """How far one window is from the person's rest; the scores themselves stay in its `Segment`.

    `log_odds` holds per source the change of each emotion's log-odds, 0 at rest and log 2 where the odds
    doubled; None where the source has no rest, nothing to judge, or another person's face. `notable` names
    the emotions that grew by more than the person's calm varies, strongest first.
    """

    start: float
    end: float
    log_odds: dict[str, Scores | None]
    notable: dict[str, tuple[str, ...]]


class _Calm(NamedTuple):
    """Candidate windows of one source: log-odds (N, K), seconds of evidence (N,)."""

    log_odds: Array
    seconds: Array


def resting(analyses: Sequence[Analysis]) -> Baseline:
    """Estimate one person's rest from one or several recordings of this person.

    Candidates are windows in which nobody speaks and utterances whose words are neutral, of the face that
    is seen most; for the words themselves, all utterances. Of these the rest is where the person stays
    most: the mean of the tightest half of the seconds (least trimmed squares; Rousseeuw 1984), then of all
    that lies near it. It holds while the person is calm in more than half of the candidate seconds. A
    mood that lasts the whole recording cannot be told from a face that looks so at rest: add
    recordings of other days.

    Raises `ValueError` for no recording, and for recordings judged by different bundles.
    """
    bundles = sorted({analysis.bundle for analysis in analyses})
    if len(bundles) != 1:
        raise ValueError(
            f"a rest is estimated from recordings judged by one bundle; got {bundles or 'none'}"
        )
    rest = {name: _estimate(name, analyses) for name in SOURCES}
    return Baseline(bundles[0], len(analyses), rest)


def change(analysis: Analysis, baseline: Baseline) -> tuple[Change, ...]:
    """Each window against the person's rest, in the order of `analysis.segments`; they stay as they are.

    Raises `ValueError` where the recording was judged by another bundle than the baseline.
    """
    if analysis.bundle != baseline.bundle:
        raise ValueError(
            f"the baseline is of bundle {baseline.bundle}, the recording was judged by "
            f"{analysis.bundle}; judge both by one"
        )
    person = main_person(analysis)
    return tuple(_changed(segment, person, baseline) for segment in analysis.segments)


def main_person(analysis: Analysis) -> int | None:
    """The person whose face counted for the most seconds; None where no face did."""
    seconds: dict[int, float] = {}
    for segment in analysis.segments:
        if segment.face_id is not None:
            known = seconds.get(segment.face_id, 0.0)
            seconds[segment.face_id] = known + _seconds(segment, "face")
    return max(seconds, key=seconds.__getitem__) if seconds else None


def log_odds(scores: Scores) -> Array:
    """Each emotion's log score less the mean of the others' (K,); scores are floored at 0.01."""
    logs = numpy.log(numpy.maximum(list(scores.values()), LOWEST))
    return (logs - logs.mean()) * len(logs) / max(len(logs) - 1, 1)


def _estimate(source: str, analyses: Sequence[Analysis]) -> Rest:
    candidates = [
        (scores, _seconds(segment, source))
        for analysis in analyses
        for person in (main_person(analysis),)
        for segment in analysis.segments
        if _may_be_calm(segment, source)
        for scores in (_scores_of(segment, source, person),)
        if scores
    ]
    seconds = sum(weight for _, weight in candidates)
    if seconds < MIN_SECONDS or len(candidates) < MIN_WINDOWS:
        note = (
            f"{seconds:.0f} s in {len(candidates)} windows may be calm; at least {MIN_SECONDS:.0f} s "
            f"in {MIN_WINDOWS} windows are needed"
        )
        return Rest(None, {}, seconds, len(candidates), note)
    labels = tuple(candidates[0][0])
    calm = _Calm(
        numpy.stack([log_odds(scores) for scores, _ in candidates]),
        numpy.array([weight for _, weight in candidates]),
    )
    return _rest(calm, labels)


def _rest(calm: _Calm, labels: Sequence[str]) -> Rest:
    core = _tightest(calm)
    centre, _ = _moments(calm, core)
    distances_N = _distances(calm.log_odds, centre)
    # The tightest half is safe but small: all that lies about as near is calm as well.
    used = core | (distances_N <= OUTLYING * _median(distances_N, calm.seconds))
    centre, spread = _moments(calm, used)
    seconds, total = float(calm.seconds[used].sum()), float(calm.seconds.sum())
    if numpy.sqrt((spread**2).mean()) > RESTLESS:
        note = "no steady rest: even the calmest part of the time is restless"
        return Rest(None, {}, seconds, int(used.sum()), note)
    return Rest(
        scores=dict(zip(labels, _softmax(centre).tolist(), strict=True)),
        spread=dict(zip(labels, spread.tolist(), strict=True)),
        seconds=seconds,
        windows=int(used.sum()),
        note=f"from {seconds:.0f} calm seconds of {total:.0f} that may be calm",
    )


def _tightest(calm: _Calm) -> NDArray[numpy.bool_]:
    """Which windows (N,) make up the half of the seconds that lie closest together."""
    columns = calm.log_odds.T
    centre = numpy.array([_median(column, calm.seconds) for column in columns])
    core = numpy.zeros(len(calm.seconds), bool)
    for _ in range(STEPS):
        order = _distances(calm.log_odds, centre).argsort(kind="stable")
        reached = calm.seconds[order].cumsum()
        needed = int(numpy.searchsorted(reached, CORE * reached[-1])) + 1
        closer = numpy.zeros_like(core)
        closer[order[:needed]] = True
        if (closer == core).all():
            break
        core = closer
        centre, _ = _moments(calm, core)
    return core


def _moments(calm: _Calm, used: NDArray[numpy.bool_]) -> tuple[Array, Array]:
    """Mean and standard deviation of the log-odds (K,) over some windows, each counting by its seconds."""
    rows, weights = calm.log_odds[used], calm.seconds[used]
    mean = numpy.average(rows, axis=0, weights=weights)
    return mean, numpy.sqrt(numpy.average((rows - mean) ** 2, axis=0, weights=weights))


def _distances(rows_NK: Array, centre: Array) -> Array:
    """How far each row is from the centre, as log-odds of a typical emotion (N,)."""
    return numpy.sqrt(((rows_NK - centre) ** 2).mean(axis=1))


def _median(values: Array, weights: Array) -> float:
    order = values.argsort(kind="stable")
    reached = weights[order].cumsum()
    return float(values[order][numpy.searchsorted(reached, reached[-1] / 2)])


def _softmax(centre: Array) -> Array:
    """The scores that have these log-odds."""
    scores = numpy.exp(centre * max(len(centre) - 1, 1) / len(centre))
    return scores / scores.sum()


def _may_be_calm(segment: Segment, source: str) -> bool:
    """Words are the source least coloured by whose they are: where they are not neutral, nobody rests."""
    words = segment.by_modality.get("text")
    return source == "text" or not words or strongest(words) == "neutral"


def _scores_of(segment: Segment, source: str, person: int | None) -> Scores | None:
    """What one source says of this person in a window; a face that is another's says nothing of them."""
    if source in (FUSED, "face") and segment.face_id not in (None, person):
        return None
    return segment.scores if source == FUSED else segment.by_modality.get(source)


def _seconds(segment: Segment, source: str) -> float:
    """Seconds of evidence in a window."""
    return (segment.end - segment.start) * segment.coverage.get(source, 1.0)


def _changed(segment: Segment, person: int | None, baseline: Baseline) -> Change:
    changes: dict[str, Scores | None] = {}
    notable: dict[str, tuple[str, ...]] = {}
    for source, rest in baseline.rest.items():
        scores = _scores_of(segment, source, person)
        if not scores or rest.scores is None:
            changes[source], notable[source] = None, ()
            continue
        grown = (log_odds(scores) - log_odds(rest.scores)).tolist()
        changes[source] = dict(zip(scores, grown, strict=True))
        notable[source] = _notable(changes[source] or {}, rest)
    return Change(segment.start, segment.end, changes, notable)


def _notable(grown: Scores, rest: Rest) -> tuple[str, ...]:
    doubt = math.sqrt(1 + 1 / rest.windows)  # the rest is itself a mean of so many windows
    beyond = [
        label
        for label, value in grown.items()
        if value > max(LEAST_CHANGE, USUAL * doubt * rest.spread[label])
    ]
    return tuple(sorted(beyond, key=grown.__getitem__, reverse=True))
