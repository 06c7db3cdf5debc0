"""Find the moments that are most worth watching, each with a sentence that says why."""

import textwrap
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from itertools import groupby, pairwise

from multimodal_fer.fusion.baseline import FUSED, Baseline
from multimodal_fer.labels import PLEASANT, UNPLEASANT
from multimodal_fer.types import Analysis, Scores, Segment, overall, strongest

MAX_MOMENTS = 5
MIN_SHIFT = 0.35  # probability that moves between two segments before it counts as a change
MAX_PAUSE = 4.0  # seconds between segments that are still compared with each other
UNSURE_WEIGHT = 0.5  # of an unsure segment
MAX_QUOTE = 90  # characters


@dataclass(frozen=True)
class Moment:
    """A stretch worth watching; `first` is the index of its first segment."""

    title: str
    start: float
    end: float
    first: int
    face_id: int | None
    emotion: str
    sentence: str
    strength: float


def find_moments(analysis: Analysis, baseline: Baseline | None = None) -> list[Moment]:
    """Return at most five moments in time order, chosen from each kind in turn, strongest first.

    With a baseline, unpleasant and pleasant stretches are those that exceed it.
    """
    segments = analysis.segments
    kinds: list[list[Moment]] = [
        _stretches(segments, "Unpleasant", UNPLEASANT, baseline),
        _conflicts(segments),
        _changes(segments),
        _stretches(segments, "Pleasant", PLEASANT, baseline),
        _surprises(segments),
    ]
    chosen: list[Moment] = []
    for _ in range(MAX_MOMENTS):
        for kind in kinds:
            new = [moment for moment in kind if not _is_covered(moment, chosen)]
            if new and len(chosen) < MAX_MOMENTS:
                chosen.append(max(new, key=lambda moment: moment.strength))
    return sorted(chosen, key=lambda moment: moment.start)


def clock(seconds: float) -> str:
    """Format a time as 1:05, or 1:02:05 from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _is_covered(moment: Moment, chosen: Sequence[Moment]) -> bool:
    """Return true if a chosen moment has the same first segment, or the same title and overlaps."""
    return any(
        moment.first == other.first
        or (moment.title == other.title and moment.start < other.end and other.start < moment.end)
        for other in chosen
    )


def _changes(segments: Sequence[Segment]) -> list[Moment]:
    moments = []
    for number, (before, after) in enumerate(pairwise(segments), start=1):
        if not before.scores or not after.scores or after.start - before.end > MAX_PAUSE:
            continue
        shift = 0.5 * sum(abs(after.scores[label] - before.scores[label]) for label in after.scores)
        if shift < MIN_SHIFT:
            continue
        sentence = f"{_describe_change(before, after)}{_quote([after])}"
        strength = shift * _weight(before) * _weight(after)
        moments.append(_moment("Change", number, [after], sentence, strength))
    return moments


def _stretches(
    segments: Sequence[Segment], manner: str, labels: set[str], baseline: Baseline | None
) -> list[Moment]:
    """Return runs of segments in which these emotions outweigh all others, or the baseline."""
    # Half-way between the baseline and certainty; without a baseline, one half.
    usual = baseline.rest[FUSED].scores if baseline else None
    level = (1 + _sum(usual or {}, labels)) / 2
    moments = []
    for first, run in _runs(segments, lambda segment: _sum(segment.scores, labels) > level):
        means, total = overall(run), sum(segment.seconds for segment in run)
        mostly = strongest({label: means[label] for label in means if label in labels}) or ""
        sentence = f"Mostly {mostly}{_lasting(run)}, {means[mostly]:.0%} on average{_quote(run)}"
        # The square root and the cap keep a long, weak stretch from hiding a short, strong one.
        excess = (_sum(means, labels) - level) * min(total, 20.0) ** 0.5
        weight = sum(_weight(segment) * segment.seconds for segment in run) / total
        title = f"{manner} stretch"
        moments.append(_moment(title, first, run, sentence, excess * weight, mostly))
    return moments


def _conflicts(segments: Sequence[Segment]) -> list[Moment]:
    moments = []
    for number, segment in enumerate(segments):
        if not segment.conflict:
            continue
        found = {name: segment.valences[name] or 0.0 for name in segment.conflict}
        most, least = max(found, key=found.__getitem__), min(found, key=found.__getitem__)
        pleasant = f"{most} pleasant ({_impression(segment, most, PLEASANT)})"
        unpleasant = f"{least} unpleasant ({_impression(segment, least, UNPLEASANT)})"
        sentence = f"{_capital(pleasant)}, but {unpleasant}{_quote([segment])}"
        strength = min(found[most], -found[least])
        moments.append(_moment("Modalities in conflict", number, [segment], sentence, strength))
    return moments


def _impression(segment: Segment, name: str, labels: Set[str]) -> str:
    """Return the valence of a modality and its main label; of words, the most probable fine label."""
    if name == "text" and segment.fine:
        main = next(iter(segment.fine))
    else:
        scores = segment.by_modality[name] or {}
        main = strongest({label: scores[label] for label in scores if label in labels})
    return f"valence {segment.valences[name]:+.2f}, mostly {main}"


def _surprises(segments: Sequence[Segment]) -> list[Moment]:
    return [
        _moment(
            "Surprise", number, [segment], f"{_capital(_share(segment))}{_quote([segment])}",
            segment.scores["surprise"] * _weight(segment),
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
    """Return unbroken runs of segments that meet a condition, each with its first index."""
    groups = groupby(enumerate(segments), key=lambda numbered: holds(numbered[1]))
    runs = [list(group) for held, group in groups if held]
    return [(run[0][0], [segment for _, segment in run]) for run in runs]


def _sum(scores: Scores, labels: set[str]) -> float:
    return sum(scores.get(label, 0.0) for label in labels)


def _weight(segment: Segment) -> float:
    return UNSURE_WEIGHT if segment.unsure else 1.0


def _share(segment: Segment) -> str:
    return f"{segment.emotion} ({segment.scores[segment.emotion or '']:.0%})"


def _describe_change(before: Segment, after: Segment) -> str:
    if before.emotion != after.emotion:
        return f"From {_share(before)} to {_share(after)}"
    emotion = after.emotion or ""
    old, new = before.scores[emotion], after.scores[emotion]
    verb = "rises" if new > old else "falls"
    return f"{_capital(emotion)} {verb} from {old:.0%} to {new:.0%}"


def _lasting(run: Sequence[Segment]) -> str:
    seconds = run[-1].end - run[0].start
    if seconds < 1:  # a written answer has no duration
        return ""
    return f" for {seconds:.0f} s" if seconds < 90 else f" for {seconds / 60:.0f} min"


def _quote(run: Sequence[Segment]) -> str:
    text = next((segment.text for segment in run if segment.text), None)
    if text:
        return f": “{textwrap.shorten(text, MAX_QUOTE, placeholder=' …')}”"
    if run[0].end == run[0].start:  # a written answer
        return "."
    spoken = any(segment.spoken for segment in run)
    return "; speech without recognised words." if spoken else "; no speech."


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
