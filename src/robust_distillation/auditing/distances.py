"""How far the nearest adversarial images lie: robustness without a radius chosen beforehand."""

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.threats.evasion.fab import FABT
from robust_distillation.threats.evasion.norms import Norm, length
from robust_distillation.threats.evasion.victim import Victim


def nearest_distances(victim: Victim, images: Array, labels: Array, *, norm: Norm, steps: int, seed: int) -> Array:
    """Return the distance (N,) of the nearest adversarial image that FAB-T finds for each image.

    It is 0 where the model is wrong already, and infinite where none was found. Like those of every attack,
    these distances are upper bounds.

    Args:
        victim: the model under attack.
        images: float32 (N, H, W, C) in [0, 1].
        labels: integers (N,).
        norm: of the distance, in [0, 1] units.
        steps: of FAB-T, for each target.
        seed: of random draws.

    Example:
        >>> distances = rd.nearest_distances(victim, images[:5], labels[:5], norm="linf", steps=100, seed=0)
        >>> distances.round(2)
        array([0.45, 0.35, 0.25, 0.15, 0.05])
    """
    adversarial = FABT(norm=norm, steps=steps, seed=seed).minimal(victim, images, labels)
    found = length(adversarial - images, norm).numpy().astype(float)
    return np.where(victim.fooled(adversarial, labels.astype(np.int32)), found, np.inf)


def summary(distances: Array) -> dict[str, float | None]:
    """Return the 10th, 50th and 90th percentile of distances (N,), None where that image has none."""
    ranked = np.quantile(distances, (0.1, 0.5, 0.9), method="inverted_cdf")
    names = ("p10", "median", "p90")
    return {name: float(value) if np.isfinite(value) else None for name, value in zip(names, ranked, strict=True)}
