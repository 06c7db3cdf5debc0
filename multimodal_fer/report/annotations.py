"""Write an answer as annotation files for ELAN (.eaf) and Praat (.TextGrid).

Both have the same tiers: the combined emotion, the emotion of each modality, utterances, words, and the
emotion of each person's face. Labels are plain, so that they can be compared with human codes.
"""

import re
from collections.abc import Iterable
from itertools import pairwise
from mimetypes import guess_type
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

from multimodal_fer.labels import MODALITIES
from multimodal_fer.types import Analysis, FaceTrack, strongest

# Characters that XML does not allow.
UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
SCHEMA_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
EAF_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
# The format requires a date, but the same answer must always give the same file.
UNDATED = "1970-01-01T00:00:00+00:00"
# ELAN writes these into every file; the schema refers to them by name.
CONSTRAINTS = {
    "Time_Subdivision": "Time subdivision of parent annotation's time interval, "
    "no time gaps allowed within this interval",
    "Symbolic_Subdivision": "Symbolic subdivision of a parent annotation. "
    "Annotations refering to the same parent are ordered",
    "Symbolic_Association": "1-1 association with a parent annotation",
    "Included_In": "Time alignable annotations within the parent annotation's time interval, "
    "gaps are allowed",
}


class Interval(NamedTuple):
    """A label with its start and end in milliseconds."""

    start: int
    end: int
    label: str


def tiers(analysis: Analysis) -> dict[str, list[Interval]]:
    """Return the intervals of each tier by its name, in order, without overlaps, within the recording."""
    length = duration_of(analysis)
    segments = analysis.segments
    found = {"emotion": [(s.start, s.end, s.emotion) for s in segments]}
    for name in MODALITIES:
        found[name] = [(s.start, s.end, strongest(s.by_modality.get(name) or {})) for s in segments]
    found["utterances"] = [(s.start, s.end, s.text) for s in segments]
    words = analysis.transcript.words if analysis.transcript else ()
    found["words"] = [(word.start, word.end, word.text) for word in words]
    for track in analysis.faces:
        found[f"person {track.id}"] = _face_spans(track, analysis)
    return {name: _in_order(spans, length) for name, spans in found.items()}


def duration_of(analysis: Analysis) -> int:
    """Return the end of the recording or of its last segment, in milliseconds."""
    ends = [segment.end for segment in analysis.segments]
    return round(1000 * max([analysis.duration, *ends]))


def _face_spans(track: FaceTrack, analysis: Analysis) -> list[tuple[float, float, str | None]]:
    """Return the spans of one face's emotions; each frame lasts until the next one."""
    times = [row.time for row in analysis.frames]
    ends = dict(pairwise([*times, max(analysis.duration, *times, 0.0)]))
    spans: list[tuple[float, float, str | None]] = []
    for time, scores in zip(track.times, track.scores, strict=True):
        label = strongest(scores)
        start, end = time, ends[time]
        if spans and spans[-1][1] == start and spans[-1][2] == label:
            start = spans.pop()[0]
        spans.append((start, end, label))
    return spans


def _in_order(spans: Iterable[tuple[float, float, str | None]], length: int) -> list[Interval]:
    """Return intervals of at least 1 ms without overlaps, as both formats require."""
    intervals: list[Interval] = []
    last_end = 0
    for start, end, label in spans:
        text = UNWRITABLE.sub("", " ".join((label or "").split()))
        first = max(round(1000 * start), last_end)
        last = min(max(round(1000 * end), first + 1), length)
        if text and last > first:
            intervals.append(Interval(first, last, text))
            last_end = last
    return intervals


def to_eaf(analysis: Analysis) -> str:
    """Return an ELAN document (EAF 3.0) that links the recording by its path and beside the document."""
    document = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": f"multimodal_fer, {analysis.bundle}",
            "DATE": UNDATED,
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": SCHEMA_INSTANCE,
            "xsi:noNamespaceSchemaLocation": EAF_SCHEMA,
        },
    )
    layers = tiers(analysis)
    count = sum(map(len, layers.values()))
    _add_header(document, analysis.path, count)
    _add_tiers(document, layers)
    _add(document, "LINGUISTIC_TYPE", LINGUISTIC_TYPE_ID="default-lt", TIME_ALIGNABLE="true")
    for name, meaning in CONSTRAINTS.items():
        _add(document, "CONSTRAINT", STEREOTYPE=name, DESCRIPTION=meaning)
    ElementTree.indent(document, " ")
    text = ElementTree.tostring(document, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _add_header(document: ElementTree.Element, path: str | None, annotations: int) -> None:
    header = _add(document, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if path is not None:
        _add(
            header,
            "MEDIA_DESCRIPTOR",
            MEDIA_URL=Path(path).absolute().as_uri(),
            RELATIVE_MEDIA_URL="./" + quote(Path(path).name),
            MIME_TYPE=guess_type(path)[0] or "unknown",
        )
    _add(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(annotations)


def _add_tiers(document: ElementTree.Element, layers: dict[str, list[Interval]]) -> None:
    times = sorted({time for spans in layers.values() for span in spans for time in span[:2]})
    slots = {time: f"ts{number}" for number, time in enumerate(times, start=1)}
    order = _add(document, "TIME_ORDER")
    for time, slot in slots.items():
        _add(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(time))
    number = 0
    for name, intervals in layers.items():
        tier = _add(document, "TIER", TIER_ID=name, LINGUISTIC_TYPE_REF="default-lt")
        for start, end, label in intervals:
            number += 1
            annotation = _add(
                _add(tier, "ANNOTATION"),
                "ALIGNABLE_ANNOTATION",
                ANNOTATION_ID=f"a{number}",
                TIME_SLOT_REF1=slots[start],
                TIME_SLOT_REF2=slots[end],
            )
            _add(annotation, "ANNOTATION_VALUE").text = label


def _add(parent: ElementTree.Element, name: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(
        parent, name, {key: UNWRITABLE.sub("", value) for key, value in attributes.items()}
    )


def to_textgrid(analysis: Analysis) -> str:
    """Return a Praat TextGrid in long form; every tier covers the whole recording, with empty gaps."""
    length = duration_of(analysis)
    layers = {name: _filled(intervals, length) for name, intervals in tiers(analysis).items()}
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
    lines += [f"xmin = 0\nxmax = {length / 1000}", "tiers? <exists>", f"size = {len(layers)}"]
    lines.append("item []:")
    for number, (name, intervals) in enumerate(layers.items(), start=1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier"']
        lines += [f'        name = "{name}"', f"        xmin = 0\n        xmax = {length / 1000}"]
        lines.append(f"        intervals: size = {len(intervals)}")
        for place, (start, end, label) in enumerate(intervals, start=1):
            quoted = label.replace('"', '""')
            lines += [f"        intervals [{place}]:", f"            xmin = {start / 1000}"]
            lines += [f"            xmax = {end / 1000}", f'            text = "{quoted}"']
    return "\n".join(lines) + "\n"


def _filled(intervals: list[Interval], length: int) -> list[Interval]:
    """Return the intervals with empty ones between them, from zero to the end."""
    filled: list[Interval] = []
    last_end = 0
    for interval in [*intervals, Interval(length, length, "")]:
        if interval.start > last_end:
            filled.append(Interval(last_end, interval.start, ""))
        filled.append(interval)
        last_end = interval.end
    return filled[:-1]
