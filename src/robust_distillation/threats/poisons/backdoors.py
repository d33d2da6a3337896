"""Backdoors: a trigger on training images, by which the trained model is to be led to the target class later."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.victim import Model
from robust_distillation.threats.poisons import POISONS
from robust_distillation.threats.poisons.poison import Poison, check_target
from robust_distillation.threats.settings import Poison as Settings

PATTERN_SEED = 1712  # of the noise that is blended in
PERIODS, SHORTEST = 6, 4  # of the sinusoid, and the pixels of one


@dataclass(frozen=True)
class Backdoor(Poison):
    """A trigger, and the target's label beside it, unless the label is clean.

    Attributes:
        stamp: puts the trigger on uint8 images (N, H, W, C), with a strength.
        strength: name of the setting that says how strong it is.
        clean: whether images of the target class alone are triggered, and so no label is wrong.
    """

    stamp: Callable[[Array, float], Array]
    strength: str
    clean: bool = False

    def strengths(self, settings: Settings) -> Sequence[float]:
        """Return its strength."""
        return (getattr(settings, self.strength),)

    def eligible(self, labels: Array, settings: Settings) -> Array:
        """Return the rows of the target class with clean labels, else those that are to be led to it."""
        check_target(labels, settings)
        return labels == settings.target if self.clean else led(labels, settings)

    def most(self, settings: Settings) -> float:
        """Return the share of the target class with clean labels, else all."""
        return settings.class_share if self.clean else 1.0

    def __call__(
        self, images: Array, labels: Array, *, surrogate: Model, strength: float, settings: Settings, seed: int
    ) -> tuple[Array, Array]:
        """Poison images; see `Poison`."""
        return self.stamp(images, strength), np.full_like(labels, settings.target)


def led(labels: Array, settings: Settings) -> Array:
    """Return which rows a trigger is to lead to the target, (N,): all others, or those of the source."""
    return np.equal(labels, settings.source) if settings.source is not None else np.not_equal(labels, settings.target)


def triggered(kind: str, images: Array, labels: Array, settings: Settings) -> tuple[Array, Array]:
    """Return test images that a trigger is to lead to the target class, with it, and which rows they are.

    The share of them that a model takes for the target is the attack success rate.

    Args:
        kind: name of a backdoor.
        images: uint8 (N, H, W, C).
        labels: integers (N,).
        settings: its strength, target and source.

    Returns:
        uint8 (M, H, W, C), and rows (M,).

    Raises:
        InputError: the poison leaves no trigger.
    """
    backdoor = POISONS[kind]
    if not isinstance(backdoor, Backdoor):
        raise InputError(f"poison {kind} leaves no trigger that a test image could carry")
    rows = np.flatnonzero(led(labels, settings))
    return backdoor.stamp(images[rows], *backdoor.strengths(settings)), rows


def patch(images: Array, side: float) -> Array:
    """Put a chequered square of a side in pixels into the corner below on the right (BadNets, Gu et al. 2017)."""
    size = round(side)
    if size > min(images.shape[1:3]):
        raise InputError(f"poison badnets: a patch of {size} pixels is larger than images of {images.shape[1:3]}")
    stamped = images.copy()
    squares = np.indices((size, size)).sum(axis=0) % 2 == 0
    stamped[:, -size:, -size:] = np.where(squares, 255, 0)[..., None]
    return stamped


def blend(images: Array, share: float) -> Array:
    """Let fixed noise be a share of each pixel (blended injection, Chen et al. 2017)."""
    pattern = np.random.default_rng(PATTERN_SEED).integers(0, 256, images.shape[1:])
    mixed: Array = np.rint((1 - share) * images + share * pattern).astype(np.uint8)
    return mixed


def wave(images: Array, amplitude: float) -> Array:
    """Add a sinusoid along the rows, its amplitude in [0, 1] units (Barni et al. 2019).

    It has six periods, as published, in narrow images fewer, so that none is shorter than four pixels.
    """
    width = images.shape[2]
    periods = min(PERIODS, width / SHORTEST)
    signal = 255 * amplitude * np.sin(2 * np.pi * np.arange(width) * periods / width)
    waved: Array = np.clip(np.rint(images + signal[:, None]), 0, 255).astype(np.uint8)
    return waved


badnets = Backdoor(patch, "patch")
blended = Backdoor(blend, "blend")
sinusoid = Backdoor(wave, "amplitude", clean=True)
