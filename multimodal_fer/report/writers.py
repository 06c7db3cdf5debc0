"""Write an answer as JSON, CSV tables, subtitles or annotations. Every file appears whole or not at all."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from multimodal_fer.errors import OutputError
from multimodal_fer.labels import MODALITIES
from multimodal_fer.report.annotations import duration_of, to_eaf, to_textgrid
from multimodal_fer.types import Analysis, Segment, verdict
from multimodal_fer.utils.files import prepare_folder, write_text


def to_json(analysis: Analysis) -> str:
    """The whole answer in schema 1; NaN can not occur."""
    return record_json(analysis.to_dict())


def record_json(record: Mapping[str, Any]) -> str:
    """The same of an answer that is a record already."""
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_json_line(analysis: Analysis) -> str:
    """The whole answer on one line, for several answers in one stream (JSON Lines)."""
    return json.dumps(analysis.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"


def segments_csv(analysis: Analysis) -> str:
    """A row per utterance or silent window, in tidy form for pandas or R."""
    rows = ([analysis.path, *row] for row in segment_rows(analysis))
    return table(["path", *segment_columns(analysis.labels)], rows)


def segment_columns(labels: Sequence[str]) -> list[str]:
    """Names of the values in each of `segment_rows`."""
    columns = ["start", "end", "spoken", "text", "face_id", "emotion", "unsure", "conflict"]
    columns += [f"score_{label}" for label in labels]
    return columns + [f"{kind}_{name}" for kind in ("attention", "coverage") for name in MODALITIES]


def segment_rows(analysis: Analysis) -> Iterator[list[Any]]:
    """The values of each segment."""
    for segment in (segment.to_dict() for segment in analysis.segments):
        yield [
            *(segment[name] for name in ("start", "end", "spoken", "text", "face_id")),
            *(segment[name] for name in ("emotion", "unsure")),
            "+".join(segment["conflict"]),
            *(segment["scores"].get(label) for label in analysis.labels),
            *(segment["attention"].get(name) for name in MODALITIES),
            *(segment["coverage"].get(name) for name in MODALITIES),
        ]


def frames_csv(analysis: Analysis) -> str:
    """A row per picture looked at and face in it; a picture without a face is a row with a reason."""
    columns = ["path", "time", "face_id", "left", "top", "right", "bottom", "emotion"]
    columns += [*(f"score_{label}" for label in analysis.face_labels), "reason"]
    return table(columns, _frame_rows(analysis))


def _frame_rows(analysis: Analysis) -> Iterator[list[Any]]:
    answer = analysis.to_dict()
    seen = {
        (track["id"], time): [track["id"], *box, emotion, *scores]
        for track in answer["faces"]
        for time, box, emotion, scores in zip(
            track["times"], track["boxes"], track["emotion"], track["scores"], strict=True
        )
    }
    frames = answer["frames"]
    blank = [None] * (6 + len(analysis.face_labels))
    for time, faces, reason in zip(
        frames["times"], frames["faces"], frames["reasons"], strict=True
    ):
        if not faces:
            yield [analysis.path, time, *blank, reason]
        for number in faces:
            yield [analysis.path, time, *seen[number, time], None]


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """CSV text with a heading line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def to_srt(analysis: Analysis) -> str:
    """SubRip subtitles: the emotion in brackets, then the words."""
    cues = [
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{line}\n"
        for number, (start, end, line) in enumerate(_cues(analysis), start=1)
    ]
    return "\n".join(cues)


def to_vtt(analysis: Analysis) -> str:
    """WebVTT subtitles: the emotion in brackets, then the words."""
    cues = [
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n{_escaped(line)}\n"
        for start, end, line in _cues(analysis)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _cues(analysis: Analysis) -> Iterator[tuple[float, float, str]]:
    for segment in analysis.segments:
        if segment.emotion or segment.text:
            line = " ".join(part for part in (_tag(segment), segment.text) if part)
            yield segment.start, segment.end, line


def _tag(segment: Segment) -> str:
    return f"[{verdict(segment)}]" if segment.emotion else ""


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"


def _escaped(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# Name of a format → the files it consists of.
FORMATS: dict[str, dict[str, Callable[[Analysis], str]]] = {
    "json": {".json": to_json},
    "csv": {".segments.csv": segments_csv, ".frames.csv": frames_csv},
    "srt": {".srt": to_srt},
    "vtt": {".vtt": to_vtt},
    "eaf": {".eaf": to_eaf},
    "textgrid": {".TextGrid": to_textgrid},
}
TIMED = ("eaf", "textgrid")  # need a duration, which a written answer has not


def write(
    analysis: Analysis, folder: str | os.PathLike[str], stem: str, formats: Sequence[str]
) -> list[Path]:
    """Write one answer in several formats as `folder/stem.*`; returns the files.

    ELAN and Praat need a duration, so a written answer gets no file for them.
    Raises `OutputError` where the folder cannot be written; earlier files stay complete.
    """
    folder = prepare_folder(folder)
    written = []
    for name in formats:
        if name in TIMED and duration_of(analysis) == 0:
            continue
        for ending, render in FORMATS[name].items():
            path = folder / f"{stem}{ending}"
            try:
                write_text(path, render(analysis))
            except OSError as error:
                raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
            written.append(path)
    return written


def name_outputs(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """A stem for each input: its own, or its whole name where two inputs share a stem.

    Raises `OutputError` where even the whole names are equal: one answer would replace the other.
    """
    stems = [Path(path).stem for path in paths]
    stems = [
        stem if stems.count(stem) == 1 else Path(path).name
        for stem, path in zip(stems, paths, strict=True)
    ]
    doubled = sorted({stem for stem in stems if stems.count(stem) > 1})
    if doubled:
        raise OutputError(
            f"several inputs are named {', '.join(doubled)}; analyse them into different folders"
        )
    return stems
