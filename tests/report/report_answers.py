"""Make answers for the tests of reports, with any number of segments and people."""

from functools import lru_cache
from pathlib import Path

import numpy

from multimodal_fer.labels import FER_PLUS, MODALITIES, OPEN7
from multimodal_fer.types import (
    Analysis,
    FaceTrack,
    FrameRow,
    Scores,
    Segment,
    Transcript,
    strongest,
)

HARMFUL = (
    "<script>alert(1)</script></script><img src=x onerror=alert(2)> & \u2028 'quoted' \"twice\""
)


def scores(labels=OPEN7, **strong: float) -> Scores:
    """Return the named scores; the other labels share the rest."""
    rest = (1 - sum(strong.values())) / (len(labels) - len(strong))
    return {label: strong.get(label, rest) for label in labels}


def segment(start, end, fused, *, words=None, face_id: int | None = 0, unsure=False, **by_modality):
    present = [name for name in MODALITIES if by_modality.get(name)]
    return Segment(
        start=start,
        end=end,
        text=words,
        face_id=face_id,
        emotion=strongest(fused),
        unsure=unsure,
        scores=fused,
        attention={name: (name in present) / max(len(present), 1) for name in MODALITIES},
        coverage={name: float(name in present) for name in MODALITIES},
        by_modality={name: by_modality.get(name) for name in MODALITIES},
    )


def track(number, duration, rate=5.0, emotion="neutral", box=(40.0, 30.0, 120.0, 110.0)):
    times = [n / rate for n in range(int(duration * rate))]
    row = scores(FER_PLUS, **{emotion: 0.7})
    return FaceTrack(number, times, [list(box)] * len(times), [row] * len(times))


def answer(
    segments, *, path: str | Path | None = "clip.mp4", duration=None, faces=(), **more
) -> Analysis:
    duration = max(s.end for s in segments) if duration is None else duration
    visible = {number: track.id for track in faces for number, _ in enumerate(track.times)}
    rows = tuple(FrameRow(n / 5.0, (face,), None) for n, face in visible.items())
    return Analysis(
        path=None if path is None else str(path),
        bundle="open7@0123456789ab",
        labels=OPEN7,
        duration=duration,
        face_labels=FER_PLUS,
        emotion="neutral",
        scores=scores(neutral=0.6),
        coverage={"face": 0.9, "voice": 0.6, "text": 0.5} if duration else {},
        segments=tuple(segments),
        faces=tuple(faces),
        frames=rows,
        transcript=Transcript("en", "tiny.en", ()),
        **more,
    )


def eventful(path: str | Path = "clip.mp4", **more) -> Analysis:
    """Return a minute with a conflict, an angry stretch, a surprise and a change to happiness."""
    calm = scores(neutral=0.8)
    smile, angry = scores(happiness=0.9), scores(anger=0.7)
    return answer(
        [
            segment(0, 6, calm, face=calm, words="First I opened the page."),
            segment(6, 12, calm, face=smile, words=HARMFUL, text=angry),
            segment(12, 18, scores(neutral=0.5), face=smile, voice=calm, words="What a mess."),
            segment(18, 24, angry, face=angry, voice=angry),
            segment(24, 30, angry, face=angry, voice=angry, unsure=True),
            segment(30, 36, scores(surprise=0.7), face=scores(surprise=0.7)),
            segment(36, 40, {}, face_id=None),
            segment(40, 46, calm, face=calm, face_id=1),
            segment(46, 52, smile, face=smile, words="Ah, there it is!"),
            segment(52, 60, scores(neutral=0.6), face=calm, words="Done."),
        ],
        path=path,
        **more,
    )


@lru_cache(maxsize=1)
def long_session(hours: float) -> Analysis:
    """Return segments of four seconds and two people at five frames per second."""
    random = numpy.random.default_rng(0)
    count = round(hours * 900)

    def drawn(rows: int, labels: tuple[str, ...] = OPEN7) -> list[Scores]:
        shares = random.dirichlet(numpy.full(len(labels), 0.5), rows).tolist()
        return [dict(zip(labels, row, strict=True)) for row in shares]

    columns = zip(
        drawn(count), drawn(count, FER_PLUS), drawn(count), drawn(count), strict=True
    )  # fmt: skip
    segments = [
        segment(
            4.0 * n, 4.0 * n + 4, fused, face=face, voice=voice, text=text if n % 3 else None,
            words=f"Sentence number {n} of this session.",
        )
        for n, (fused, face, voice, text) in enumerate(columns)
    ]  # fmt: skip
    people = [track(0, 4.0 * count), track(1, 4.0 * count)]
    for person in people:
        person.scores[:] = drawn(len(person.times), FER_PLUS)
    return answer(segments, faces=people)
