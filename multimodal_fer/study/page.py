"""Write the index of a study: one page with all sessions side by side and links to their reports."""

import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from multimodal_fer.labels import MODALITIES
from multimodal_fer.report.writers import write_output
from multimodal_fer.study.agreement import MIN_SEGMENTS, Agreement
from multimodal_fer.study.sessions import Problem, Session
from multimodal_fer.types import Analysis

STRIP_WIDTH = 220  # pixels of every session, however long it is


class Piece(NamedTuple):
    """One segment in a session's strip; left and width in pixels."""

    left: float
    width: float
    label: str | None
    unsure: bool
    title: str


class Row(NamedTuple):
    """One session as the page shows it; links are relative to the page."""

    session: Session
    duration: float
    emotion: str | None
    score: float
    unsure: bool
    coverage: dict[str, float]
    conflicts: int
    notable: int | None
    warnings: tuple[str, ...]
    pieces: tuple[Piece, ...]
    report: str
    video: str | None


def row_of(
    session: Session, analysis: Analysis, notable: int | None, report: str, video: str | None
) -> Row:
    """Return the row of one session; `notable` counts segments above the participant's baseline."""
    return Row(
        session=session,
        duration=analysis.duration,
        emotion=analysis.emotion,
        score=analysis.scores.get(analysis.emotion or "", 0.0),
        unsure=analysis.unsure,
        coverage=analysis.coverage,
        conflicts=sum(bool(segment.conflict) for segment in analysis.segments),
        notable=notable,
        warnings=analysis.warnings,
        pieces=tuple(_pieces(analysis)),
        report=link(report),
        video=video and link(video),
    )


def link(path: str) -> str:
    """Return a relative address that stays relative whatever the file is called."""
    return "./" + quote(os.fsencode(path))


def _pieces(analysis: Analysis) -> list[Piece]:
    scale = STRIP_WIDTH / analysis.duration if analysis.duration else 0.0
    pieces = []
    for segment in analysis.segments:
        left = round(segment.start * scale, 1)
        width = round((segment.end - segment.start) * scale, 1) if scale else STRIP_WIDTH
        time = f"{segment.start:.1f}–{segment.end:.1f} s: " if scale else ""
        emotion = f"{segment.emotion or 'no score'}{' (unsure)' if segment.unsure else ''}"
        text = segment.text or ""
        if not text and scale:
            text = "Speech without recognised words." if segment.spoken else "No speech."
        title = f"{time}{emotion}. {text}".strip()
        pieces.append(Piece(left, width, segment.emotion, segment.unsure, title))
    return pieces


def write_index(
    path: Path,
    name: str,
    rows: Sequence[Row],
    problems: Sequence[Problem],
    agreement: Sequence[Agreement],
    *,
    labels: Sequence[str],
    tables: Sequence[str],
    about: Mapping[str, Any],
) -> None:
    """Write the page, whole or not at all; it loads nothing. Raises `OutputError`."""
    from multimodal_fer.report.page import render_page, style_classes

    text = render_page(
        files(__package__ or "") / "templates",
        "index",
        {"percent": "{:.0%}".format, "clock": _clock},
        name=name,
        rows=rows,
        grid=_grid(rows),
        problems=problems,
        agreement=agreement,
        min_segments=MIN_SEGMENTS,
        labels=labels,
        classes=style_classes(labels),
        modalities=MODALITIES,
        more=list(rows[0].session.more) if rows else [],
        tables=tables,
        about=about,
        strip=STRIP_WIDTH,
    )
    write_output(path, text)


def _grid(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the sessions of each participant and task."""
    cells: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        cells.setdefault((row.session.participant, row.session.task), []).append(row)
    return {
        "participants": sorted({participant for participant, _ in cells}),
        "tasks": sorted({task for _, task in cells}),
        "cells": cells,
    }


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
