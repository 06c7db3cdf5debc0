"""The index of a study: one self-contained page with all sessions beside each other, linked."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from multimodal_fer import __version__
from multimodal_fer.errors import MultimodalFerError, OutputError
from multimodal_fer.labels import MODALITIES
from multimodal_fer.study.agreement import FEW, Agreement
from multimodal_fer.study.sessions import Problem, Session
from multimodal_fer.types import Analysis
from multimodal_fer.utils.files import write_text

STRIP = 220  # pixels: how wide a session is drawn, however long it is


class Piece(NamedTuple):
    """One segment in a strip: where it starts and how wide it is, in pixels, and what it expresses."""

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
    """What the page says of one session; `notable` counts segments beyond the participant's calm."""
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
    """A relative address that stays one, whatever a file is called."""
    return "./" + quote(path)


def _pieces(analysis: Analysis) -> list[Piece]:
    scale = STRIP / analysis.duration if analysis.duration else 0.0
    pieces = []
    for segment in analysis.segments:
        left = segment.start * scale
        width = (segment.end - segment.start) * scale if scale else STRIP
        what = segment.emotion or "nothing to judge"
        when = f"{segment.start:.1f}–{segment.end:.1f} s: " if scale else ""
        title = f"{when}{what}{' (unsure)' if segment.unsure else ''}. {segment.text or ''}".strip()
        pieces.append(
            Piece(round(left, 1), round(width, 1), segment.emotion, segment.unsure, title)
        )
    return pieces


def check_pages() -> None:
    """Raise `MultimodalFerError` where what pages are made with is not installed."""
    try:
        import jinja2
        import plotly
    except ImportError as error:
        raise MultimodalFerError(
            f"pages need Jinja and Plotly ({error}); pip install 'multimodal_fer[report]'"
        ) from None
    del jinja2, plotly


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
    """Write the page, whole or not at all; it requests nothing. Raises `OutputError`."""
    from jinja2 import Environment, StrictUndefined

    from multimodal_fer.report.figures import SOURCE_NAMES, STYLES, style_labels

    here = files(__package__ or "") / "templates"
    script, style, template = (
        here.joinpath(f"index.{ending}").read_text("utf-8") for ending in ("js", "css", "html.j2")
    )
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": "{:.0%}".format, "clock": _clock}
    swatches = "".join(f".e{n}{{--c:{s.colour}}}" for n, s in enumerate(STYLES.values()))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.from_string(template).render(
        name=name,
        rows=rows,
        grid=_grid(rows),
        problems=problems,
        agreement=agreement,
        few=FEW,
        labels=labels,
        classes={label: f"e{number}" for label, number in style_labels(labels).items()},
        modalities=MODALITIES,
        names=SOURCE_NAMES,
        more=list(rows[0].session.more) if rows else [],
        tables=tables,
        about=about,
        strip=STRIP,
        version=__version__,
        script=script,
        style=style + swatches,
        policy=f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'",
    )
    try:
        write_text(path, text)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None


def _grid(rows: Sequence[Row]) -> dict[str, Any]:
    """Participants by tasks, each cell with its sessions."""
    participants = list(dict.fromkeys(row.session.participant for row in rows))
    tasks = sorted({row.session.task for row in rows})
    cells: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        cells.setdefault((row.session.participant, row.session.task), []).append(row)
    return {"participants": sorted(participants), "tasks": tasks, "cells": cells}


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
