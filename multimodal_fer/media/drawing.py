"""Write a copy of a recording with face boxes, emotions and words drawn into its frames."""

import math
import os
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import av
import cv2
import numpy
from av.error import FFmpegError
from av.video.reformatter import Colorspace
from numpy.typing import NDArray

from multimodal_fer.errors import MediaError, OutputError
from multimodal_fer.media.clock import Clock, timed_packets
from multimodal_fer.media.container import decode, file_address, open_media, probe
from multimodal_fer.media.frames import EVERY_FRAME, FRAME_RATE, iter_frames
from multimodal_fer.media.tracks import choose_track
from multimodal_fer.types import Analysis, FaceTrack, Image, Media, strongest, verdict
from multimodal_fer.utils.files import prepare_folder, replacing

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
CLOCK = Fraction(1, 60_000)  # seconds; time base of the written frames, the finest of MPEG-4
SOUND_RATE = 48_000  # Hz, of sound that is encoded again
ENCODERS = (("libx264", {"crf": "20", "preset": "veryfast"}), ("mpeg4", {"qscale": "3"}))
WHITE, BLACK = 255, 0
LETTER_HEIGHT = 1 / 24  # of the frame height
SMALLEST, LARGEST = 12, 64  # letter heights in pixels
SHORT = 1.0  # seconds by which the video may end before the recording without a warning
LINES = 2  # of words shown at a time
WEIGHT = 500  # of the font; 400 is regular
# Scripts that OpenCV's font can draw, as the first word of a letter's Unicode name.
DRAWABLE = {"LATIN", "GREEK", "CYRILLIC", "CJK", "HIRAGANA", "KATAKANA", "HANGUL"}


class Box(NamedTuple):
    """A face at one moment: its corners in pixels and the label above it."""

    corners: tuple[float, ...]
    label: str


class Line(NamedTuple):
    """Words that fit into the frame width, and the time (seconds) of the first one."""

    start: float
    text: str


def write_video(
    analysis: Analysis,
    recording: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    faces: bool = True,
) -> tuple[str, ...]:
    """Draw an analysis into its recording and return warnings, such as words that cannot be drawn.

    Frames keep their times and are written upright, as H.264 or, if that encoder is missing, MPEG-4.
    Sound is copied, or encoded as AAC if the output format cannot hold it. Memory does not grow with
    the length of the recording.

    Parameters
    ----------
    analysis : the analysis of this recording
    recording : a recording with video
    output : the file to write, `.mp4`, `.mov` or `.mkv`
    faces : draw boxes around faces; if False, only emotions and words at the lower edge

    Raises `MediaError` if the recording cannot be opened or has no video, and `OutputError` if the output
    cannot be written or has another extension.
    """
    output = Path(output)
    about = check_video(recording, output)
    prepare_folder(output.parent)
    notes: list[str] = []
    try:
        with replacing(output) as temporary:
            end = _write(Overlay(analysis, faces=faces), recording, output, temporary, notes)
    except (OSError, FFmpegError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{output}: cannot be written ({reason})") from None
    if end < about.duration - SHORT:
        notes.append(f"the video ends at {end:.1f} s, the recording at {about.duration:.1f} s")
    if any(not drawable(segment.text or "") for segment in analysis.segments):
        notes.append("words in a script that cannot be drawn are missing from the video")
    return tuple(dict.fromkeys(notes))


def check_video(recording: str | os.PathLike[str], output: str | os.PathLike[str]) -> Media:
    """Raise, as `write_video` does, if a recording cannot be drawn into or the output has a wrong name."""
    output = Path(output)
    if output.suffix.lower() not in CONTAINERS:
        raise OutputError(f"{output}: expected a name that ends in {', '.join(CONTAINERS)}")
    about = probe(recording)
    if output.exists() and output.samefile(recording):
        raise OutputError(f"{output}: is the recording itself; choose another output file")
    if not about.has_video:
        raise MediaError(f"{recording}: has no video to draw into; give a recording with video")
    return about


def _write(
    overlay: "Overlay", recording: Any, output: Path, temporary: Path, notes: list[str]
) -> float:
    """Write all frames and the sound; return the time of the last frame."""
    container = CONTAINERS[output.suffix.lower()]
    frames = iter_frames(recording, EVERY_FRAME, warn=notes.append)
    first = next(frames, None)
    if first is None:
        raise MediaError(f"{recording}: no video frame can be decoded; copy or export it again")
    # H.264 needs even sizes.
    height, width = (max(2, side // 2 * 2) for side in first.image.shape[:2])
    with av.open(file_address(temporary), "w", format=container) as new:
        video = _video_stream(new, width, height)
        with open_media(recording) as old:
            sound = Sound(recording, old, new, notes)
            stamp = -1
            for time, image in chain([first], frames):
                sound.copy_until(time)
                drawn = overlay.draw(_fitted(image, height, width), time)
                frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
                stamp = max(round(time / CLOCK), stamp + 1)
                frame.pts, frame.time_base = stamp, CLOCK
                new.mux(video.encode(frame))
            new.mux(video.encode())
            sound.copy_until(math.inf)
    return float(stamp * CLOCK)


def _fitted(image: Image, height: int, width: int) -> Image:
    """Return an image of this size: an odd last row and column are cut off, a single one is doubled."""
    missing = [
        max(0, size - side) for size, side in zip((height, width), image.shape, strict=False)
    ]
    if any(missing):
        image = numpy.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="edge")
    return numpy.ascontiguousarray(image[:height, :width])


def _video_stream(container: Any, width: int, height: int) -> Any:
    name, options = next(pair for pair in ENCODERS if pair[0] in av.codecs_available)
    stream = container.add_stream(name, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.time_base = stream.codec_context.time_base = CLOCK
    stream.codec_context.colorspace = Colorspace.SMPTE170M  # how FFmpeg converts RGB
    return stream


class Sound:
    """The sound of a recording, copied or encoded into another container packet by packet."""

    def __init__(self, recording: Any, old: Any, new: Any, notes: list[str]) -> None:
        self.new = new
        self.packets: Iterator[tuple[float, Any]] = iter(())
        if old.streams.audio:
            source = choose_track(recording, old)
            clock = Clock(old)
            if _can_hold(new, source.codec_context.codec.canonical_name):
                self.packets = self._copied(timed_packets(old, source, clock), source)
            else:
                decoded = decode(recording, old, source, notes.append, 0.0, clock)
                self.packets = self._encoded(decoded, source)
        self.waiting = next(self.packets, None)

    def copy_until(self, time: float) -> None:
        """Write the packets up to a time (seconds), so that sound and video are written in step."""
        while self.waiting is not None and self.waiting[0] <= time:
            self.new.mux(self.waiting[1])
            self.waiting = next(self.packets, None)

    def _copied(self, packets: Iterator[Any], source: Any) -> Iterator[tuple[float, Any]]:
        target = self.new.add_stream_from_template(source)
        reached = -math.inf
        for packet in packets:
            if not packet.size or packet.dts is None or packet.dts <= reached:
                continue  # end of the stream, or a repeated timestamp, which containers refuse
            reached = packet.dts
            packet.stream = target
            yield float(packet.dts * source.time_base), packet

    def _encoded(self, decoded: Iterator[Any], source: Any) -> Iterator[tuple[float, Any]]:
        layout = "mono" if source.channels == 1 else "stereo"
        target = self.new.add_stream("aac", rate=SOUND_RATE, layout=layout)
        resampler = av.AudioResampler(target.format.name, layout, SOUND_RATE)
        for frame in decoded:
            for ready in resampler.resample(frame):
                yield from _timed(target.encode(ready))
        for ready in resampler.resample(None):
            yield from _timed(target.encode(ready))
        yield from _timed(target.encode())


def _can_hold(container: Any, codec: str) -> bool:
    """Return True if sound can be copied; many players cannot play PCM in MP4, though it is allowed."""
    pcm_in_mp4 = container.format.name == "mp4" and codec.startswith("pcm")
    return codec in container.supported_codecs and not pcm_in_mp4


def _timed(packets: Sequence[Any]) -> Iterator[tuple[float, Any]]:
    for packet in packets:
        yield float(packet.pts * packet.time_base), packet


class Overlay:
    """The boxes and words of an analysis, drawn into one frame after the other."""

    def __init__(self, analysis: Analysis, *, faces: bool = True) -> None:
        self.segments = analysis.segments
        self.starts = [segment.start for segment in analysis.segments]
        self.words = analysis.transcript.words if analysis.transcript else ()
        self.tracks = analysis.faces if faces else ()
        self.times = [row.time for row in analysis.frames]
        steps = [later - time for time, later in pairwise(self.times)]
        self.hold = median(steps) if steps else 1 / FRAME_RATE  # longest time a box stays, seconds

    def draw(self, image: Image, time: float) -> Image:
        """Draw the results for a time (seconds) into a frame (H, W, 3) and return the same array."""
        height, width = image.shape[:2]
        size = round(min(max(height * LETTER_HEIGHT, SMALLEST), LARGEST))
        for box in self.boxes(time):
            _draw_box(image, box, size)
        index = bisect_right(self.starts, time) - 1
        if index >= 0 and time < self.segments[index].end:
            words = self._lines_at(index, time, width - 2 * size, size)
            lines = [line for line in (verdict(self.segments[index]), *words) if line]
            for number, line in enumerate(reversed(lines)):
                base = height - size // 2 - round(number * 1.35 * size)
                letters = _letters(line, size)
                _blend(image, letters, (width - letters.shape[2]) // 2, base - letters.shape[1])
        return image

    def boxes(self, time: float) -> list[Box]:
        """Return the boxes at a time (seconds), interpolated linearly between two analysed frames.

        After the last frame of a track, or if the next frame lacks the face, a box stays for the median
        distance between analysed frames.
        """
        return [box for track in self.tracks if (box := self._box(track, time))]

    def _box(self, track: FaceTrack, time: float) -> Box | None:
        index = bisect_right(track.times, time) - 1
        if index < 0:
            return None
        corners, since = track.boxes[index], track.times[index]
        if self._continues(track, index):
            share = (time - since) / (track.times[index + 1] - since)
            following = track.boxes[index + 1]
            corners = [a + share * (b - a) for a, b in zip(corners, following, strict=True)]
        elif time - since > self.hold:
            return None
        scores = track.scores[index]
        emotion = strongest(scores)
        name = f"{track.id}: " if len(self.tracks) > 1 else ""
        return Box(tuple(corners), f"{name}{emotion} {scores[emotion]:.0%}" if emotion else name)

    def _continues(self, track: FaceTrack, index: int) -> bool:
        """Return True if the next analysed frame contains the face and is not too far away."""
        if index + 1 >= len(track.times):
            return False
        now, later = track.times[index], track.times[index + 1]
        following = bisect_right(self.times, now)
        adjacent = following < len(self.times) and self.times[following] >= later
        return adjacent and later - now <= 2 * self.hold

    def _lines_at(self, index: int, time: float, width: int, size: int) -> list[str]:
        """Return the page of `LINES` lines that contains the words of a time (seconds)."""
        lines = self._lines(index, width, size)
        current = max(0, bisect_right([line.start for line in lines], time) - 1)
        first = current // LINES * LINES
        return [line.text for line in lines[first : first + LINES]]

    @lru_cache(maxsize=8)  # noqa: B019 - an overlay lives as long as its video
    def _lines(self, index: int, width: int, size: int) -> list[Line]:
        segment = self.segments[index]
        if not segment.text or not drawable(segment.text):
            return []
        spoken = [w for w in self.words if segment.start <= w.start < segment.end]
        words = [Line(word.start, word.text) for word in spoken]
        lines: list[Line] = []
        for word in words or [Line(segment.start, part) for part in segment.text.split()]:
            longer = f"{lines[-1].text} {word.text}" if lines else ""
            if lines and _letters(longer, size).shape[2] <= width:
                lines[-1] = Line(lines[-1].start, longer)
            else:
                lines.append(word)
        return lines


def drawable(text: str) -> bool:
    """Return True if the font can draw all letters of a text, in the right order."""
    return all(
        unicodedata.name(letter, "?").split()[0] in DRAWABLE
        for letter in unicodedata.normalize("NFC", text)
        if letter.isalpha()
    )


def _draw_box(image: Image, box: Box, size: int) -> None:
    left, top, right, bottom = (round(value) for value in box.corners)
    line = max(1, size // 10)
    for width, grey in ((3 * line, BLACK), (line, WHITE)):
        cv2.rectangle(image, (left, top), (right, bottom), (grey,) * 3, width)
    letters = _letters(box.label, round(0.8 * size))
    above = top - letters.shape[1] - line
    _blend(image, letters, left, above if above >= 0 else bottom + line)


@lru_cache(maxsize=1)
def _font() -> cv2.FontFace:
    return cv2.FontFace("sans")  # comes with OpenCV 5


@lru_cache(maxsize=256)
def _letters(text: str, size: int) -> NDArray[numpy.float32]:
    """Return two masks (2, H, W) in 0..1: the letters, and the letters with their outline."""
    text = unicodedata.normalize("NFC", text)
    border = max(2, size // 8)
    advance = cv2.getTextSize((0, 0), text, (0, 0), _font(), size, WEIGHT)[2]
    height = round(1.3 * size) + 2 * border
    mask = numpy.zeros((height, advance + size + 2 * border, 3), numpy.uint8)
    end, _ = cv2.putText(mask, text, (border, border + size), (255,) * 3, _font(), size, WEIGHT)
    letters = mask[:, : end[0] + border, 0]
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * border + 1, 2 * border + 1))
    masks = numpy.stack([letters, cv2.dilate(letters, kernel)])
    return masks.astype(numpy.float32) / numpy.float32(255)


def _blend(image: Image, letters: NDArray[numpy.float32], left: int, top: int) -> None:
    """Draw white letters with a black outline, cut off at the edges of the image."""
    left, top = max(0, min(left, image.shape[1] - letters.shape[2])), max(0, top)
    part = image[top : top + letters.shape[1], left : left + letters.shape[2]]
    inside, outline = (mask[: part.shape[0], : part.shape[1], None] for mask in letters)
    part[:] = part * (1 - outline) + WHITE * inside
