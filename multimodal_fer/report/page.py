"""Write the report: one HTML page that loads nothing but itself and the recording."""

import base64
import hashlib
import importlib.util
import json
import math
import mimetypes
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from gzip import compress
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from multimodal_fer import __version__
from multimodal_fer.errors import MultimodalFerError, OutputError
from multimodal_fer.fusion.baseline import FUSED, SOURCES, Baseline, Change, change
from multimodal_fer.labels import MODALITIES
from multimodal_fer.media.container import probe
from multimodal_fer.report.figures import (
    SOURCE_NAMES,
    STYLES,
    all_labels,
    page_data,
    people_shown,
    seconds_visible,
    style_labels,
)
from multimodal_fer.report.moments import Moment, clock, find_moments
from multimodal_fer.report.thumbnails import clearest_face, cut_faces
from multimodal_fer.report.writers import describe_words, write_output
from multimodal_fer.types import Analysis, Media, Scores, Segment
from multimodal_fer.utils.files import prepare_folder, printable

EMBED_LIMIT = 64 * 2**20  # bytes of a recording inside the page; browsers fail on much larger ones
TOP_LABELS = 3  # named in a summary
_TEMPLATES = files(__package__ or "") / "templates"


def write_report(
    analysis: Analysis,
    path: str | os.PathLike[str],
    *,
    recording: str | os.PathLike[str] | None = None,
    faces: bool = True,
    baseline: Baseline | None = None,
    embed: bool = False,
) -> Path:
    """Write one HTML page that shows an answer beside its recording, without network access.

    Parameters
    ----------
    analysis : an answer of `analyze` or `analyze_text`
    path : the HTML file to write, whole or not at all
    recording : the recording to play, linked relative to the page; default: `analysis.path`. If that file
        is missing, the page says so and plays nothing
    faces : put small images of faces from the recording into the page
    baseline : the person's baseline from `fusion.baseline.resting`; adds changes beside the scores
    embed : put the recording, 64 MiB at most, into the page instead of linking to it

    Returns
    -------
    Path of the file

    Raises
    ------
    OutputError
        the file cannot be written, or the recording is too large to be embedded
    MediaError
        `recording` is missing or cannot be read
    MultimodalFerError
        Plotly is not installed
    ValueError
        the baseline belongs to another bundle
    """
    plotly, packed = _read_plotly()
    path = Path(path)
    prepare_folder(path.parent)
    media = _find_recording(analysis, recording)
    if path.is_dir() or (media and path.exists() and path.samefile(media.path)):
        raise OutputError(f"{path}: is a folder or the recording itself; name an .html file")
    changes = change(analysis, baseline) if baseline else None
    moments = find_moments(analysis, baseline)
    images = _face_images(analysis, moments, media if faces else None)
    text = render_page(
        _TEMPLATES,
        "report",
        {"clock": clock, "percent": _percent, "factor": _factor},
        scripts=[plotly],
        media="img-src data: blob:; media-src 'self' file: data:",
        analysis=analysis,
        title=Path(analysis.path).name if analysis.path else "Written answer",
        data=_safe_json(page_data(analysis, changes)),
        plotly=packed,
        classes=style_classes(all_labels(analysis)),
        rows=[_row(analysis, number, changes) for number in range(len(analysis.segments))],
        modalities=MODALITIES,
        names=SOURCE_NAMES,
        sources=SOURCES,
        facts=_facts(analysis),
        top_labels=_top_labels,
        player=_player(media, path, embed) if media else None,
        missing=analysis.duration > 0 and media is None,
        moments=list(zip(moments, images, strict=True)),
        baseline=baseline,
    )
    write_output(path, text)
    return path


def check_pages() -> None:
    """Raise `MultimodalFerError` if the libraries for pages are not installed."""
    missing = [name for name in ("jinja2", "plotly") if not _is_installed(name)]
    if missing:
        raise MultimodalFerError(
            f"pages need Jinja and Plotly, but {' and '.join(missing)} cannot be found; "
            "pip install 'multimodal_fer[report]'"
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def render_page(
    templates: Any,
    name: str,
    filters: Mapping[str, Callable[..., str]],
    /,
    *,
    scripts: Sequence[str] = (),
    media: str = "img-src data:",
    **values: Any,
) -> str:
    """Render `name`.html.j2 with its style sheet and script from a folder of templates, and base.css.

    The page may run its own script and `scripts`, known by their hashes, and load the sources in `media`.
    """
    from jinja2 import Environment, StrictUndefined

    script, style, template = (
        templates.joinpath(f"{name}.{ending}").read_text("utf-8")
        for ending in ("js", "css", "html.j2")
    )
    base = (_TEMPLATES / "base.css").read_text("utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= filters
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
        for code in (script, *scripts)
    )
    colours = (f".e{number}{{--c:{look.colour}}}" for number, look in enumerate(STYLES.values()))
    return environment.from_string(template).render(
        version=__version__,
        script=script,
        style=base + style + "".join(colours),
        policy=f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; {media}; "
        "base-uri 'none'; form-action 'none'",
        **values,
    )


def style_classes(labels: Sequence[str]) -> dict[str, str]:
    """Return the CSS class of each label."""
    return {label: f"e{number}" for label, number in style_labels(labels).items()}


def _read_plotly() -> tuple[str, str]:
    """Return Plotly's script, plain and compressed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MultimodalFerError(
            f"reports need Plotly ({error}); pip install 'multimodal_fer[report]'"
        ) from None
    script = get_plotlyjs()
    return script, _packed(script)


@cache  # compression takes most of a second
def _packed(script: str) -> str:
    return base64.b64encode(compress(script.encode(), 9, mtime=0)).decode()


def _find_recording(analysis: Analysis, recording: str | os.PathLike[str] | None) -> Media | None:
    """Return the recording to play; None for a written answer or a missing default recording."""
    if recording is None:
        recording = analysis.path
        if not recording or analysis.duration == 0 or not Path(recording).is_file():
            return None
    return probe(recording)


def _player(media: Media, path: Path, embed: bool) -> dict[str, Any]:
    source = Path(media.path)
    kind = "video" if media.has_video else "audio"
    if not embed:
        return {"kind": kind, "source": _link(source, path.parent), "name": printable(source.name)}
    size = source.stat().st_size
    if size > EMBED_LIMIT:
        raise OutputError(
            f"{source}: {size / 2**20:.0f} MiB are too much to embed in a page "
            f"(at most {EMBED_LIMIT // 2**20} MiB); link to the recording instead"
        )
    mime = mimetypes.guess_type(source.name)[0] or f"{kind}/mp4"
    data = base64.b64encode(source.read_bytes()).decode()
    return {"kind": kind, "source": f"data:{mime};base64,{data}", "name": printable(source.name)}


def _link(source: Path, folder: Path) -> str:
    """Return a relative link, so that page and recording can be moved together."""
    try:
        return "./" + quote(os.fsencode(Path(os.path.relpath(source, folder)).as_posix()))
    except ValueError:  # on another drive
        return source.resolve().as_uri()


def _face_images(
    analysis: Analysis, moments: Sequence[Moment], media: Media | None
) -> list[str | None]:
    if media is None or not media.has_video:
        return [None] * len(moments)
    return cut_faces(media.path, [clearest_face(moment, analysis.faces) for moment in moments])


def _safe_json(data: Any) -> str:
    """Return JSON that cannot close the HTML element that contains it."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _row(analysis: Analysis, number: int, changes: Sequence[Change] | None) -> dict[str, Any]:
    """Return what the transcript shows for one segment."""
    segment = analysis.segments[number]
    delta = changes[number] if changes else None
    log_odds = (delta and delta.log_odds[FUSED]) or {}
    return {
        "segment": segment,
        "conflict": " ≠ ".join(segment.conflict),
        "words": describe_words(segment),
        "changes": [(label, log_odds[label]) for label in (delta.notable[FUSED] if delta else ())],
        "contributions": ", ".join(
            f"{name} {_percent(segment.attention[name])}"
            for name in MODALITIES
            if segment.attention.get(name)
        ),
    }


def _facts(analysis: Analysis) -> dict[str, Any]:
    """Return the counts that the page's summary shows."""
    scored = [segment for segment in analysis.segments if segment.scores]
    emotions = Counter(segment.emotion for segment in scored)
    people = people_shown(analysis)
    return {
        "scored": len(scored),
        "unsure": sum(segment.unsure for segment in scored),
        "conflicts": sum(bool(segment.conflict) for segment in scored),
        "emotions": [label for label, _ in emotions.most_common() if label],
        "contributions": {name: _mean_contribution(scored, name) for name in MODALITIES},
        "people": [(track.id, seconds_visible(track)) for track in people],
        "more_people": len(analysis.faces) - len(people),
    }


def _mean_contribution(scored: Sequence[Segment], name: str) -> float:
    """Return a modality's mean contribution; each segment counts by its length."""
    total = sum(segment.seconds * segment.attention.get(name, 0.0) for segment in scored)
    return total / sum(segment.seconds for segment in scored) if scored else 0.0


def _top_labels(scores: Scores) -> list[tuple[str, float]]:
    return sorted(scores.items(), key=lambda item: item[1], reverse=True)[:TOP_LABELS]


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _factor(log_odds: float) -> str:
    """Format a change of log-odds as a factor on the odds."""
    return f"×{math.exp(log_odds):.1f}"
