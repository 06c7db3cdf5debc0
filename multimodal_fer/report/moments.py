"""The moments worth watching first, each with a plain sentence on why."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from multimodal_fer.fusion.baseline import FUSED, Baseline
from multimodal_fer.labels import PLEASANT, UNPLEASANT
from multimodal_fer.types import Analysis, Scores, Segment, overall, strongest

MOST = 5
LEAST_SHIFT = 0.35  # of the probability that must move from one window to the next to be told
MAX_GAP = 4.0  # seconds between windows that still follow each other
DOUBTED = 0.5  # an unsure window counts half
QUOTED = 90  # characters of what is said
SEEMS = {"face": "the face looks", "voice": "the voice sounds", "text": "the words read"}


@dataclass(frozen=True)
class Moment:
    """A stretch worth watching; `first` is the number of its first window, `emotion` what to look for."""

    title: str
    start: float
    end: float
    first: int
    face_id: int | None
    emotion: str
    sentence: str
    strength: float


def find_moments(analysis: Analysis, baseline: Baseline | None = None) -> list[Moment]:
    """At most five moments in time order, the strongest of each kind first to be chosen.

    With a baseline, unpleasant and pleasant stretches are those that stand out from the person's rest.
    """
    segments = analysis.segments
    kinds: list[list[Moment]] = [
        _stretches(segments, "Unpleasant", UNPLEASANT, _at_rest(baseline, UNPLEASANT)),
        _conflicts(segments),
        _changes(segments),
        _stretches(segments, "Pleasant", PLEASANT, _at_rest(baseline, PLEASANT)),
        _surprises(segments),
    ]
    chosen: list[Moment] = []
    for _ in range(MOST):
        for kind in kinds:
            fresh = [moment for moment in kind if not _is_told(moment, chosen)]
            if fresh and len(chosen) < MOST:
                chosen.append(max(fresh, key=lambda moment: moment.strength))
    return sorted(chosen, key=lambda moment: moment.start)


def clock(seconds: float) -> str:
    """A time as people write it: 1:05, or 1:02:05 from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _is_told(moment: Moment, chosen: Sequence[Moment]) -> bool:
    """Whether a chosen moment begins in the same window, or is of the same kind and overlaps."""
    return any(
        moment.first == other.first
        or (moment.title == other.title and moment.start < other.end and other.start < moment.end)
        for other in chosen
    )


def _changes(segments: Sequence[Segment]) -> list[Moment]:
    """Where the answer turns from one window to the next."""
    moments = []
    for number, (before, after) in enumerate(pairwise(segments), start=1):
        if not before.scores or not after.scores or after.start - before.end > MAX_GAP:
            continue
        shift = 0.5 * sum(abs(after.scores[label] - before.scores[label]) for label in after.scores)
        if shift < LEAST_SHIFT:
            continue
        sentence = f"{_turn(before, after)}{_quote([after])}"
        trust = _trust(before) * _trust(after)
        moments.append(_moment("Change", number, [after], sentence, shift * trust))
    return moments


def _stretches(
    segments: Sequence[Segment], manner: str, labels: set[str], at_rest: float
) -> list[Moment]:
    """Runs of windows in which emotions of one manner outweigh everything else, or the person's rest."""
    # Half-way between what is there at rest and certainty; without a baseline, one half.
    level = (1 + at_rest) / 2
    moments = []
    for first, run in _runs(segments, lambda segment: _sum(segment.scores, labels) > level):
        means, total = overall(run), sum(segment.seconds for segment in run)
        mostly = strongest({label: means[label] for label in means if label in labels}) or ""
        sentence = f"{_lasting(run)} mostly {mostly}, {means[mostly]:.0%} on average{_quote(run)}"
        # Long and strong both count, but five minutes of slight dismay do not hide a burst of anger.
        excess = (_sum(means, labels) - level) * min(total, 20.0) ** 0.5
        trust = sum(_trust(segment) * segment.seconds for segment in run) / total
        title = f"{manner} stretch"
        moments.append(_moment(title, first, run, sentence, excess * trust, mostly))
    return moments


def _conflicts(segments: Sequence[Segment]) -> list[Moment]:
    """Windows whose modalities contradict each other."""
    moments = []
    for number, segment in enumerate(segments):
        if not segment.conflict:
            continue
        sides = []
        for manner, labels in (("pleasant", PLEASANT), ("unpleasant", UNPLEASANT)):
            shares = {
                name: _sum(scores, labels)
                for name in segment.conflict
                if (scores := segment.by_modality[name])
            }
            name = max(shares, key=shares.__getitem__)
            scores = segment.by_modality[name] or {}
            mostly = strongest({label: scores[label] for label in scores if label in labels})
            sides.append((shares[name], f"{SEEMS[name]} {manner} ({shares[name]:.0%}, {mostly})"))
        sentence = f"{_capital(sides[0][1])} while {sides[1][1]}{_quote([segment])}"
        strength = min(sides[0][0], sides[1][0])
        moments.append(_moment("Modalities in conflict", number, [segment], sentence, strength))
    return moments


def _surprises(segments: Sequence[Segment]) -> list[Moment]:
    """Something was not as expected, pleasant or not."""
    return [
        _moment(
            "Surprise", number, [segment], f"Expresses {_share(segment)}{_quote([segment])}",
            segment.scores["surprise"] * _trust(segment),
        )
        for number, segment in enumerate(segments)
        if segment.emotion == "surprise"
    ]  # fmt: skip


def _moment(
    title: str,
    first: int,
    run: Sequence[Segment],
    sentence: str,
    strength: float,
    emotion: str | None = None,
) -> Moment:
    doubts = sum(segment.unsure for segment in run)
    unsure = f" {'Partly unsure' if doubts < len(run) else 'Unsure'}." if doubts else ""
    return Moment(
        title=title,
        start=run[0].start,
        end=run[-1].end,
        first=first,
        face_id=next((s.face_id for s in run if s.face_id is not None), None),
        emotion=emotion or run[0].emotion or "",
        sentence=sentence + unsure,
        strength=strength,
    )


def _runs(
    segments: Sequence[Segment], holds: Callable[[Segment], bool]
) -> list[tuple[int, list[Segment]]]:
    """Unbroken runs of windows for which something holds, with the number of each one's first."""
    runs: list[tuple[int, list[Segment]]] = []
    for number, segment in enumerate(segments):
        if not holds(segment):
            continue
        if runs and runs[-1][0] + len(runs[-1][1]) == number:
            runs[-1][1].append(segment)
        else:
            runs.append((number, [segment]))
    return runs


def _at_rest(baseline: Baseline | None, labels: set[str]) -> float:
    rest = baseline.rest[FUSED].scores if baseline else None
    return _sum(rest or {}, labels)


def _sum(scores: Scores, labels: set[str]) -> float:
    return sum(scores.get(label, 0.0) for label in labels)


def _trust(segment: Segment) -> float:
    return DOUBTED if segment.unsure else 1.0


def _share(segment: Segment) -> str:
    return f"{segment.emotion} ({segment.scores[segment.emotion or '']:.0%})"


def _turn(before: Segment, after: Segment) -> str:
    if before.emotion != after.emotion:
        return f"Turns from {_share(before)} to {_share(after)}"
    emotion = after.emotion or ""
    grown = after.scores[emotion] > before.scores[emotion]
    return (
        f"{_capital(emotion)} {'rises' if grown else 'falls'} from {before.scores[emotion]:.0%} "
        f"to {after.scores[emotion]:.0%}"
    )


def _lasting(run: Sequence[Segment]) -> str:
    seconds = run[-1].end - run[0].start
    if seconds < 1:  # a written answer has no time
        return "Expresses"
    return f"{clock(seconds)} minutes" if seconds >= 90 else f"{seconds:.0f} seconds of"


def _quote(run: Sequence[Segment]) -> str:
    text = next((segment.text for segment in run if segment.text), None)
    if not text and run[0].end > run[0].start:
        spoken = any(segment.spoken for segment in run)
        return "; speech without recognised words." if spoken else "; no speech."
    if not text:
        return "."
    return f": “{textwrap.shorten(text, QUOTED, placeholder=' …')}”"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
