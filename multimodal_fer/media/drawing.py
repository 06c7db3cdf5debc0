"""A recording with the answer drawn into its pictures: boxes, emotions, words; the sound stays as it is."""

import math
import os
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
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
from multimodal_fer.media import container as media
from multimodal_fer.media import pictures as media_pictures
from multimodal_fer.media.container import probe
from multimodal_fer.media.pictures import EVERY_PICTURE, iter_frames
from multimodal_fer.types import Analysis, FaceTrack, Image, strongest, verdict
from multimodal_fer.utils.files import prepare_folder, replacing

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
CLOCK = Fraction(1, 60_000)  # of the pictures that are written; MPEG-4 knows no finer one
SOUND_RATE = 48_000  # Hz, where sound is encoded again
ENCODERS = (("libx264", {"crf": "20", "preset": "veryfast"}), ("mpeg4", {"qscale": "3"}))
WHITE, BLACK = 255, 0
LETTER_HEIGHT = 1 / 24  # of the picture's height
SMALLEST, LARGEST = 12, 64  # pixels of a letter
SHORT = 1.0  # seconds by which pictures may end before the recording does without a word
LINES = 2  # of words at a time
WEIGHT = 500  # of the letters, 400 is regular
# Scripts that the font in OpenCV draws, by the first word of a letter's Unicode name.
DRAWABLE = {"LATIN", "GREEK", "CYRILLIC", "CJK", "HIRAGANA", "KATAKANA", "HANGUL"}


class Box(NamedTuple):
    """A face at one moment: its corners in pixels, and what stands over it."""

    corners: tuple[float, ...]
    label: str


class Line(NamedTuple):
    """Some words that fit into the picture's width, and the second at which the first is said."""

    start: float
    text: str


def write_video(
    analysis: Analysis,
    recording: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    faces: bool = True,
) -> tuple[str, ...]:
    """Draw an answer into its recording: H.264 (or MPEG-4) pictures, upright, at their own times.

    Sound is copied; it is encoded again, as AAC, only where the container cannot hold it. One picture and
    a few packets of sound are held at a time.

    Parameters
    ----------
    analysis : the answer for this recording
    recording : a recording with a picture
    output : the file to write, `.mp4`, `.mov` or `.mkv`
    faces : draw boxes around faces; without, only emotions and words at the lower edge

    Returns
    -------
    Warnings, such as words in a script that cannot be drawn

    Raises
    ------
    MediaError
        no recording, or one without a picture
    OutputError
        a file that cannot be written, or of a kind that is not known
    """
    output = Path(output)
    if output.suffix.lower() not in CONTAINERS:
        raise OutputError(f"{output}: expected a name that ends in {', '.join(CONTAINERS)}")
    if output.exists() and output.samefile(recording):
        raise OutputError(f"{output}: is the recording itself; choose another name")
    about = probe(recording)
    if not about.has_video:
        raise MediaError(f"{recording}: has no picture that could be annotated")
    prepare_folder(output.parent)
    notes: list[str] = []
    try:
        with replacing(output) as temporary:
            end = _write(Overlay(analysis, faces=faces), recording, output, temporary, notes)
    except (OSError, FFmpegError) as error:
        raise OutputError(
            f"{output}: cannot be written ({getattr(error, 'strerror', None) or error})"
        ) from None
    if end < about.duration - SHORT:
        notes.append(f"the pictures end at {end:.1f} s, the recording at {about.duration:.1f} s")
    if any(not drawable(segment.text or "") for segment in analysis.segments):
        notes.append("words in scripts that cannot be drawn are left out of the video")
    return tuple(dict.fromkeys(notes))


def _write(
    overlay: "Overlay", recording: Any, output: Path, temporary: Path, notes: list[str]
) -> float:
    """Write all pictures and the sound; returns the time of the last picture."""
    container = CONTAINERS[output.suffix.lower()]
    pictures = iter_frames(recording, EVERY_PICTURE, warn=notes.append)
    first = next(pictures, None)
    if first is None:
        raise MediaError(f"{recording}: holds no picture that can be decoded")
    height, width = (side // 2 * 2 for side in first.image.shape[:2])  # H.264 halves the colours
    with av.open(str(temporary), "w", format=container) as new:
        video = _video_stream(new, width, height)
        with Sound(recording, new, notes) as sound:
            reached = -1
            for time, image in (pair for part in ([first], pictures) for pair in part):
                stamp = max(round(time / CLOCK), reached + 1)
                sound.copy_until(time)
                drawn = overlay.draw(numpy.ascontiguousarray(image[:height, :width]), time)
                frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
                frame.pts, frame.time_base, reached = stamp, CLOCK, stamp
                new.mux(video.encode(frame))
            new.mux(video.encode())
            sound.copy_until(math.inf)
    return float(reached * CLOCK)


def _video_stream(container: Any, width: int, height: int) -> Any:
    name, options = next(pair for pair in ENCODERS if pair[0] in av.codecs_available)
    stream = container.add_stream(name, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.time_base = stream.codec_context.time_base = CLOCK
    stream.codec_context.colorspace = Colorspace.SMPTE170M  # what FFmpeg makes of RGB unless told
    return stream


class Sound:
    """The sound of a recording, copied or encoded into another container piece by piece."""

    def __init__(self, recording: Any, new: Any, notes: list[str]) -> None:
        self.opened = media.open_media(recording)
        self.new = new
        old = self.opened.__enter__()
        self.pieces: Iterator[tuple[float, Any]] = iter(())
        if old.streams.audio:
            source = old.streams.audio[0]
            zero = media.clock_zero(old)
            if _can_hold(new, source.codec_context.codec.canonical_name):
                self.pieces = self._copied(old, source, zero)
            else:
                decoded = media.decode(recording, old, source, notes.append)
                self.pieces = self._encoded(decoded, source, zero)
        self.waiting = next(self.pieces, None)

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, *problem: Any) -> None:
        self.opened.__exit__(*problem)

    def copy_until(self, time: float) -> None:
        """Write what starts before a time (seconds): both streams grow together, nothing piles up."""
        while self.waiting is not None and self.waiting[0] <= time:
            self.new.mux(self.waiting[1])
            self.waiting = next(self.pieces, None)

    def _copied(self, old: Any, source: Any, zero: float) -> Iterator[tuple[float, Any]]:
        target = self.new.add_stream_from_template(source)
        shift = round(zero / source.time_base)
        reached = -math.inf
        for packet in old.demux(source):
            if not packet.size or packet.dts is None or packet.dts <= reached:
                continue  # the end of the stream, or a stamp that no container takes twice
            reached = packet.dts
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = target
            yield float(packet.dts * source.time_base), packet

    def _encoded(
        self, decoded: Iterator[Any], source: Any, zero: float
    ) -> Iterator[tuple[float, Any]]:
        layout = "mono" if source.channels == 1 else "stereo"
        target = self.new.add_stream("aac", rate=SOUND_RATE, layout=layout)
        resampler = av.AudioResampler(target.format.name, layout, SOUND_RATE)
        for frame in decoded:
            if frame.pts is not None:
                frame.pts -= round(zero / frame.time_base)
            for ready in resampler.resample(frame):
                yield from _timed(target.encode(ready))
        for ready in resampler.resample(None):
            yield from _timed(target.encode(ready))
        yield from _timed(target.encode())


def _can_hold(container: Any, codec: str) -> bool:
    """Whether sound can be copied; MP4 may hold bare samples by the letter, but players do not know it."""
    bare = container.format.name == "mp4" and codec.startswith("pcm")
    return codec in container.supported_codecs and not bare


def _timed(packets: Sequence[Any]) -> Iterator[tuple[float, Any]]:
    for packet in packets:
        yield float(packet.pts * packet.time_base), packet


class Overlay:
    """What is drawn at each moment of one answer."""

    def __init__(self, analysis: Analysis, *, faces: bool = True) -> None:
        self.segments = analysis.segments
        self.starts = [segment.start for segment in analysis.segments]
        self.words = analysis.transcript.words if analysis.transcript else ()
        self.tracks = analysis.faces if faces else ()
        self.times = [row.time for row in analysis.frames]
        steps = [later - time for time, later in pairwise(self.times)]
        self.hold = (
            median(steps) if steps else 1 / media_pictures.FRAME_RATE
        )  # seconds a box stays at most

    def draw(self, image: Image, time: float) -> Image:
        """Draw into a picture (H, W, 3) what the answer says of its time; returns the same picture."""
        height, width = image.shape[:2]
        size = round(min(max(height * LETTER_HEIGHT, SMALLEST), LARGEST))
        for box in self.boxes(time):
            _draw_box(image, box, size)
        place = bisect_right(self.starts, time) - 1
        if place >= 0 and time < self.segments[place].end:
            segment = self.segments[place]
            lines = [verdict(segment), *self._said(place, time, width - 2 * size, size)]
            for number, line in enumerate(reversed([line for line in lines if line])):
                base = height - size // 2 - round(number * 1.35 * size)
                letters = _letters(line, size)
                _blend(image, letters, (width - letters.shape[2]) // 2, base - letters.shape[1])
        return image

    def boxes(self, time: float) -> list[Box]:
        """The faces at a moment: between two pictures that were looked at they move in a straight line.

        After the last one, and where a face is not found again, a box stays as long as pictures of a
        steady recording are apart, and no longer.
        """
        return [box for track in self.tracks if (box := self._box(track, time))]

    def _box(self, track: FaceTrack, time: float) -> Box | None:
        place = bisect_right(track.times, time) - 1
        if place < 0:
            return None
        corners, since = track.boxes[place], track.times[place]
        if self._followed(track, place):
            later = track.times[place + 1]
            share = (time - since) / (later - since)
            ahead = track.boxes[place + 1]
            corners = [a + share * (b - a) for a, b in zip(corners, ahead, strict=True)]
        elif time - since > self.hold:
            return None
        scores = track.scores[place]
        emotion = strongest(scores)
        name = f"{track.id}: " if len(self.tracks) > 1 else ""
        return Box(tuple(corners), f"{name}{emotion} {scores[emotion]:.0%}" if emotion else name)

    def _followed(self, track: FaceTrack, place: int) -> bool:
        """Whether the face is seen again in the very next picture that was looked at, soon enough."""
        if place + 1 >= len(track.times):
            return False
        later = track.times[place + 1]
        following = bisect_right(self.times, track.times[place])
        adjacent = following < len(self.times) and self.times[following] >= later
        return adjacent and later - track.times[place] <= 2 * self.hold

    def _said(self, place: int, time: float, width: int, size: int) -> list[str]:
        """The words around a moment: as many lines as fit, turned over like pages."""
        lines = self._lines(place, width, size)
        current = max(0, bisect_right([line.start for line in lines], time) - 1)
        first = current // LINES * LINES
        return [line.text for line in lines[first : first + LINES]]

    @lru_cache(maxsize=8)  # noqa: B019 - an overlay lives as long as its video
    def _lines(self, place: int, width: int, size: int) -> list[Line]:
        segment = self.segments[place]
        if not segment.text or not drawable(segment.text):
            return []
        heard = [w for w in self.words if segment.start <= w.start < segment.end]
        words = [Line(w.start, w.text) for w in heard]
        lines: list[Line] = []
        for word in words or [Line(segment.start, part) for part in segment.text.split()]:
            longer = f"{lines[-1].text} {word.text}" if lines else ""
            if lines and _letters(longer, size).shape[2] <= width:
                lines[-1] = Line(lines[-1].start, longer)
            else:
                lines.append(word)
        return lines


def drawable(text: str) -> bool:
    """Whether the font has all letters of a text; those written from right to left it puts in disorder."""
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
    """A text as two masks (2, H, W) in 0..1: its letters, and those with an outline around them."""
    text = unicodedata.normalize("NFC", text)
    border = max(2, size // 8)
    advance = cv2.getTextSize((0, 0), text, (0, 0), _font(), size, WEIGHT)[2]
    height = round(1.3 * size) + 2 * border
    mask = numpy.zeros((height, advance + size + 2 * border, 3), numpy.uint8)
    end, _ = cv2.putText(mask, text, (border, border + size), (255,) * 3, _font(), size, WEIGHT)
    letters = mask[:, : end[0] + border, 0]
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * border + 1, 2 * border + 1))
    return numpy.stack([letters, cv2.dilate(letters, kernel)]).astype(
        numpy.float32
    ) / numpy.float32(255)


def _blend(image: Image, letters: NDArray[numpy.float32], left: int, top: int) -> None:
    """White letters with a black outline, cut off at the picture's edges."""
    left, top = max(0, min(left, image.shape[1] - letters.shape[2])), max(0, top)
    part = image[top : top + letters.shape[1], left : left + letters.shape[2]]
    inside, outline = (mask[: part.shape[0], : part.shape[1], None] for mask in letters)
    part[:] = part * (1 - outline) + WHITE * inside
