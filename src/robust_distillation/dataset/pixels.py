"""Pixels as they are stored, uint8, beside pixels as models see them, float32 in [0, 1]."""

from typing import TYPE_CHECKING, Literal

import numpy as np

from robust_distillation.arrays import Array

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = Literal["rgb", "grey"]


def as_features(image: "Image", size: int, colour: Colour) -> Array:
    """Shrink or enlarge an image, bilinearly, to uint8 (size, size, C)."""
    from PIL.Image import Resampling

    image = image.convert("L" if colour == "grey" else "RGB")
    return np.asarray(image.resize((size, size), Resampling.BILINEAR)).reshape(size, size, -1)


def quantise(original: Array, adversarial: Array) -> Array:
    """Store adversarial images as uint8, rounding each change toward zero so that epsilon is never exceeded.

    Args:
        original: uint8 (N, H, W, C).
        adversarial: float32 (N, H, W, C) in [0, 1].
    """
    change = adversarial.astype(np.float64) * 255 - original
    # float32 gives 7.99999 where 8 was meant; the tolerance is far below one grey level.
    whole = np.sign(change) * np.floor(np.abs(change) + 1e-3)
    stored: Array = original + whole
    return stored.astype(np.uint8)
