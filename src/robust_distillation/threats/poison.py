"""Poisoning a training set with adversarial images whose labels are kept."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.params import Poison
from robust_distillation.threats.evasion.sign import craft
from robust_distillation.threats.evasion.victim import Model


@dataclass(frozen=True)
class Poisoned:
    """A poisoned training set and the truth about it.

    Attributes:
        features: uint8 (N, H, W, C), the rows in their old order.
        kinds: (N,) the attack of each row, empty where the row is clean.
        epsilons: float64 (N,), 0 where the row is clean.
    """

    features: Array
    kinds: Array
    epsilons: Array


def poison(features: Array, labels: Array, surrogate: Model, settings: Poison) -> Poisoned:
    """Replace a random fraction of the rows by adversarial versions of themselves.

    Each pair of a kind and an epsilon gets an equal share of the fraction, to within one row.

    Args:
        features: uint8 (N, H, W, C).
        labels: integers (N,), kept as they are.
        surrogate: the attacker's model, float32 images in [0, 1] to logits.
        settings: kinds, epsilons, step size, iterations, fraction and seed.
    """
    chosen = np.random.default_rng(settings.seed).permutation(len(features))
    chosen = chosen[: round(settings.fraction * len(features))]
    cells = list(product(settings.kinds, settings.epsilons))
    poisoned = features.copy()
    kinds = np.full(len(features), "", dtype=f"U{max(map(len, settings.kinds))}")
    epsilons = np.zeros(len(features))
    for cell, ((kind, epsilon), rows) in enumerate(zip(cells, np.array_split(chosen, len(cells)), strict=True)):
        adversarial = craft(
            kind,
            surrogate,
            features[rows].astype(np.float32) / 255,
            labels[rows],
            epsilon=epsilon,
            alpha=settings.alpha,
            iterations=settings.iterations,
            seed=settings.seed + cell,
        )
        poisoned[rows] = quantise(features[rows], adversarial)
        kinds[rows] = kind
        epsilons[rows] = epsilon
    return Poisoned(poisoned, kinds, epsilons)


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
