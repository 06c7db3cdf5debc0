"""Check the duration that a recording's header states, and the ends of its sound and its pictures."""

from collections.abc import Callable

from multimodal_fer.errors import MediaError
from multimodal_fer.types import Media
from multimodal_fer.utils.files import printable

TOLERANCE = 0.5  # seconds by which header and content may differ
APART = 2.0  # seconds between the ends of sound and pictures that are reported


def true_duration(
    media: Media, sound: float, pictures: float, warn: Callable[[str], None]
) -> float:
    """Return the seconds that can be decoded if the header states no duration or a wrong one.

    `sound` and `pictures` are the times in seconds at which the last decoded sound and frame end; 0 if there
    are none. Raises `MediaError` if both are zero.
    """
    decoded = max(sound, pictures)
    if decoded == 0:
        raise MediaError(
            f"{printable(media.path)}: its header is readable, but nothing in it can be decoded; "
            "copy or export the recording again"
        )
    if sound and pictures and abs(sound - pictures) > APART:
        first, other = ("pictures", "sound") if pictures < sound else ("sound", "pictures")
        warn(
            f"the {first} end at {min(sound, pictures):.1f} s, the {other} at {decoded:.1f} s; "
            f"after that, only the {other} are analysed".replace("sound end", "sound ends").replace(
                "sound are", "sound is"
            )
        )
    if media.duration > 0 and abs(decoded - media.duration) <= TOLERANCE:
        return media.duration
    if decoded < media.duration:
        warn(
            f"the recording ends at {decoded:.1f} s, but its header states {media.duration:.1f} s; "
            "its end may be missing: copy or export the recording again"
        )
    return decoded
