"""Put the page together: the template, its style and script, the numbers, and what may be loaded."""

import base64
import hashlib
import json
import math
import mimetypes
import os
from collections import Counter
from collections.abc import Sequence
from functools import cache
from gzip import compress
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined

from multimodal_fer import __version__
from multimodal_fer.errors import MultimodalFerError, OutputError
from multimodal_fer.fusion.baseline import FUSED, SOURCES, Baseline, Change, change
from multimodal_fer.labels import MODALITIES
from multimodal_fer.media.container import probe
from multimodal_fer.report.figures import (
    MOST_PEOPLE,
    SOURCE_NAMES,
    STYLES,
    all_labels,
    page_data,
    seconds_seen,
    style_labels,
)
from multimodal_fer.report.moments import Moment, clock, find_moments
from multimodal_fer.report.thumbnails import best_sighting, cut_faces
from multimodal_fer.types import Analysis, Media, Scores, Segment
from multimodal_fer.utils.files import prepare_folder, write_text

EMBED_LIMIT = (
    64 * 2**20
)  # bytes of a recording that is put into the page; browsers choke on far more
FEW_LABELS = 3  # of a rest or an overall answer that are named


def write_report(
    analysis: Analysis,
    path: str | os.PathLike[str],
    *,
    recording: str | os.PathLike[str] | None = None,
    faces: bool = True,
    baseline: Baseline | None = None,
    embed: bool = False,
) -> Path:
    """Write one HTML page that shows an answer beside its recording; it requests nothing from a network.

    Parameters
    ----------
    analysis : what `analyze` or `analyze_text` answered
    path : the HTML file to write
    recording : what the page plays, by a link relative to it; default: `analysis.path`. Where that is no
        longer there, the page says so and plays nothing
    faces : whether small pictures of faces are cut from the recording into the page
    baseline : the person's rest, as `fusion.baseline.resting` finds it; changes stand beside the scores
    embed : put the recording, 64 MiB at most, into the page instead of linking to it

    Returns
    -------
    Path of the file, which appears whole or not at all

    Raises
    ------
    OutputError
        the file cannot be written, or the recording is too large to be embedded
    MediaError
        a `recording` that is missing or cannot be read
    MultimodalFerError
        Plotly is not installed
    ValueError
        a baseline of another bundle
    """
    plotly, packed = _read_plotly()
    path = Path(path)
    prepare_folder(path.parent)
    media = _find_recording(analysis, recording)
    if path.is_dir() or (media and path.exists() and path.samefile(media.path)):
        raise OutputError(f"{path}: is a folder or the recording itself; name an .html file")
    changes = change(analysis, baseline) if baseline else None
    moments = find_moments(analysis, baseline)
    text = _render(
        analysis,
        plotly,
        packed,
        player=_player(media, path, embed) if media else None,
        missing=analysis.duration > 0 and media is None,
        moments=list(zip(moments, _pictures(analysis, moments, media, faces), strict=True)),
        changes=changes,
        baseline=baseline,
    )
    try:
        write_text(path, text)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
    return path


def _read_plotly() -> tuple[str, str]:
    """Plotly's script, and the same as it lies in the page."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MultimodalFerError(
            f"reports need Plotly ({error}); pip install 'multimodal_fer[report]'"
        ) from None
    script = get_plotlyjs()
    return script, _packed(script)


@cache
def _packed(script: str) -> str:
    """Once a process: it takes most of a second."""
    return base64.b64encode(compress(script.encode(), 9, mtime=0)).decode()


def _find_recording(analysis: Analysis, recording: str | os.PathLike[str] | None) -> Media | None:
    """What to play: nothing for a written answer, and where a recording was moved since."""
    if recording is not None:
        return probe(recording)
    is_there = analysis.duration > 0 and analysis.path and Path(analysis.path).is_file()
    return probe(analysis.path) if is_there and analysis.path else None


def _player(media: Media, path: Path, embed: bool) -> dict[str, Any]:
    """What the page's media element needs."""
    source = Path(media.path)
    kind = "video" if media.has_video else "audio"
    if not embed:
        return {"kind": kind, "source": _link(source, path.parent), "name": source.name}
    size = source.stat().st_size
    if size > EMBED_LIMIT:
        raise OutputError(
            f"{source}: {size / 2**20:.0f} MiB are too much to put into a page "
            f"(at most {EMBED_LIMIT // 2**20}); link to it instead"
        )
    mime = mimetypes.guess_type(source.name)[0] or f"{kind}/mp4"
    data = base64.b64encode(source.read_bytes()).decode()
    return {"kind": kind, "source": f"data:{mime};base64,{data}", "name": source.name}


def _link(source: Path, folder: Path) -> str:
    """A relative link, so that page and recording can be moved together."""
    try:
        return "./" + quote(Path(os.path.relpath(source, folder)).as_posix())
    except ValueError:  # on another drive
        return source.resolve().as_uri()


def _pictures(
    analysis: Analysis, moments: Sequence[Moment], media: Media | None, faces: bool
) -> list[str | None]:
    if not faces or media is None or not media.has_video:
        return [None] * len(moments)
    sightings = [best_sighting(moment, analysis.faces) for moment in moments]
    return cut_faces(media.path, sightings)


def _render(
    analysis: Analysis,
    plotly: str,
    packed: str,
    *,
    changes: Sequence[Change] | None,
    **parts: Any,
) -> str:
    script, style, template = (
        files(__package__ or "").joinpath("templates", name).read_text("utf-8")
        for name in ("report.js", "report.css", "report.html.j2")
    )
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"clock": clock, "percent": _percent, "factor": _factor}
    return environment.from_string(template).render(
        analysis=analysis,
        title=Path(analysis.path).name if analysis.path else "Written answer",
        version=__version__,
        policy=_policy(script, plotly),
        style=style + _swatches(),
        script=script,
        data=_safe_json(page_data(analysis, changes)),
        plotly=packed,
        classes={label: f"e{n}" for label, n in style_labels(all_labels(analysis)).items()},
        rows=[_row(analysis, number, changes) for number in range(len(analysis.segments))],
        modalities=MODALITIES,
        names=SOURCE_NAMES,
        sources=SOURCES,
        fused=FUSED,
        facts=_facts(analysis),
        leading=_leading,
        **parts,
    )


def _policy(*scripts: str) -> str:
    """What the page may load: its two scripts, known by their hashes, and nothing from a network."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "media-src 'self' file: data:; base-uri 'none'; form-action 'none'"
    )


def _safe_json(data: Any) -> str:
    """JSON that cannot end the element it stands in, whatever it holds."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _swatches() -> str:
    return "".join(f".e{n}{{--c:{style.colour}}}" for n, style in enumerate(STYLES.values()))


def _row(analysis: Analysis, number: int, changes: Sequence[Change] | None) -> dict[str, Any]:
    segment = analysis.segments[number]
    changed = changes[number] if changes else None
    grown = (changed and changed.log_odds[FUSED]) or {}
    return {
        "segment": segment,
        "conflict": " ≠ ".join(SOURCE_NAMES[name].lower() for name in segment.conflict),
        "grown": [(label, grown[label]) for label in (changed.notable[FUSED] if changed else ())],
        "counted": ", ".join(
            f"{SOURCE_NAMES[name].lower()} {_percent(segment.attention[name])}"
            for name in MODALITIES
            if segment.attention.get(name)
        ),
    }


def _facts(analysis: Analysis) -> dict[str, Any]:
    """The counts that say how far to trust the page."""
    judged = [segment for segment in analysis.segments if segment.scores]
    emotions = Counter(segment.emotion for segment in judged)
    people = sorted(analysis.faces, key=seconds_seen, reverse=True)
    return {
        "judged": len(judged),
        "unsure": sum(segment.unsure for segment in judged),
        "conflicts": sum(bool(segment.conflict) for segment in judged),
        "emotions": [label for label, _ in emotions.most_common() if label],
        "counted": {name: _mean_attention(judged, name) for name in MODALITIES},
        "people": [(track.id, seconds_seen(track)) for track in people[:MOST_PEOPLE]],
        "more_people": max(0, len(people) - MOST_PEOPLE),
    }


def _mean_attention(judged: Sequence[Segment], name: str) -> float:
    """How much a modality counted over all, each window by its length."""
    counted = sum(segment.seconds * segment.attention.get(name, 0.0) for segment in judged)
    return counted / sum(segment.seconds for segment in judged) if judged else 0.0


def _leading(scores: Scores) -> list[tuple[str, float]]:
    """The strongest few labels of an answer."""
    return sorted(scores.items(), key=lambda item: item[1], reverse=True)[:FEW_LABELS]


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _factor(log_odds: float) -> str:
    """A change of log-odds as what the odds were multiplied by."""
    return f"×{math.exp(log_odds):.1f}"
