"""The 43 sign faces of GTSRB as vector drawings.

A face lies in the square [-1, 1] x [-1, 1], x to the right and y down. A drawing holds materials, not colours: what red
looks like is the photograph's affair. Shapes follow the German road traffic regulations (StVO, annexes 1 to 3).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from robust_distillation.arrays import Array

Point: TypeAlias = tuple[float, float]
Points: TypeAlias = Sequence[Point]


class Material(IntEnum):
    """What a point of a drawing is made of."""

    NOTHING = 0
    WHITE = 1
    RED = 2
    BLUE = 3
    YELLOW = 4
    BLACK = 5
    GREY = 6
    GREEN = 7
    METAL = 8


@dataclass(frozen=True)
class Style:
    """How one printed sign differs from the next.

    Attributes:
        bold: factor on the width of strokes.
        scale: factor on the size of what is printed inside the border.
        shift: where the print lies, in face units.
    """

    bold: float = 1.0
    scale: float = 1.0
    shift: Point = (0.0, 0.0)


@dataclass(frozen=True)
class Pen:
    """Draws in a frame of its own: (0, 0) lies at pixel (`x`, `y`) of the picture and one unit is `unit` pixels."""

    draw: ImageDraw.ImageDraw
    x: float
    y: float
    unit: float
    bold: float = 1.0
    mirror: int = 1

    def within(self, x: float, y: float, scale: float = 1.0) -> "Pen":
        """A pen whose frame is moved to (x, y) and scaled."""
        return replace(self, x=self.x + x * self.unit * self.mirror, y=self.y + y * self.unit, unit=self.unit * scale)

    def mirrored(self) -> "Pen":
        """A pen that draws left for right."""
        return replace(self, mirror=-self.mirror)

    def pixels(self, points: Points) -> list[Point]:
        """Frame coordinates to pixels."""
        return [(self.x + x * self.unit * self.mirror, self.y + y * self.unit) for x, y in points]

    def polygon(self, points: Points, material: Material) -> None:
        """Fill a polygon."""
        self.draw.polygon(self.pixels(points), fill=material)

    def box(self, left: float, top: float, right: float, bottom: float, material: Material) -> None:
        """Fill an upright rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], material)

    def disc(self, x: float, y: float, radius: float, material: Material) -> None:
        """Fill a circle."""
        ((x, y),) = self.pixels([(x, y)])
        r = radius * self.unit
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=material)

    def stroke(self, points: Points, width: float, material: Material, *, round_ends: bool = False) -> None:
        """Draw a line through `points`; its width follows the pen's boldness."""
        width *= self.bold
        pixels = self.pixels(points)
        self.draw.line(pixels, fill=material, width=max(1, round(width * self.unit)), joint="curve")
        if round_ends:
            for x, y in (points[0], points[-1]):
                self.disc(x, y, width / 2, material)

    def rounded(self, corners: Points, radius: float, material: Material) -> None:
        """Fill the polygon of all points within `radius` of the polygon with these corners."""
        self.polygon(corners, material)
        exact = replace(self, bold=1.0)
        exact.stroke([*corners, corners[0]], 2 * radius, material)
        for x, y in corners:
            self.disc(x, y, radius, material)

    def arrow_head(self, tip: Point, degrees: float, size: float, material: Material) -> None:
        """Draw the swept-back head of a German blue sign's arrow, pointing at `degrees` (0 right, 90 down)."""
        shape = ((0, 0), (-0.44, -0.46), (-0.72, -0.46), (-0.42, -0.1), (-0.42, 0.1), (-0.72, 0.46), (-0.44, 0.46))
        cosine, sine = np.cos(np.radians(degrees)) * size, np.sin(np.radians(degrees)) * size
        self.polygon([(tip[0] + x * cosine - y * sine, tip[1] + x * sine + y * cosine) for x, y in shape], material)


def arc(x: float, y: float, radius: float, start: float, end: float, *, aspect: float = 1.0) -> list[Point]:
    """Points on an ellipse about (x, y) from `start` to `end` degrees (0 right, 90 down); `aspect`: height / width."""
    angles = np.radians(np.linspace(start, end, 2 + int(abs(end - start) / 9)))
    return [(x + radius * float(np.cos(a)), y + radius * aspect * float(np.sin(a))) for a in angles]


def _glyphs() -> dict[str, list[list[Point]]]:
    """Centre lines of the characters in a box from (0, 0) to (1, 1), after DIN 1451."""
    bowl = arc(0.5, 0.66, 0.5, -180, 180, aspect=0.68)
    return {
        "0": [arc(0.5, 0.3, 0.5, 180, 360, aspect=0.6) + arc(0.5, 0.7, 0.5, 0, 180, aspect=0.6) + [(0, 0.3)]],
        "1": [[(0.1, 0.25), (0.62, 0.0), (0.62, 1.04)]],
        "2": [[*arc(0.5, 0.28, 0.47, 190, 380, aspect=0.6), (0.85, 0.5), (0.02, 1.0), (1.05, 1.0)]],
        "3": [arc(0.46, 0.25, 0.46, 200, 450, aspect=0.54), arc(0.46, 0.72, 0.54, -90, 165, aspect=0.52)],
        "5": [[(0.95, 0.0), (0.12, 0.0), (0.06, 0.48), *arc(0.48, 0.68, 0.52, 222, 520, aspect=0.62)]],
        "6": [bowl, [(0.02, 0.6), (0.2, 0.3), (0.62, -0.04)]],
        "7": [[(-0.02, 0.0), (0.98, 0.0), (0.38, 1.04)]],
        "8": [arc(0.5, 0.24, 0.43, 0, 360, aspect=0.56), arc(0.5, 0.74, 0.52, 0, 360, aspect=0.52)],
        "S": [arc(0.5, 0.25, 0.48, -20, -270, aspect=0.54) + arc(0.5, 0.75, 0.5, -90, 165, aspect=0.5)],
        "T": [[(-0.05, 0.0), (1.05, 0.0)], [(0.5, 0.0), (0.5, 1.04)]],
        "O": [arc(0.5, 0.3, 0.5, 180, 360, aspect=0.6) + arc(0.5, 0.7, 0.5, 0, 180, aspect=0.6) + [(0, 0.3)]],
        "P": [[(0.05, 1.04), (0.05, 0.0), (0.5, 0.0), *arc(0.6, 0.28, 0.42, -90, 90, aspect=0.67), (0.05, 0.56)]],
    }


GLYPHS = _glyphs()


def write(pen: Pen, text: str, *, height: float, width: float, gap: float, thick: float, material: Material) -> None:
    """Write `text` about the origin; sizes (of centre lines, gap included) are in the pen's units."""
    left = -(len(text) * width + (len(text) - 1) * gap) / 2
    for character in text:
        for line in GLYPHS[character]:
            points = [(left + x * width, (y - 0.5) * height) for x, y in line]
            pen.stroke(points, thick, material)
        left += width + gap


# Borders: each draws the plate and leaves the print to the caller.


def ring(pen: Pen) -> None:
    """The white disc with a red border of a prohibition."""
    pen.disc(0, 0, 0.99, Material.WHITE)
    pen.disc(0, 0, 0.96, Material.RED)
    pen.disc(0, 0, 0.74, Material.WHITE)


def blue_disc(pen: Pen) -> None:
    """The blue disc of a mandatory direction."""
    pen.disc(0, 0, 0.98, Material.WHITE)
    pen.disc(0, 0, 0.91, Material.BLUE)


def white_disc(pen: Pen) -> None:
    """The white disc with a thin dark edge of an end sign."""
    pen.disc(0, 0, 0.98, Material.WHITE)
    pen.disc(0, 0, 0.94, Material.GREY)
    pen.disc(0, 0, 0.88, Material.WHITE)


def triangle(pen: Pen) -> None:
    """The red-bordered triangle of a danger sign, point up."""
    corners = [(0.0, -0.74), (0.87, 0.77), (-0.87, 0.77)]
    pen.rounded(corners, 0.11, Material.WHITE)
    pen.rounded(corners, 0.08, Material.RED)
    pen.rounded([(x * 0.65, 0.27 + (y - 0.27) * 0.65) for x, y in corners], 0.04, Material.WHITE)


def stripes(pen: Pen) -> None:
    """The five thin lines, rising to the right, of an end sign."""
    for offset in (-0.16, -0.08, 0.0, 0.08, 0.16):
        reach = float(np.sqrt(0.86**2 - offset**2))
        along, across = reach * np.sqrt(0.5), offset * np.sqrt(0.5)
        pen.stroke([(across - along, across + along), (across + along, across - along)], 0.05, Material.BLACK)


# Prints


def speed(text: str) -> Callable[[Pen], None]:
    """A speed limit's numerals."""
    if len(text) == 2:
        return lambda pen: write(pen, text, height=0.66, width=0.34, gap=0.24, thick=0.125, material=Material.BLACK)
    return lambda pen: write(pen, text, height=0.64, width=0.235, gap=0.2, thick=0.095, material=Material.BLACK)


def car(pen: Pen, material: Material) -> None:
    """A car from behind, about the origin, one unit wide."""
    pen.stroke([(-0.4, 0.02), (-0.3, -0.24), (0.3, -0.24), (0.4, 0.02)], 0.09, material)
    pen.rounded([(-0.44, 0.04), (0.44, 0.04), (0.44, 0.2), (-0.44, 0.2)], 0.06, material)
    for side in (-1, 1):
        pen.box(side * 0.36 - 0.1, 0.2, side * 0.36 + 0.1, 0.38, material)


def overtaking(left: Material, right: Material) -> Callable[[Pen], None]:
    """Two cars side by side."""

    def draw(pen: Pen) -> None:
        car(pen.within(-0.34, 0.02, 0.58), left)
        car(pen.within(0.34, 0.02, 0.58), right)

    return draw


def overtaking_lorry(left: Material, right: Material) -> Callable[[Pen], None]:
    """A lorry and a car side by side."""

    def draw(pen: Pen) -> None:
        pen.box(-0.62, -0.42, -0.08, 0.16, left)
        for wheel in (-0.58, -0.26):
            pen.box(wheel, 0.16, wheel + 0.14, 0.27, left)
        car(pen.within(0.32, 0.06, 0.52), right)

    return draw


def lorry(pen: Pen) -> None:
    """A lorry from the side, facing left."""
    pen.box(-0.12, -0.32, 0.6, 0.14, Material.BLACK)
    pen.polygon([(-0.58, 0.2), (-0.58, 0.0), (-0.46, -0.2), (-0.18, -0.2), (-0.18, 0.2)], Material.BLACK)
    pen.polygon([(-0.5, -0.02), (-0.42, -0.14), (-0.27, -0.14), (-0.27, -0.02)], Material.WHITE)
    pen.box(-0.58, 0.14, 0.6, 0.22, Material.BLACK)
    for x in (-0.38, 0.22, 0.46):
        pen.disc(x, 0.24, 0.12, Material.WHITE)
        pen.disc(x, 0.25, 0.1, Material.BLACK)


def crossing(pen: Pen) -> None:
    """The thick arrow over a thin crossbar of right of way."""
    pen.polygon([(0, -0.3), (0.21, 0.06), (-0.21, 0.06)], Material.BLACK)
    pen.box(-0.11, 0.04, 0.11, 0.58, Material.BLACK)
    pen.polygon(
        [
            (-0.16, 0.14),
            (0.16, 0.14),
            (0.28, 0.22),
            (0.28, 0.4),
            (0.1, 0.34),
            (-0.1, 0.34),
            (-0.28, 0.4),
            (-0.28, 0.22),
        ],
        Material.BLACK,
    )


def danger(pen: Pen) -> None:
    """An exclamation mark."""
    pen.rounded([(-0.055, -0.22), (0.055, -0.22), (0.02, 0.28), (-0.02, 0.28)], 0.03, Material.BLACK)
    pen.disc(0, 0.46, 0.085, Material.BLACK)


def curve_left(pen: Pen) -> None:
    """An arrow that bends to the left."""
    bend = arc(0.0, 0.27, 0.17, 0, -80)
    pen.stroke([(0.17, 0.58), *bend, (-0.12, 0.08)], 0.15, Material.BLACK)
    pen.polygon([(-0.08, -0.06), (-0.33, 0.1), (-0.08, 0.24)], Material.BLACK)


def curve_right(pen: Pen) -> None:
    """An arrow that bends to the right."""
    curve_left(pen.mirrored())


def double_curve(pen: Pen) -> None:
    """An arrow that bends left, then right."""
    pen.stroke([(0.16, 0.6), (0.14, 0.2), (-0.11, 0.28), (-0.09, -0.05)], 0.14, Material.BLACK)
    pen.polygon([(-0.23, 0.0), (-0.09, -0.27), (0.05, 0.0)], Material.BLACK)


def bumps(pen: Pen) -> None:
    """A road with two bumps."""
    left, right = arc(-0.22, 0.44, 0.19, 180, 360, aspect=0.85), arc(0.22, 0.44, 0.19, 180, 360, aspect=0.85)
    pen.polygon([(-0.48, 0.46), *left, *right, (0.48, 0.46), (0.48, 0.56), (-0.48, 0.56)], Material.BLACK)


def skid(pen: Pen) -> None:
    """A tilted car over two winding tracks."""
    cosine, sine = np.cos(np.radians(22)), np.sin(np.radians(22))

    def tilt(points: Points) -> Points:
        return [(0.03 + x * cosine - y * sine, 0.1 + x * sine + y * cosine) for x, y in points]

    pen.polygon(tilt([(-0.29, -0.04), (0.29, -0.04), (0.29, 0.12), (-0.29, 0.12)]), Material.BLACK)
    pen.polygon(tilt([(-0.22, -0.04), (-0.17, -0.2), (0.17, -0.2), (0.22, -0.04)]), Material.BLACK)
    pen.polygon(tilt([(-0.15, -0.06), (-0.12, -0.14), (0.12, -0.14), (0.15, -0.06)]), Material.WHITE)
    for x in (-0.26, 0.14):
        pen.polygon(tilt([(x, 0.1), (x + 0.12, 0.1), (x + 0.12, 0.21), (x, 0.21)]), Material.BLACK)
    for x in (-0.3, 0.02):
        pen.stroke([(x, 0.36), (x + 0.12, 0.42), (x - 0.02, 0.5), (x + 0.12, 0.57)], 0.05, Material.BLACK)


def narrow(pen: Pen) -> None:
    """A road that narrows from the right."""
    pen.stroke([(-0.13, -0.22), (-0.13, 0.58)], 0.1, Material.BLACK)
    pen.stroke([(0.07, -0.2), (0.07, 0.12), (0.2, 0.3), (0.2, 0.58)], 0.1, Material.BLACK)


def roadworks(pen: Pen) -> None:
    """A worker who shovels a heap."""
    pen.disc(-0.03, -0.2, 0.075, Material.BLACK)
    pen.stroke([(-0.09, -0.08), (-0.19, 0.16)], 0.13, Material.BLACK, round_ends=True)
    pen.stroke([(-0.19, 0.17), (-0.07, 0.34), (-0.08, 0.58)], 0.08, Material.BLACK)
    pen.stroke([(-0.2, 0.17), (-0.26, 0.38), (-0.38, 0.58)], 0.08, Material.BLACK)
    pen.stroke([(-0.06, -0.06), (0.08, 0.08), (0.0, 0.22)], 0.055, Material.BLACK)
    pen.stroke([(-0.22, 0.14), (0.24, 0.44)], 0.045, Material.BLACK)
    pen.polygon([(0.04, 0.6), (0.16, 0.46), (0.28, 0.34), (0.4, 0.46), (0.5, 0.6)], Material.BLACK)


def lights(pen: Pen) -> None:
    """The three lamps of a traffic light."""
    for y, material in ((-0.1, Material.RED), (0.17, Material.YELLOW), (0.44, Material.GREEN)):
        pen.disc(0, y, 0.115, material)


def walker(pen: Pen) -> None:
    """A person who walks to the left."""
    pen.disc(0.02, -0.24, 0.075, Material.BLACK)
    pen.stroke([(0.0, -0.1), (0.01, 0.2)], 0.14, Material.BLACK, round_ends=True)
    pen.stroke([(0.0, 0.18), (0.1, 0.36), (0.2, 0.58)], 0.085, Material.BLACK)
    pen.stroke([(0.0, 0.18), (-0.06, 0.36), (-0.19, 0.57)], 0.085, Material.BLACK)
    pen.stroke([(0.03, -0.12), (0.14, 0.04), (0.2, 0.16)], 0.06, Material.BLACK)
    pen.stroke([(-0.02, -0.12), (-0.14, 0.02), (-0.2, 0.14)], 0.06, Material.BLACK)


def runner(pen: Pen) -> None:
    """A child who runs to the left, about one unit high."""
    pen.disc(-0.04, -0.42, 0.13, Material.BLACK)
    pen.stroke([(0.0, -0.22), (0.06, 0.1)], 0.22, Material.BLACK, round_ends=True)
    pen.stroke([(0.06, 0.1), (0.2, 0.26), (0.42, 0.3)], 0.13, Material.BLACK)
    pen.stroke([(0.02, 0.1), (-0.18, 0.26), (-0.2, 0.52)], 0.13, Material.BLACK)
    pen.stroke([(0.0, -0.2), (-0.22, -0.08), (-0.4, -0.16)], 0.1, Material.BLACK)
    pen.stroke([(0.04, -0.2), (0.28, -0.04)], 0.1, Material.BLACK)


def children(pen: Pen) -> None:
    """Two children, hand in hand."""
    runner(pen.within(0.15, 0.24, 0.66))
    runner(pen.within(-0.21, 0.34, 0.48))


def bicycle(pen: Pen) -> None:
    """A bicycle."""
    for x in (-0.24, 0.24):
        pen.stroke(arc(x, 0.42, 0.165, 0, 360), 0.05, Material.BLACK)
    pen.stroke([(-0.24, 0.42), (-0.12, 0.12), (0.14, 0.16), (0.0, 0.42), (-0.12, 0.14)], 0.045, Material.BLACK)
    pen.stroke([(0.24, 0.42), (0.13, 0.06), (0.22, 0.03)], 0.045, Material.BLACK)
    pen.stroke([(-0.24, 0.42), (0.0, 0.42)], 0.045, Material.BLACK)
    pen.stroke([(-0.2, 0.08), (-0.05, 0.08)], 0.06, Material.BLACK)


def snowflake(pen: Pen) -> None:
    """A snow crystal."""
    arm = ((0.17, 0.0), (0.3, 0.11)), ((0.17, 0.0), (0.3, -0.11)), ((0.0, 0.0), (0.33, 0.0))
    for angle in np.radians(range(30, 391, 60)):
        cosine, sine = float(np.cos(angle)), float(np.sin(angle))
        for line in arm:
            pen.stroke([(x * cosine - y * sine, 0.24 + x * sine + y * cosine) for x, y in line], 0.06, Material.BLACK)


def deer(pen: Pen) -> None:
    """A deer that leaps to the left."""
    pen.polygon(
        [(-0.2, 0.02), (-0.05, 0.16), (0.2, 0.24), (0.3, 0.36), (0.22, 0.44), (0.0, 0.4), (-0.14, 0.3), (-0.22, 0.12)],
        Material.BLACK,
    )
    pen.polygon([(-0.34, 0.02), (-0.22, -0.08), (-0.12, 0.0), (-0.12, 0.16), (-0.24, 0.14)], Material.BLACK)
    pen.stroke([(-0.18, -0.06), (-0.1, -0.16), (-0.12, -0.28)], 0.04, Material.BLACK)
    pen.stroke([(-0.1, -0.14), (0.0, -0.22)], 0.04, Material.BLACK)
    pen.stroke([(-0.1, 0.28), (-0.24, 0.38), (-0.36, 0.34)], 0.06, Material.BLACK)
    pen.stroke([(-0.06, 0.34), (-0.14, 0.5), (-0.28, 0.52)], 0.06, Material.BLACK)
    pen.stroke([(0.22, 0.36), (0.3, 0.48), (0.46, 0.56)], 0.06, Material.BLACK)
    pen.stroke([(0.16, 0.38), (0.16, 0.5), (0.3, 0.6)], 0.06, Material.BLACK)


def turn_right(pen: Pen) -> None:
    """An arrow that turns to the right."""
    pen.stroke([(-0.26, 0.68), (-0.26, 0.02), *arc(0.0, 0.02, 0.26, 180, 270), (0.4, -0.24)], 0.17, Material.WHITE)
    pen.arrow_head((0.68, -0.24), 0, 0.78, Material.WHITE)


def ahead(pen: Pen) -> None:
    """An arrow that points up."""
    pen.stroke([(0, 0.7), (0, -0.46)], 0.18, Material.WHITE)
    pen.arrow_head((0, -0.76), -90, 0.84, Material.WHITE)


def ahead_or_right(pen: Pen) -> None:
    """An arrow that forks ahead and to the right."""
    pen.stroke([(-0.2, 0.7), (-0.2, -0.5)], 0.15, Material.WHITE)
    pen.arrow_head((-0.2, -0.76), -90, 0.68, Material.WHITE)
    pen.stroke([(-0.2, 0.56), *arc(0.02, 0.42, 0.22, 180, 270), (0.45, 0.2)], 0.15, Material.WHITE)
    pen.arrow_head((0.7, 0.2), 0, 0.62, Material.WHITE)


def keep_right(pen: Pen) -> None:
    """An arrow that points down and to the right."""
    pen.stroke([(-0.5, -0.44), (0.4, 0.36)], 0.2, Material.WHITE)
    pen.arrow_head((0.6, 0.53), 41.6, 0.86, Material.WHITE)


def roundabout(pen: Pen) -> None:
    """Three arrows that chase each other, anticlockwise."""
    for start in (0, 120, 240):
        pen.stroke(arc(0, 0, 0.56, start + 62, start - 10), 0.13, Material.WHITE)
        points = [(0.4, start - 6), (0.56, start - 36), (0.74, start - 4)]
        pen.polygon([(r * np.cos(np.radians(a)), r * np.sin(np.radians(a))) for r, a in points], Material.WHITE)


# Whole faces


def printed(border: Callable[[Pen], None], *prints: Callable[[Pen], None]) -> Callable[[Pen, Style], None]:
    """A face: a border, and prints that follow the style."""

    def draw(pen: Pen, style: Style) -> None:
        border(pen)
        middle = (1 - style.scale) * (0.3 if border is triangle else 0.0)
        inner = replace(pen.within(style.shift[0], style.shift[1] + middle, style.scale), bold=style.bold)
        for item in prints:
            item(inner)

    return draw


def mirrored(face: Callable[[Pen, Style], None]) -> Callable[[Pen, Style], None]:
    """A face, left for right."""
    return lambda pen, style: face(pen.mirrored(), style)


def end_of_80(pen: Pen) -> None:
    """The grey numerals of an ended limit."""
    write(pen, "80", height=0.72, width=0.4, gap=0.28, thick=0.16, material=Material.GREY)


def priority_road(pen: Pen, style: Style) -> None:
    """The yellow diamond on white."""
    for half, radius, material in (
        (0.89, 0.09, Material.WHITE),
        (0.87, 0.07, Material.GREY),
        (0.85, 0.06, Material.WHITE),
        (0.54 * style.scale, 0.04, Material.GREY),
        (0.53 * style.scale, 0.03, Material.YELLOW),
    ):
        pen.rounded([(0, -half), (half, 0), (0, half), (-half, 0)], radius, material)


def give_way(pen: Pen, style: Style) -> None:
    """The red-bordered triangle, point down."""
    corners = [(0.0, 0.74), (0.87, -0.77), (-0.87, -0.77)]
    inner = 0.62 * style.scale
    pen.rounded(corners, 0.11, Material.WHITE)
    pen.rounded(corners, 0.08, Material.RED)
    pen.rounded([(x * inner, -0.27 + (y + 0.27) * inner) for x, y in corners], 0.04, Material.WHITE)


def stop(pen: Pen, style: Style) -> None:
    """The red octagon."""
    for radius, material in ((1.06, Material.WHITE), (0.98, Material.RED)):
        pen.polygon(_octagon(radius), material)
    inner = replace(pen.within(*style.shift, style.scale), bold=style.bold)
    write(inner, "STOP", height=0.52, width=0.26, gap=0.175, thick=0.11, material=Material.WHITE)


def _octagon(radius: float) -> list[Point]:
    angles = np.radians(22.5 + 45 * np.arange(8))
    return [(radius * float(np.cos(a)), radius * float(np.sin(a))) for a in angles]


def no_entry(pen: Pen, style: Style) -> None:
    """The red disc with a white bar."""
    pen.disc(0, 0, 0.99, Material.WHITE)
    pen.disc(0, 0, 0.95, Material.RED)
    pen.box(-0.72, -0.17 * style.bold, 0.72, 0.17 * style.bold, Material.WHITE)


_TURN = printed(blue_disc, turn_right)
_FORK = printed(blue_disc, ahead_or_right)
_KEEP = printed(blue_disc, keep_right)
_GREY_CARS = overtaking(Material.GREY, Material.GREY)
_GREY_LORRY = overtaking_lorry(Material.GREY, Material.GREY)

# In the order of the class ids.
FACES: tuple[Callable[[Pen, Style], None], ...] = (
    *(printed(ring, speed(text)) for text in ("20", "30", "50", "60", "70", "80")),
    printed(white_disc, end_of_80, stripes),
    *(printed(ring, speed(text)) for text in ("100", "120")),
    printed(ring, overtaking(Material.RED, Material.BLACK)),
    printed(ring, overtaking_lorry(Material.RED, Material.BLACK)),
    printed(triangle, crossing),
    priority_road,
    give_way,
    stop,
    printed(ring),
    printed(ring, lorry),
    no_entry,
    *(
        printed(triangle, symbol)
        for symbol in (
            danger,
            curve_left,
            curve_right,
            double_curve,
            bumps,
            skid,
            narrow,
            roadworks,
            lights,
            walker,
            children,
            bicycle,
            snowflake,
            deer,
        )
    ),
    printed(white_disc, stripes),
    _TURN,
    mirrored(_TURN),
    printed(blue_disc, ahead),
    _FORK,
    mirrored(_FORK),
    _KEEP,
    mirrored(_KEEP),
    printed(blue_disc, roundabout),
    printed(white_disc, _GREY_CARS, stripes),
    printed(white_disc, _GREY_LORRY, stripes),
)


def draw_face(class_id: int, style: Style, *, size: int, reach: float = 1.0) -> Array:
    """Draw one face.

    Args:
        class_id: GTSRB class, 0 to 42.
        style: how this sign is printed.
        size: side of the drawing in pixels.
        reach: the drawing shows [-reach, reach] in both directions; the face fills [-1, 1].

    Returns:
        uint8 array of shape (size, size) of `Material` values.
    """
    image = Image.new("L", (size, size))
    unit = size / (2 * reach)
    FACES[class_id](Pen(ImageDraw.Draw(image), size / 2, size / 2, unit), style)
    return np.asarray(image)
