"""The videos of the artificial corpus: two drawn faces side by side, as from two cameras.

The faces are shaded so that face detectors find them. Mood bends mouth and brows and narrows the eyes; skin,
hair, clothes, wall and size depend on the actor. The left actor wears white markers.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy
from iemocap_plan import TICKS, Dialog, Turn
from iemocap_voices import order_of
from numpy.typing import NDArray

FRAME_RATE = Fraction(30_000, 1001)
WIDTH, HEIGHT = 720, 480
HALF_WIDTH, HALF_HEIGHT = 360, 240
BAR = 120  # pixels of black above and below
REDRAWN = 5  # frames between two drawings
QUALITY = 5  # the codec's quantiser; smaller is better
LEFT_CAST = (1.0, 0.95, 0.8)  # colour cast of the left camera
MOOD_STEPS = 3  # drawn steps between flat and an average smile
MOOD_LIMIT = 4  # steps to either side
OPENINGS = 3  # drawn steps of the mouth

SCALE = 2  # drawn larger, then made small: smooth lines
SHIFT = 4  # bits of a pixel's fraction in OpenCV's drawing functions
MARKERS = (
    (0, -0.5), (-0.4, -0.5), (0.4, -0.5), (-0.7, -0.1), (0.7, -0.1), (-0.6, 0.1), (0.6, 0.1),
    (0, 0.0), (-0.4, 0.3), (0.4, 0.3), (-0.65, 0.4), (0.65, 0.4), (-0.5, 0.62), (0.5, 0.62),
    (-0.3, 0.8), (0.3, 0.8), (0, 0.87),
)  # fmt: skip

Color = tuple[float, ...]
Picture = NDArray[numpy.uint8]
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Look:
    """The appearance of an actor; colours are RGB."""

    skin: Color
    hair: Color
    shirt: Color
    wall: Color
    size: float
    long_hair: bool


@dataclass(frozen=True)
class Expression:
    """The expression of a face in discrete steps."""

    mood: int = 0  # -MOOD_LIMIT to MOOD_LIMIT
    opening: int = 0
    blink: bool = False


@lru_cache(maxsize=16)
def look_of(session: int, speaker: str) -> Look:
    """Return the appearance of an actor, the same in every dialog and for every seed."""
    random = numpy.random.default_rng([7, session, ord(speaker)])
    tone = random.uniform(0.5, 1.08)
    hair = random.choice([(25, 20, 18), (60, 42, 30), (150, 110, 60), (95, 55, 35)])
    return Look(
        skin=(215 * tone, (168 + 6 * random.random()) * tone, 140 * tone),
        hair=tuple(float(value) for value in hair),
        shirt=tuple(random.uniform(40, 130, 3).tolist()),
        wall=tuple((random.uniform(95, 150) + random.uniform(-8, 8, 3)).tolist()),
        size=random.uniform(0.9, 1.12) * (0.96 if speaker == "F" else 1.04),
        long_hair=speaker == "F",
    )


@lru_cache(maxsize=160)
def draw_actor(look: Look, expression: Expression, markers: bool) -> Picture:
    """Draw one camera's picture [shape=(240, 360, 3)]."""
    painter = Painter(look)
    painter.body()
    painter.head()
    for side in (-1, 1):
        painter.eye(side, expression)
    painter.mouth(expression)
    if markers:
        for point in MARKERS:
            painter.dot(point, 0.03, (245.0, 245.0, 245.0))
    return painter.finish()


class Painter:
    """Draws one face; positions are (x, y) from its centre, in half widths and half heights."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self.middle = numpy.array([HALF_WIDTH / 2, HALF_HEIGHT / 2]) * SCALE
        self.radius = numpy.array([38.0, 50.0]) * SCALE * look.size
        self.image = numpy.empty((HALF_HEIGHT * SCALE, HALF_WIDTH * SCALE, 3), numpy.float32)
        light = numpy.linspace(1.1, 0.85, HALF_WIDTH * SCALE, dtype=numpy.float32)
        self.image[:] = light[:, None] * numpy.array(look.wall, numpy.float32)

    def body(self) -> None:
        """Draw hair behind the head, shoulders, neck and ears."""
        look = self.look
        if look.long_hair:
            self.oval((0, 0.25), (1.32, 1.35), look.hair)
        self.oval((0, 2.35), (2.3, 1.05), look.shirt)
        self.area([(-0.48, 0.6), (0.48, 0.6), (0.55, 1.45), (-0.55, 1.45)], self.skin(0.62))
        self.oval((0, 1.38), (0.55, 0.12), self.skin(0.7))
        self.oval((0, -0.22), (1.13, 1.0), look.hair)
        for side in (-1, 1):
            self.oval((side, 0.05), (0.12, 0.18), self.skin(0.8))

    def head(self) -> None:
        """Draw a round head lit from the front, with sockets, nose and chin; then the fringe."""
        angles = numpy.linspace(0, 2 * numpy.pi, 60)
        narrow = 1 - 0.16 * numpy.sin(angles).clip(0) ** 2  # towards the chin
        outline = list(zip(numpy.cos(angles) * narrow, numpy.sin(angles), strict=True))
        rows, columns = self.window
        patch = self.image[rows, columns]
        mask = numpy.zeros(self.image.shape[:2], numpy.uint8)
        cv2.fillPoly(mask, [self.pixels(outline)], 255, cv2.LINE_AA, SHIFT)
        share = mask[rows, columns, None] / numpy.float32(255)
        lit = numpy.array(self.look.skin, numpy.float32) * self.light[..., None]
        patch[:] = patch * (1 - share) + share * lit.clip(0, 255)
        fringe = [(x, -0.62 - 0.1 * numpy.cos(3 * x)) for x in numpy.linspace(-0.85, 0.85, 15)]
        crown = [(1.06, -0.25), (1.1, -0.6), (0.7, -1.15), (0, -1.27), (-0.7, -1.15), (-1.1, -0.6)]
        self.area([(-1.06, -0.25), *fringe, *crown], self.look.hair)

    @cached_property
    def window(self) -> tuple[slice, slice]:
        """Return rows and columns around the head."""
        top_left = (self.middle - 1.1 * self.radius).astype(int)
        right_bottom = (self.middle + 1.1 * self.radius).astype(int)
        return slice(top_left[1], right_bottom[1]), slice(top_left[0], right_bottom[0])

    @cached_property
    def light(self) -> NDArray[numpy.float32]:
        """Return the brightness of the skin within the window."""
        rows, columns = self.window
        down = numpy.arange(rows.start, rows.stop, dtype=numpy.float32) - self.middle[1]
        across = numpy.arange(columns.start, columns.stop, dtype=numpy.float32) - self.middle[0]
        v, u = (down / self.radius[1])[:, None], (across / self.radius[0])[None]

        def spot(x: float, y: float, width: float, height: float) -> NDArray[numpy.float32]:
            return numpy.exp(-(((u - x) / width) ** 2)) * numpy.exp(-(((v - y) / height) ** 2))

        light = 0.5 + 0.58 * numpy.sqrt((1 - 0.8 * u**2 - 0.55 * v**2).clip(0.02)) - 0.05 * u
        for side in (-1, 1):
            light -= 0.26 * spot(0.4 * side, -0.2, 0.24, 0.13)  # sockets
            light += 0.07 * spot(0.5 * side, 0.2, 0.22, 0.2)  # cheeks
            light -= 0.10 * spot(0.17 * side, 0.13, 0.07, 0.22)  # sides of the nose
            light -= 0.16 * spot(0.13 * side, 0.29, 0.08, 0.035)  # nostrils
        light += 0.10 * spot(0, 0.08, 0.07, 0.25) + 0.08 * spot(0, 0.22, 0.09, 0.07)
        light -= 0.13 * spot(0, 0.36, 0.14, 0.05) + 0.12 * spot(0, 0.72, 0.28, 0.05)
        return (light - 0.18 * ((v - 0.75) / 0.25).clip(0, 1)).astype(numpy.float32)

    def eye(self, side: int, expression: Expression) -> None:
        """Draw one eye and its brow; a frown pulls the brows down to the nose."""
        mood = expression.mood / MOOD_STEPS
        x, y = 0.4 * side, -0.16
        across = numpy.linspace(-0.19, 0.19, 13)
        height = (0.085 - 0.025 * max(0.0, mood)) * (1 - (across / 0.19) ** 2)
        upper: Points = [(x + dx, y - dy) for dx, dy in zip(across, height, strict=True)]
        lower: Points = [(x + dx, y + 0.7 * dy) for dx, dy in zip(across, height, strict=True)]
        if expression.blink:
            self.line(lower, 0.05, self.skin(0.4))
        else:
            self.area(upper + lower[::-1], (225.0, 220.0, 215.0))
            self.dot((x, y - 0.01), 0.075, (55.0, 42.0, 34.0))
            self.dot((x - 0.03, y - 0.04), 0.018, (240.0, 240.0, 240.0))
            self.line(upper, 0.05, self.skin(0.3))
            self.line(lower, 0.025, self.skin(0.6))
        inner, outer = -0.37 + 0.08 * max(0.0, -mood), -0.36 - 0.02 * mood
        steps = numpy.linspace(-1.1, 1.1, 9)  # from the temple to the nose
        brow = [
            (x - 0.2 * side * k, outer + (inner - outer) * (k + 1) / 2 - 0.05 * (1 - k * k))
            for k in steps
        ]
        self.line(brow, 0.085, tuple(0.9 * value for value in self.look.hair))

    def mouth(self, expression: Expression) -> None:
        """Draw lips bent by mood around a mouth that opens in speech; a smile shows teeth."""
        mood = expression.mood / MOOD_STEPS
        gap = 0.03 + 0.13 * expression.opening / (OPENINGS - 1)
        width, bend = 0.36 + 0.07 * mood, 0.12 * mood
        k = numpy.linspace(-1, 1, 17)
        bow = 1 - k**2
        middle = 0.56 - bend * (k**2 - 0.4)
        red, green, blue = self.look.skin
        upper, lower = middle - (0.065 + 0.3 * gap) * bow, middle + (0.07 + gap) * bow
        self.area(_ring(width * k, upper, lower), (0.78 * red, 0.5 * green, 0.5 * blue))
        top, bottom = middle - 0.25 * gap * bow, middle + 0.85 * gap * bow + 0.004
        self.area(_ring(0.92 * width * k, top, bottom), (45.0, 18.0, 18.0))
        if expression.opening or mood > 0.5:
            teeth = middle + (0.03 - 0.2 * gap) * bow
            self.area(_ring(0.7 * width * k, top, teeth), (225.0, 220.0, 210.0))

    def finish(self) -> Picture:
        soft = cv2.resize(self.image, (HALF_WIDTH, HALF_HEIGHT), interpolation=cv2.INTER_AREA)
        soft = cv2.GaussianBlur(soft, (0, 0), 0.5) + _grain()
        return soft.clip(0, 255).astype(numpy.uint8)

    def skin(self, light: float) -> Color:
        return tuple(light * value for value in self.look.skin)

    def pixels(self, points: Any) -> NDArray[numpy.int32]:
        places = self.middle + numpy.asarray(points, float) * self.radius
        return numpy.round(places * 2**SHIFT).astype(numpy.int32)

    def area(self, points: Points, color: Color) -> None:
        cv2.fillPoly(self.image, [self.pixels(points)], color, cv2.LINE_AA, SHIFT)

    def line(self, points: Points, width: float, color: Color) -> None:
        thick = max(1, round(width * self.radius[0]))
        cv2.polylines(self.image, [self.pixels(points)], False, color, thick, cv2.LINE_AA, SHIFT)

    def oval(self, place: tuple[float, float], size: tuple[float, float], color: Color) -> None:
        x, y = (int(value) for value in self.pixels([place])[0])
        across, down = (int(value) for value in self.radius * size * 2**SHIFT)
        cv2.ellipse(self.image, (x, y), (across, down), 0, 0, 360, color, -1, cv2.LINE_AA, SHIFT)

    def dot(self, place: tuple[float, float], radius: float, color: Color) -> None:
        self.oval(place, (radius, radius * self.radius[0] / self.radius[1]), color)


def _ring(x: Any, upper: Any, lower: Any) -> Points:
    """Return a closed shape between two curves."""
    return [*zip(x, upper, strict=True), *zip(x[::-1], lower[::-1], strict=True)]


@lru_cache(maxsize=1)
def _grain() -> NDArray[numpy.float32]:
    grain = numpy.random.default_rng(1).normal(0, 2.5, (HALF_HEIGHT, HALF_WIDTH, 1))
    return grain.astype(numpy.float32)


# --- video ---


def express(turn: Turn | None, seconds: float) -> Expression:
    """Return an actor's expression at a time; without a turn it is neutral and silent."""
    blink = seconds % 3.7 < 0.15
    if turn is None:
        return Expression(blink=blink)
    mood = round(turn.mood * MOOD_STEPS)
    opening = round((OPENINGS - 1) * abs(numpy.sin(2 * numpy.pi * 2.1 * seconds)))
    return Expression(max(-MOOD_LIMIT, min(MOOD_LIMIT, mood)), opening, blink and not opening)


def film(dialog: Dialog, speaker: str, seconds: float) -> Picture:
    """Draw one actor at a time, with slight head movements."""
    ticks = seconds * TICKS
    own = [turn for turn in dialog.turns if turn.speaker == speaker]
    turn = next((turn for turn in own if turn.start <= ticks < turn.end), None)
    look = look_of(dialog.session, speaker)
    image = draw_actor(look, express(turn, seconds), markers=speaker == dialog.wearer)
    phase = 2.0 if speaker == "F" else 0.0
    middle = (HALF_WIDTH / 2, HALF_HEIGHT / 2)
    turned = 2.5 * numpy.sin(0.9 * seconds + phase)  # degrees
    matrix = cv2.getRotationMatrix2D(middle, turned, 1.0)
    matrix[:, 2] += 4 * numpy.sin(1.3 * seconds + phase), 2 * numpy.sin(0.7 * seconds + phase)
    size = (HALF_WIDTH, HALF_HEIGHT)
    moved = cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return moved.astype(numpy.uint8, copy=False)


def write_picture(dialog: Dialog, path: Path) -> None:
    """Write the AVI: both cameras between black bars, until the dialog's video ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cast = numpy.round(numpy.arange(256)[:, None] * LEFT_CAST).astype(numpy.uint8)[None]
    canvas = numpy.zeros((HEIGHT, WIDTH, 3), numpy.uint8)
    frame: Any = None
    with av.open(str(path), "w") as container:
        stream = _add_stream(container)
        for number in range(int(dialog.picture * FRAME_RATE / TICKS)):
            if number % REDRAWN == 0:
                seconds = float(number / FRAME_RATE)
                left, right = (film(dialog, speaker, seconds) for speaker in order_of(dialog))
                canvas[BAR:-BAR, :HALF_WIDTH] = cv2.LUT(left, cast)
                canvas[BAR:-BAR, HALF_WIDTH:] = right
                frame = av.VideoFrame.from_ndarray(canvas, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, 1 / FRAME_RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _add_stream(container: Any) -> Any:
    stream = container.add_stream("mpeg4", rate=FRAME_RATE)
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    stream.codec_context.codec_tag = "DX50"
    stream.thread_count = 1  # the same bytes on every machine
    stream.options = {"flags": "+qscale", "global_quality": str(118 * QUALITY)}  # FF_QP2LAMBDA
    return stream
