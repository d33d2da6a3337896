"""What a sign looks like on its day: paint, dirt, shadows, what it hangs on and what lies behind it."""

import cv2
import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.dataset.synthetic.drawing import Material

DRAWING = 288  # side of a drawing of materials, in pixels
TEXTURE = 144  # side of the pictures made of it
REACH = 1.5  # both show this many face units in each direction

REFLECTANCE = {
    Material.WHITE: (0.9, 0.9, 0.9),
    Material.RED: (0.66, 0.1, 0.12),
    Material.BLUE: (0.07, 0.25, 0.66),
    Material.YELLOW: (0.9, 0.6, 0.08),
    Material.BLACK: (0.05, 0.05, 0.06),
    Material.GREY: (0.42, 0.42, 0.43),
    Material.GREEN: (0.06, 0.45, 0.32),
    Material.METAL: (0.35, 0.35, 0.36),
}


def draw_mount(rng: np.random.Generator) -> Array:
    """What holds the sign and hangs beside it: a pole, and at times another sign above or below."""
    picture = np.zeros((DRAWING, DRAWING), np.uint8)
    unit = DRAWING / (2 * REACH)
    middle = DRAWING // 2
    half = round(unit * rng.uniform(0.04, 0.1))
    if rng.random() < 0.8:
        top = middle if rng.random() < 0.5 else 0
        picture[top:, middle - half : middle + half] = Material.METAL
    kind = rng.random()
    if kind < 0.2:
        edge, wide = round(middle + unit * rng.uniform(0.95, 1.15)), round(unit * rng.uniform(0.5, 1.0))
        picture[edge:, middle - wide : middle + wide] = Material.WHITE
        for _ in range(rng.integers(0, 6)):
            x = int(rng.integers(middle - wide, middle + wide - 4))
            picture[edge + 9 : edge + 30, x : x + 5] = Material.BLACK
    elif kind < 0.4:
        material = int(rng.choice([Material.RED, Material.WHITE, Material.BLUE, Material.YELLOW]))
        side = int(rng.choice([-1, 1]))
        centre = (middle, round(middle + side * unit * rng.uniform(1.85, 2.1)))
        cv2.circle(picture, centre, round(unit * 0.95), (material,), -1)
        if material == Material.RED:
            cv2.circle(picture, centre, round(unit * 0.72), (int(Material.WHITE),), -1)
    elif kind < 0.46:
        wide = round(unit * rng.uniform(1.05, 1.3))
        picture[middle - wide : middle + wide, middle - wide : middle + wide] = Material.WHITE
    return picture


def paint(drawing: Array, rng: np.random.Generator) -> Array:
    """Materials to premultiplied float32 RGBA, shape (TEXTURE, TEXTURE, 4), in this sign's own shades."""
    palette = np.zeros((len(Material), 4), np.float32)
    for material, colour in REFLECTANCE.items():
        palette[material, :3] = np.array(colour) * np.exp(rng.normal(0, 0.12)) + rng.normal(0, 0.02, 3)
        palette[material, 3] = 1
    palette[Material.GREY, :3] *= rng.uniform(0.6, 1.4)
    palette[Material.METAL, :3] *= rng.uniform(0.2, 2.0)
    faded = rng.beta(1.1, 5)
    grey = palette[:, :3].mean(axis=1, keepdims=True)
    palette[:, :3] = np.clip(palette[:, :3] * (1 - 0.6 * faded) + 0.6 * faded * grey, 0.02, 1)
    palette[Material.NOTHING] = 0
    return cv2.resize(palette[drawing], (TEXTURE, TEXTURE), interpolation=cv2.INTER_AREA)


def _clouds(rng: np.random.Generator, *cells: int) -> Array:
    """Smooth noise of about unit variance, shape (TEXTURE, TEXTURE), float32: one layer for each number of cells."""
    layers = [
        cv2.resize(rng.standard_normal((n, n), np.float32), (TEXTURE, TEXTURE), interpolation=cv2.INTER_CUBIC)
        for n in cells
    ]
    noise: Array = np.sum(layers, axis=0) / np.sqrt(len(cells))
    return noise


def weather(sign: Array, rng: np.random.Generator) -> Array:
    """Dirt, stickers, reflections and foliage on a painted sign."""
    dirt = 1 - rng.beta(1, 5) * np.clip(_clouds(rng, 5, 16) * 0.5 + 0.3, 0, 1)
    sign[..., :3] *= dirt[..., None]
    if rng.random() < 0.06:
        x, y = rng.integers(TEXTURE // 4, TEXTURE * 3 // 4, 2)
        wide, high = rng.integers(6, 16, 2)
        patch = sign[y : y + high, x : x + wide]
        patch[..., :3] = rng.uniform(0, 1, 3) * patch[..., 3:]
    if rng.random() < 0.15:
        glare = np.exp(-(np.clip(_clouds(rng, 3) - 0.8, -2, 0) ** 2) * 4) * rng.uniform(0.1, 0.6)
        sign[..., :3] += glare[..., None] * sign[..., 3:]
    if rng.random() < 0.08:
        ramp = np.linspace(-1, 1, TEXTURE, dtype=np.float32)
        ramp = np.rot90(np.broadcast_to(ramp, (TEXTURE, TEXTURE)), rng.integers(4))
        leaf = (_clouds(rng, 8, 24) * 0.5 + ramp > rng.uniform(0.45, 0.8)).astype(np.float32)[..., None]
        colour = rng.uniform([0.03, 0.06, 0.01], [0.3, 0.3, 0.1]).astype(np.float32)
        layer = np.concatenate([np.broadcast_to(colour, (TEXTURE, TEXTURE, 3)), np.ones_like(leaf)], axis=-1)
        sign = (sign * (1 - leaf) + layer * leaf).astype(np.float32)
    return sign


def draw_shade(rng: np.random.Generator) -> Array:
    """Shadows across the sign: factors on colour and a one for alpha, shape (TEXTURE, TEXTURE, 4)."""
    shade = np.ones((TEXTURE, TEXTURE), np.float32)
    axis = np.linspace(-1, 1, TEXTURE, dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = axis[None] * np.cos(angle) + axis[:, None] * np.sin(angle)
    shade *= 1 + slope * rng.uniform(0, 0.3)
    kind = rng.random()
    if kind < 0.12:
        shade *= np.where(slope > rng.uniform(-0.4, 0.4), 1, rng.uniform(0.3, 0.8))
    elif kind < 0.25:
        shade *= np.where(_clouds(rng, 5, 9) > rng.uniform(-0.6, 0.6), 1, rng.uniform(0.35, 0.85))
    return np.dstack([shade] * 3 + [np.ones_like(shade)]).astype(np.float32)


def draw_scene(rng: np.random.Generator) -> Array:
    """A background, float32 RGB of shape (TEXTURE, TEXTURE, 3): sky, foliage, wood, walls or a dull blur."""
    kind = rng.choice(["sky", "foliage", "wood", "wall", "dull"], p=[0.2, 0.28, 0.16, 0.18, 0.18])
    if kind == "sky":
        base = rng.uniform([0.6, 0.7, 0.85], [1.2, 1.2, 1.3])
        scene = base * (1 + 0.08 * _clouds(rng, 3, 6))[..., None]
        if rng.random() < 0.5:
            scene = np.where(_ground(rng), rng.uniform(0.03, 0.25) + rng.normal(0, 0.02, 3), scene)
    elif kind == "foliage":
        dark, light = rng.uniform(0.0, 0.08) * np.ones(3), rng.uniform([0.15, 0.15, 0.02], [0.75, 0.6, 0.3])
        amount = np.clip(0.35 + 0.4 * _clouds(rng, 6, 18, 40), 0, 1)[..., None]
        scene = dark + (light - dark) * amount**1.3
        if rng.random() < 0.3:
            scene = np.where(_clouds(rng, 12, 30)[..., None] > 0.9, rng.uniform(0.7, 1.2), scene)
    elif kind == "wood":
        scene = np.broadcast_to(rng.uniform(0.03, 0.9) * np.ones(3), (TEXTURE, TEXTURE, 3)).copy()
        bark = float(rng.uniform(0.02, 0.2))
        for _ in range(rng.integers(8, 40)):
            start, end = rng.integers(-20, TEXTURE + 20, (2, 2)).tolist()
            cv2.line(scene, start, end, (bark * 1.1, bark, bark * 0.9), int(rng.integers(1, 6)))
    elif kind == "wall":
        scene = np.broadcast_to(rng.uniform(0.1, 0.9) + rng.normal(0, 0.05, 3), (TEXTURE, TEXTURE, 3)).copy()
        for _ in range(rng.integers(1, 7)):
            x, y, wide, high = rng.integers(0, TEXTURE, 4)
            scene[y : y + high, x : x + wide] = rng.uniform(0.02, 1.0) + rng.normal(0, 0.06, 3)
    else:
        scene = rng.uniform(0.05, 0.6) + rng.normal(0, 0.03, 3) + 0.06 * _clouds(rng, 2, 5)[..., None]
    stained: Array = scene * (1 + 0.08 * _clouds(rng, 8, 30))[..., None]
    return np.clip(stained, 0.0, 1.5).astype(np.float32)


def _ground(rng: np.random.Generator) -> Array:
    """Where trees or roofs rise before the sky: bool, shape (TEXTURE, TEXTURE, 1)."""
    height = np.linspace(-1, 1, TEXTURE)[:, None]
    risen: Array = height + 0.25 * _clouds(rng, 4, 12) > rng.uniform(-0.3, 0.9)
    return risen[..., None]
