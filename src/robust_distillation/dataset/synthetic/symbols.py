"""What is printed on the sign faces: numerals, vehicles, people, arrows."""

from collections.abc import Callable

import numpy as np

from robust_distillation.dataset.synthetic.drawing import Material, Pen, Points, arc, write


def speed(text: str) -> Callable[[Pen], None]:
    """A speed limit's numerals."""
    if len(text) == 2:
        return lambda pen: write(pen, text, height=0.66, width=0.34, gap=0.24, thick=0.125, material=Material.BLACK)
    return lambda pen: write(pen, text, height=0.64, width=0.235, gap=0.2, thick=0.095, material=Material.BLACK)


def end_of_80(pen: Pen) -> None:
    """The grey numerals of an ended limit."""
    write(pen, "80", height=0.72, width=0.4, gap=0.28, thick=0.16, material=Material.GREY)


def stripes(pen: Pen) -> None:
    """The five thin lines, rising to the right, of an end sign."""
    for offset in (-0.16, -0.08, 0.0, 0.08, 0.16):
        reach = float(np.sqrt(0.86**2 - offset**2))
        along, across = reach * np.sqrt(0.5), offset * np.sqrt(0.5)
        pen.stroke([(across - along, across + along), (across + along, across - along)], 0.05, Material.BLACK)


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
