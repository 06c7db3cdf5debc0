"""Put the packets of a recording on one clock, which starts at zero and continues where stamps restart.

The streams of joined recordings (two MPEG files copied into one) begin again at their first stamps, in each
stream at another packet. All streams are therefore followed together, and share the offset of each part.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import av
from av.format import Flags
from av.stream import Disposition

from multimodal_fer.errors import MediaError
from multimodal_fer.types import Media
from multimodal_fer.utils.files import printable

BACK = 1.0  # seconds; a stamp that is this much earlier than the one before begins a new part
REORDERED = 16  # frames that a codec may send in another order than they are shown
FORWARD = 10.0  # seconds; a jump that begins a new part in formats whose clock may be set anew
FAR = 3600.0  # seconds; the same in other formats, whose gaps are pauses
DELAY = (
    10.0  # seconds; a later first stamp is no delay, but a clock that started before the recording
)
CODING_DELAY = 0.15  # seconds; a start less than this before zero is a coding delay
MOST_WAITING = 5000  # packets kept from one key frame on
KEPT = 8  # parts that a stream may return to after a wrong stamp
TOLERANCE = 0.5  # seconds by which header and content may differ
APART = 2.0  # seconds between the ends of sound and pictures that are reported


def clock_zero(container: Any) -> float:
    """Return the seconds to subtract from all stamps, so that the recording starts at zero.

    MPEG streams start at any stamp. In other formats a start up to `DELAY` is kept, as players do; a later
    or negative one is subtracted.
    """
    start = (container.start_time or 0) / av.time_base
    return start if sets_clock_anew(container) or start > DELAY or start < -CODING_DELAY else 0.0


def sets_clock_anew(container: Any) -> bool:
    """Return true for formats in which the clock may jump: MPEG program and transport streams, and others."""
    return bool(Flags(container.format.flags) & Flags.ts_discont)


def stated_duration(container: Any) -> float:
    """Return the duration in seconds that the container states; 0 if it states none."""
    duration = max(0, container.duration or 0) / av.time_base
    zero = clock_zero(container)
    # MPEG streams state the time since their first stamp, other formats the last stamp.
    return duration if sets_clock_anew(container) or zero >= duration else duration - zero


@dataclass
class Place:
    """Hold the offset of one stream's part, and the second at which its last packet ends."""

    offset: float
    reached: float | None = None


class Clock:
    """The clock of an open container; `note` is called once with a sentence if the stamps restart."""

    def __init__(self, container: Any, note: Callable[[str], None] = lambda _: None) -> None:
        self.offsets = [-clock_zero(container)]
        self.places: dict[int, Place] = {}
        self.end = 0.0  # seconds at which the last packet of any stream ends
        self.note = note
        self.anew = sets_clock_anew(container)
        self.unstamped = 0.0  # seconds at which the frames before the first stamp begin
        self.stated = stated_duration(container)

    def place(self, packet: Any) -> None:
        """Move the stamps of a packet to the recording's clock; packets of all streams have to come here."""
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None or not packet.size:
            return
        raw = float(stamp * packet.time_base)
        place = self.places.setdefault(packet.stream.index, Place(self.offsets[-1]))
        if self._jumps(place, raw, packet.stream):
            place.offset = self._offset_of_part(place, raw)
        shift = round(place.offset / packet.time_base)
        if packet.pts is not None:
            packet.pts += shift
        if packet.dts is not None:
            packet.dts += shift
        end = raw + place.offset + float((packet.duration or 0) * packet.time_base)
        place.reached = end if place.reached is None else max(place.reached, end)
        self.end = max(self.end, end)

    def reached(self, stream: Any) -> float:
        """Return the second at which the last packet of a stream ends."""
        place = self.places.get(stream.index)
        return 0.0 if place is None or place.reached is None else place.reached

    def _jumps(self, place: Place, raw: float, stream: Any) -> bool:
        time = raw + place.offset
        if place.reached is not None:
            back = BACK
            if stream.type == "video":
                back = max(back, REORDERED / (frame_rate_of(stream) or 25))
            if time < place.reached - back:
                return True
        latest = max(self.end, place.reached or 0.0)
        if self.anew:
            return time > latest + FORWARD
        return time > max(latest + (FORWARD if self.stated else FAR), self.stated + FORWARD)

    def _offset_of_part(self, place: Place, raw: float) -> float:
        """Return the offset with which the stream continues; another stream may have found it before."""
        reached = self.end if place.reached is None else place.reached
        for offset in reversed(self.offsets[-KEPT:]):
            if reached - BACK <= raw + offset <= reached + FORWARD:
                return offset
        if self.end > 0:
            self.note(
                f"the time stamps restart at {self.end:.1f} s, as in joined recordings; the parts are "
                "analysed one after the other"
            )
        self.offsets.append(self.end - raw)
        return self.offsets[-1]


def video_stream_of(container: Any) -> Any | None:
    """Return the first video stream; the cover picture of a music file does not count."""
    for stream in container.streams.video:
        if not (stream.disposition & Disposition.attached_pic):
            return stream
    return None


def frame_rate_of(stream: Any) -> float:
    """Return the frames per second that a stream states; 0 for sound and if it states none."""
    video = stream.type == "video"
    return float(stream.guessed_rate or stream.average_rate or 0) if video else 0.0


def timed_packets(
    container: Any, stream: Any, clock: Clock, *, start: float = 0.0
) -> Iterator[Any]:
    """Yield the packets of one stream with stamps on the recording's clock, the last one empty.

    Packets before `start` (seconds) are left out as far as no later one depends on them.
    """
    packets = _placed(container, stream, clock)
    waiting: list[Any] = []  # from the last key frame before `start`
    for packet in packets if start > 0 else ():
        if packet.is_keyframe:
            waiting = []
        waiting.append(packet)
        if not packet.size or clock.reached(stream) > start or len(waiting) > MOST_WAITING:
            break
    yield from waiting
    yield from packets


def _placed(container: Any, stream: Any, clock: Clock) -> Iterator[Any]:
    """Yield the packets of one stream, placed on the clock together with those of the other streams.

    Some containers cannot store a stamp before zero. Packets before the first stamp wait for it, so that it
    is known when they begin.
    """
    others = (video_stream_of(container), *container.streams.audio[:1], stream)
    followed = {each.index: each for each in others if each is not None}
    waiting: list[Any] = []
    stamped = False
    for packet in container.demux(list(followed.values())):
        clock.place(packet)
        if packet.stream.index != stream.index:
            continue
        if not stamped:
            stamped = packet.pts is not None or packet.dts is not None or not packet.size
            waiting.append(packet)
            if not stamped and len(waiting) <= MOST_WAITING:
                stream.codec_context.skip_frame = "DEFAULT"  # frames have to be counted
                continue
            rate = frame_rate_of(stream)
            if packet.pts is not None and len(waiting) > 1 and rate:
                clock.unstamped = float(packet.pts * packet.time_base) - (len(waiting) - 1) / rate
            stamped = True
            yield from waiting
            waiting = []
        else:
            yield packet


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
