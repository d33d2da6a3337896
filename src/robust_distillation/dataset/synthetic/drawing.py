"""What the sign faces are drawn with: materials, a pen, and the characters of DIN 1451."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from PIL import ImageDraw

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
    oval = arc(0.5, 0.3, 0.5, 180, 360, aspect=0.6) + arc(0.5, 0.7, 0.5, 0, 180, aspect=0.6) + [(0, 0.3)]
    bowl = arc(0.5, 0.66, 0.5, -180, 180, aspect=0.68)
    return {
        "0": [oval],
        "1": [[(0.1, 0.25), (0.62, 0.0), (0.62, 1.04)]],
        "2": [[*arc(0.5, 0.28, 0.47, 190, 380, aspect=0.6), (0.85, 0.5), (0.02, 1.0), (1.05, 1.0)]],
        "3": [arc(0.46, 0.25, 0.46, 200, 450, aspect=0.54), arc(0.46, 0.72, 0.54, -90, 165, aspect=0.52)],
        "5": [[(0.95, 0.0), (0.12, 0.0), (0.06, 0.48), *arc(0.48, 0.68, 0.52, 222, 520, aspect=0.62)]],
        "6": [bowl, [(0.02, 0.6), (0.2, 0.3), (0.62, -0.04)]],
        "7": [[(-0.02, 0.0), (0.98, 0.0), (0.38, 1.04)]],
        "8": [arc(0.5, 0.24, 0.43, 0, 360, aspect=0.56), arc(0.5, 0.74, 0.52, 0, 360, aspect=0.52)],
        "S": [arc(0.5, 0.25, 0.48, -20, -270, aspect=0.54) + arc(0.5, 0.75, 0.5, -90, 165, aspect=0.5)],
        "T": [[(-0.05, 0.0), (1.05, 0.0)], [(0.5, 0.0), (0.5, 1.04)]],
        "O": [oval],
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
