"""What people express in recorded answers, from the face, the voice and the words together.

    from multimodal_fer import analyze
    print(analyze("clip.mp4").emotion)

The public names are loaded on first use: importing this package is quick and changes nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multimodal_fer.analyzer import Analyzer, analyze, analyze_text
    from multimodal_fer.errors import MultimodalFerError
    from multimodal_fer.hub.loading import load_bundle, load_model
    from multimodal_fer.types import Analysis, Segment

__version__ = "0.1.0"
__all__ = [
    "Analysis",
    "Analyzer",
    "MultimodalFerError",
    "Segment",
    "analyze",
    "analyze_text",
    "load_bundle",
    "load_model",
]

_HOMES = {
    "Analysis": "types",
    "Analyzer": "analyzer",
    "MultimodalFerError": "errors",
    "Segment": "types",
    "analyze": "analyzer",
    "analyze_text": "analyzer",
    "load_bundle": "hub.loading",
    "load_model": "hub.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
