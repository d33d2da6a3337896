"""The 43 sign faces of GTSRB as vector drawings.

A face lies in the square [-1, 1] x [-1, 1], x to the right and y down. A drawing holds materials, not colours: what red
looks like is the photograph's affair. Shapes follow the German road traffic regulations (StVO, annexes 1 to 3).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from robust_distillation.arrays import Array
from robust_distillation.dataset.synthetic import symbols
from robust_distillation.dataset.synthetic.drawing import Material, Pen, Point, write


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


_TURN = printed(blue_disc, symbols.turn_right)
_FORK = printed(blue_disc, symbols.ahead_or_right)
_KEEP = printed(blue_disc, symbols.keep_right)
_GREY_CARS = symbols.overtaking(Material.GREY, Material.GREY)
_GREY_LORRY = symbols.overtaking_lorry(Material.GREY, Material.GREY)

# In the order of the class ids.
FACES: tuple[Callable[[Pen, Style], None], ...] = (
    *(printed(ring, symbols.speed(text)) for text in ("20", "30", "50", "60", "70", "80")),
    printed(white_disc, symbols.end_of_80, symbols.stripes),
    *(printed(ring, symbols.speed(text)) for text in ("100", "120")),
    printed(ring, symbols.overtaking(Material.RED, Material.BLACK)),
    printed(ring, symbols.overtaking_lorry(Material.RED, Material.BLACK)),
    printed(triangle, symbols.crossing),
    priority_road,
    give_way,
    stop,
    printed(ring),
    printed(ring, symbols.lorry),
    no_entry,
    *(
        printed(triangle, symbol)
        for symbol in (
            symbols.danger,
            symbols.curve_left,
            symbols.curve_right,
            symbols.double_curve,
            symbols.bumps,
            symbols.skid,
            symbols.narrow,
            symbols.roadworks,
            symbols.lights,
            symbols.walker,
            symbols.children,
            symbols.bicycle,
            symbols.snowflake,
            symbols.deer,
        )
    ),
    printed(white_disc, symbols.stripes),
    _TURN,
    mirrored(_TURN),
    printed(blue_disc, symbols.ahead),
    _FORK,
    mirrored(_FORK),
    _KEEP,
    mirrored(_KEEP),
    printed(blue_disc, symbols.roundabout),
    printed(white_disc, _GREY_CARS, symbols.stripes),
    printed(white_disc, _GREY_LORRY, symbols.stripes),
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
