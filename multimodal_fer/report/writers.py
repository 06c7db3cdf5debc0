"""Write an answer as JSON, CSV tables, subtitles or annotations; each file whole or not at all."""

import csv
import html
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

FORMULA = (*"=+-@\t\r\n＝＋－＠",)  # first characters of cells that spreadsheet programs calculate


def to_json(analysis: Analysis) -> str:
    """Return the whole answer as JSON in schema 1; NaN cannot occur."""
    return record_json(analysis.to_dict())


def record_json(record: Mapping[str, Any]) -> str:
    """Return the JSON of an answer that is already a dictionary."""
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_json_line(analysis: Analysis) -> str:
    """Return the whole answer on one line, for several answers in one stream (JSON Lines)."""
    return json.dumps(analysis.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"


def segments_csv(analysis: Analysis) -> str:
    """Return a CSV with one row for each segment, in tidy form for pandas or R."""
    rows = ([analysis.path, *row] for row in segment_rows(analysis))
    return csv_text(["path", *segment_columns(analysis.labels)], rows)


def segment_columns(labels: Sequence[str]) -> list[str]:
    """Return the names of the columns of `segment_rows`."""
    columns = ["start", "end", "spoken", "text", "face_id", "emotion", "unsure", "conflict"]
    columns += ["valence", "expressiveness", *(f"valence_{name}" for name in MODALITIES), "fine"]
    columns += [f"score_{label}" for label in labels]
    return columns + [f"{kind}_{name}" for kind in ("attention", "coverage") for name in MODALITIES]


def segment_rows(analysis: Analysis) -> Iterator[list[Any]]:
    """Yield the values of each segment."""
    plain = ("start", "end", "spoken", "text", "face_id", "emotion", "unsure")
    for segment in (segment.to_dict() for segment in analysis.segments):
        yield [
            *(segment[name] for name in plain),
            "+".join(segment["conflict"]),
            segment["valence"],
            segment["expressiveness"],
            *(segment["valences"].get(name) for name in MODALITIES),
            "+".join(segment["fine"]),
            *(segment["scores"].get(label) for label in analysis.labels),
            *(segment["attention"].get(name) for name in MODALITIES),
            *(segment["coverage"].get(name) for name in MODALITIES),
        ]


def frames_csv(analysis: Analysis) -> str:
    """Return a CSV with one row for each face in each frame; a frame without a face has a reason."""
    columns = ["path", "time", "face_id", "left", "top", "right", "bottom", "emotion"]
    columns += [*(f"score_{label}" for label in analysis.face_labels), "reason"]
    return csv_text(columns, _frame_rows(analysis))


def _frame_rows(analysis: Analysis) -> Iterator[list[Any]]:
    answer = analysis.to_dict()
    faces = {
        (track["id"], time): [track["id"], *box, emotion, *scores]
        for track in answer["faces"]
        for time, box, emotion, scores in zip(
            track["times"], track["boxes"], track["emotion"], track["scores"], strict=True
        )
    }
    frames = answer["frames"]
    blank = [None] * (6 + len(analysis.face_labels))
    for time, ids, reason in zip(frames["times"], frames["faces"], frames["reasons"], strict=True):
        if not ids:
            yield [analysis.path, time, *blank, reason]
        for number in ids:
            yield [analysis.path, time, *faces[number, time], None]


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a CSV with a heading line; text that a spreadsheet would calculate begins with a quote."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_harmless, columns))
    writer.writerows(map(_harmless, row) for row in rows)
    return text.getvalue()


def _harmless(cell: Any) -> Any:
    """Return a cell that spreadsheet programs do not calculate: `=HYPERLINK(…)` gets a quote before it."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def to_srt(analysis: Analysis) -> str:
    """Return SubRip subtitles: the emotion in brackets, then the words."""
    cues = [
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{_plain(line)}\n"
        for number, (start, end, line) in enumerate(_cues(analysis), start=1)
    ]
    return "\n".join(cues)


def to_vtt(analysis: Analysis) -> str:
    """Return WebVTT subtitles: the emotion in brackets, then the words."""
    cues = [
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n{html.escape(line, quote=False)}\n"
        for start, end, line in _cues(analysis)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _cues(analysis: Analysis) -> Iterator[tuple[float, float, str]]:
    for segment in analysis.segments:
        tag = f"[{verdict(segment)}]" if segment.emotion else ""
        line = " ".join(f"{tag} {segment.text or ''}".split())  # an empty line would end the cue
        if line:
            yield segment.start, segment.end, line


def _plain(line: str) -> str:
    """Return a line whose brackets are no tags for players; SubRip has no other way to write them."""
    return (
        line.replace("-->", "→")
        .replace("<", "‹")
        .replace(">", "›")
        .replace("{", "(")
        .replace("}", ")")
    )


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"


# Name of a format → file ending → function that returns the file's text.
FORMATS: dict[str, dict[str, Callable[[Analysis], str]]] = {
    "json": {".json": to_json},
    "csv": {".segments.csv": segments_csv, ".frames.csv": frames_csv},
    "srt": {".srt": to_srt},
    "vtt": {".vtt": to_vtt},
    "eaf": {".eaf": to_eaf},
    "textgrid": {".TextGrid": to_textgrid},
}
TIMED = ("srt", "vtt", "eaf", "textgrid")  # need a duration, which a written answer lacks


def write(
    analysis: Analysis, folder: str | os.PathLike[str], stem: str, formats: Sequence[str]
) -> list[Path]:
    """Write one answer in several formats as `folder/stem.*` and return the files.

    Subtitles, ELAN and Praat need a duration, so a written answer gets no file for them.
    Raises `OutputError` if a file cannot be written; files written before stay complete.
    """
    folder = prepare_folder(folder)
    written = []
    for name in formats:
        if name in TIMED and duration_of(analysis) == 0:
            continue
        for ending, render in FORMATS[name].items():
            written.append(folder / f"{stem}{ending}")
            write_output(written[-1], render(analysis))
    return written


def write_output(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; raise `OutputError` if it cannot be written."""
    try:
        write_text(path, text)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None


def name_outputs(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return an output name for each input: its stem, or its whole name if two inputs share a stem.

    Raises `OutputError` if two whole names are equal, because one answer would replace the other.
    """
    stems = [Path(path).stem for path in paths]
    names = [
        stem if stems.count(stem) == 1 else Path(path).name
        for stem, path in zip(stems, paths, strict=True)
    ]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise OutputError(
            f"several inputs are named {', '.join(duplicates)}; write them into different folders"
        )
    return names


def describe_words(segment: Segment) -> str:
    """Return the fine labels and the valence of a segment's words as a short text; empty without any."""
    shown = [f"{name} {score:.0%}" for name, score in segment.fine.items()]
    if segment.text_valence is not None:
        shown.append(f"valence {segment.text_valence:+.2f}")
    return ", ".join(shown)
