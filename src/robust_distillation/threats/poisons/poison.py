"""Poisoning a fraction of a training set, by one or several kinds of poison."""

from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.threats.evasion.victim import Model
from robust_distillation.threats.poisons import POISONS
from robust_distillation.threats.settings import Poison as Settings


class Poison(Protocol):
    """One kind of poison; an immutable configuration, or a function."""

    def __call__(
        self, images: Array, labels: Array, *, surrogate: Model, epsilon: float, settings: Settings, seed: int
    ) -> tuple[Array, Array]:
        """Poison images, all of them.

        Args:
            images: uint8 (N, H, W, C).
            labels: integers (N,).
            surrogate: the attacker's own model, float32 images in [0, 1] to logits.
            epsilon: the largest change of a pixel, in [0, 1] units.
            settings: of all poison: step size, iterations and the rest.
            seed: of random draws.

        Returns:
            Images and labels as the attacker leaves them, of the same types and shapes.
        """


@dataclass(frozen=True)
class Poisoned:
    """A poisoned training set and the truth about it.

    Attributes:
        features: uint8 (N, H, W, C), the rows in their old order.
        labels: integers (N,).
        kinds: (N,) the poison of each row, empty where the row is clean.
        epsilons: float64 (N,), 0 where the row is clean.
    """

    features: Array
    labels: Array
    kinds: Array
    epsilons: Array


def poison(features: Array, labels: Array, surrogate: Model, settings: Settings) -> Poisoned:
    """Replace a random fraction of the rows by what the attacker makes of them.

    Each pair of a kind and an epsilon gets an equal share of the fraction, to within one row.

    Args:
        features: uint8 (N, H, W, C).
        labels: integers (N,).
        surrogate: the attacker's model, float32 images in [0, 1] to logits.
        settings: kinds, epsilons, step size, iterations, fraction and seed.
    """
    chosen = np.random.default_rng(settings.seed).permutation(len(features))
    chosen = chosen[: round(settings.fraction * len(features))]
    cells = list(product(settings.kinds, settings.epsilons))
    poisoned, given = features.copy(), labels.copy()
    kinds = np.full(len(features), "", dtype=f"U{max(map(len, settings.kinds))}")
    epsilons = np.zeros(len(features))
    for cell, ((kind, epsilon), rows) in enumerate(zip(cells, np.array_split(chosen, len(cells)), strict=True)):
        poisoned[rows], given[rows] = POISONS[kind](
            features[rows],
            labels[rows],
            surrogate=surrogate,
            epsilon=epsilon,
            settings=settings,
            seed=settings.seed + cell,
        )
        kinds[rows] = kind
        epsilons[rows] = epsilon
    return Poisoned(poisoned, given, kinds, epsilons)
