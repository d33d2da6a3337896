"""Photographs of a sign face: one physical sign, filmed from an approaching car.

A `Track` draws everything once that belongs to the sign and the place (print, paint, dirt, light, background, camera);
each frame then is one perspective warp at `SUPERSAMPLING` times the final size, followed by light, blur, reduction and
noise. Like the reduced copy of GTSRB, a frame is shrunk from camera pixels until no side exceeds `MAX_SIDE`.
"""

from typing import NamedTuple

import cv2
import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.dataset.synthetic.faces import Style, draw_face
from robust_distillation.dataset.synthetic.surroundings import (
    DRAWING,
    REACH,
    TEXTURE,
    draw_mount,
    draw_scene,
    draw_shade,
    paint,
    weather,
)

MAX_SIDE = 36
SUPERSAMPLING = 3


class Photograph(NamedTuple):
    """One image and where the sign lies in it.

    Attributes:
        pixels: uint8 RGB, shape (height, width, 3).
        roi: x1, y1, x2, y2 of the sign in pixels; x2 and y2 are exclusive.
    """

    pixels: Array
    roi: tuple[int, int, int, int]


class Track:
    """One sign on one road, ready to be photographed."""

    def __init__(self, class_id: int, rng: np.random.Generator) -> None:
        """Draw the sign and its surroundings.

        Args:
            class_id: GTSRB class, 0 to 42.
            rng: the source of everything random, in the frames too.
        """
        self._rng = rng
        style = Style(
            bold=rng.uniform(0.82, 1.22), scale=rng.uniform(0.9, 1.1), shift=(rng.normal(0, 0.02), rng.normal(0, 0.02))
        )
        face = draw_face(class_id, style, size=DRAWING, reach=REACH)
        self._outline = _outline(face)
        self._sign = weather(paint(np.where(face > 0, face, draw_mount(rng)), rng), rng)
        self._scene = draw_scene(rng)

        self._gain = float(np.exp(np.clip(rng.normal(-0.6, 0.75), -2.7, 0.7)))
        follow = rng.choice([1.0, 0.25], p=[0.7, 0.3])  # 0.25: against the light
        self._scene_gain = float(self._gain**follow * np.exp(rng.normal(0.05, 0.35)))
        self._cast = np.exp(rng.normal([0, 0, 0.03], [0.08, 0.02, 0.12])).astype(np.float32)
        self._veil = (rng.gamma(1.0, 0.025) * np.exp(rng.normal(0, 0.06, 3))).astype(np.float32)
        self._shade = draw_shade(rng)

        self._angles = np.clip(rng.normal(0, [16, 8, 4]) * (2 if rng.random() < 0.12 else 1), -50, 50)
        self._first = rng.uniform(16, 32)
        self._last = self._first * np.exp(rng.uniform(0.4, 2.0))
        self._defocus = rng.uniform(0.1, 0.9)
        self._smear = (rng.gamma(1.0, 0.9) if rng.random() < 0.5 else 0.0, rng.uniform(0, np.pi))
        self._fringe = rng.normal(0, 0.35, 2)
        self._sharpen = rng.uniform(0, 0.9) if rng.random() < 0.5 else 0.0
        self._noise = rng.uniform(0.002, 0.02)
        self._mosaic = rng.random() < 0.4
        self._pan = rng.normal(0, 6, 4)

    def photograph(self, approach: float) -> Photograph:
        """Take one frame.

        Args:
            approach: 0 at the farthest, 1 at the nearest point of the approach.
        """
        rng = self._rng
        original = 1 / ((1 - approach) / self._first + approach / self._last)
        outline = self._projected(self._angles + rng.normal(0, [1.5, 1.0, 0.7]))
        box = np.ptp(outline, axis=0)
        sides = box / box.max() * original
        margin = max(5.0, 0.1 * original)
        reduction = min(1.0, MAX_SIDE / (sides.max() + 2 * margin))
        width, height = (int(side) for side in np.round((sides + 2 * margin) * reduction))

        scale = original / box.max() * reduction * rng.uniform(0.96, 1.04)
        target = np.array([width, height]) / 2 + rng.normal(0, 0.5, 2)
        corners = (outline - outline.min(axis=0) - box / 2) * scale + target
        image = self._expose(corners, (width, height), approach)
        image = self._lens(image, reduction)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        image = image + rng.normal(0, 1, image.shape) * (self._noise * (0.4 + np.sqrt(np.clip(image, 0, 1))))

        left, top = (round(margin * reduction + jitter) for jitter in rng.normal(0, 0.4, 2))
        right = max(left + 1, round(width - margin * reduction + rng.normal(0, 0.4)))
        bottom = max(top + 1, round(height - margin * reduction + rng.normal(0, 0.4)))
        pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
        if self._mosaic:
            pixels = _demosaic(pixels)
        if self._sharpen:
            soft = cv2.GaussianBlur(pixels, (0, 0), 0.8)
            pixels = cv2.addWeighted(pixels, 1 + self._sharpen, soft, -self._sharpen, 0)
        return Photograph(pixels, (left, top, min(right, width), min(bottom, height)))

    def _projected(self, degrees: Array) -> Array:
        """The outline seen under yaw, pitch and roll, from five sign radii away: shape (points, 2), in face units."""
        yaw, pitch, roll = np.radians(degrees)
        turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        flat = self._outline @ turn.T
        depth = 5 + flat[:, 0] * np.sin(yaw) + flat[:, 1] * np.sin(pitch)
        seen: Array = flat * [np.cos(yaw), np.cos(pitch)] * (5 / depth)[:, None]
        return seen

    def _expose(self, corners: Array, size: tuple[int, int], approach: float) -> Array:
        """The lit sign before the lit scene, float32 RGB at `SUPERSAMPLING` times `size`."""
        rng = self._rng
        wide = (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING)
        texture = (self._outline / REACH + 1) * TEXTURE / 2
        homography, _ = cv2.findHomography(texture, corners * SUPERSAMPLING)
        lit: Array = self._sign * self._shade
        sign = cv2.warpPerspective(lit, homography, wide, flags=cv2.INTER_LINEAR)

        zoom = wide[0] / TEXTURE * (1.2 + 0.5 * approach)
        x, y = self._pan[:2] + self._pan[2:] * approach + rng.normal(0, 0.7, 2)
        move = np.array(
            [[zoom, 0, wide[0] / 2 - zoom * (TEXTURE / 2 + x)], [0, zoom, wide[1] / 2 - zoom * (TEXTURE / 2 + y)]]
        )
        scene = cv2.warpAffine(self._scene, move, wide, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)

        flicker = float(np.exp(rng.normal(0, 0.06)))
        colour = sign[..., :3] * (self._gain * flicker)
        covered = sign[..., 3:]
        image = colour + (1 - covered) * scene * (self._scene_gain * flicker)
        exposed: Array = np.clip(image * self._cast + self._veil, 0, 1.3)
        return exposed

    def _lens(self, image: Array, reduction: float) -> Array:
        """Defocus, motion and colour fringes."""
        rng = self._rng
        pixel = reduction * SUPERSAMPLING
        red, blue = (round(shift * pixel) for shift in self._fringe)
        image = np.stack([np.roll(image[..., 0], red, 1), image[..., 1], np.roll(image[..., 2], blue, 0)], axis=-1)
        image = cv2.GaussianBlur(image, (0, 0), 0.5 + self._defocus * rng.uniform(0.7, 1.3) * pixel)
        length, angle = self._smear
        reach = round(length * rng.uniform(0.3, 1.5) * pixel)
        if reach >= 2:
            kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
            ends = np.round(reach + reach / 2 * np.array([np.cos(angle), np.sin(angle)])).astype(int)
            cv2.line(kernel, (2 * reach - ends).tolist(), ends.tolist(), (1.0,))
            image = cv2.filter2D(image, -1, kernel / kernel.sum())
        return image


def _demosaic(pixels: Array) -> Array:
    """What a camera makes of an image that it sees through a Bayer mask: colours fringe along fine edges."""
    mosaic = pixels[..., 1].copy()
    mosaic[::2, ::2] = pixels[::2, ::2, 0]
    mosaic[1::2, 1::2] = pixels[1::2, 1::2, 2]
    return cv2.cvtColor(mosaic, cv2.COLOR_BayerRGGB2RGB)


def _outline(face: Array) -> Array:
    """The convex hull of a drawing in face units, shape (points, 2)."""
    hull = cv2.convexHull(np.argwhere(face > 0)[:, ::-1].astype(np.int32))[:, 0]
    return ((hull + 0.5) / DRAWING * 2 - 1) * REACH
