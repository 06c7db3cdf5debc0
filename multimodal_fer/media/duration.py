"""Check the duration that a recording's header states."""

from collections.abc import Callable

from multimodal_fer.errors import MediaError
from multimodal_fer.types import Media

TOLERANCE = 0.5  # seconds by which header and content may differ


def true_duration(media: Media, decoded: float, warn: Callable[[str], None]) -> float:
    """Return the seconds that can be decoded if the header states no duration or a wrong one.

    `decoded` is the time in seconds at which the last decoded sound or frame ends. Raises `MediaError` if
    it is zero.
    """
    if decoded == 0:
        raise MediaError(
            f"{media.path}: its header is readable, but nothing in it can be decoded; "
            "copy or export the recording again"
        )
    if abs(decoded - media.duration) <= TOLERANCE:
        return media.duration
    if decoded < media.duration:
        warn(
            f"the recording ends at {decoded:.1f} s, but its header states {media.duration:.1f} s; "
            "its end may be missing: copy or export the recording again"
        )
    return decoded
