"""Emotion recognition from face, voice and text.

    from multimodal_fer import analyze
    print(analyze("clip.mp4").emotion)

The public names are imported on first use, so that importing the package is fast.
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

_MODULES = {
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
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
