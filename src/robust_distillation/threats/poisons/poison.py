"""Poisoning a fraction of a training set, by one or several kinds of poison."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.errors import InputError
from robust_distillation.settings import format_epsilon
from robust_distillation.threats.evasion.victim import Model
from robust_distillation.threats.poisons import POISONS
from robust_distillation.threats.settings import Poison as Settings


class Poison(ABC):
    """One kind of poison, an immutable configuration."""

    @abstractmethod
    def __call__(
        self, images: Array, labels: Array, *, surrogate: Model, strength: float, settings: Settings, seed: int
    ) -> tuple[Array, Array]:
        """Poison images, all of them.

        Args:
            images: uint8 (N, H, W, C).
            labels: integers (N,).
            surrogate: the attacker's own model, float32 images in [0, 1] to logits.
            strength: one of `strengths`.
            settings: of all poison: step size, iterations, classes and the rest.
            seed: of random draws.

        Returns:
            Images and labels as the attacker leaves them, of the same types and shapes.
        """

    def strengths(self, settings: Settings) -> Sequence[float]:
        """Return how strong it is, once or several times; by default the largest changes of a pixel, the epsilons."""
        return settings.epsilons

    def eligible(self, labels: Array, settings: Settings) -> Array:
        """Return which rows it may take, booleans (N,), by the labels (N,); by default all of them."""
        return np.ones(len(labels), bool)

    def most(self, settings: Settings) -> float:
        """Return the largest share of these rows that it takes, by default all."""
        return 1.0


@dataclass(frozen=True)
class Poisoned:
    """A poisoned training set and the truth about it.

    Attributes:
        features: uint8 (N, H, W, C), the rows in their old order.
        labels: integers (N,).
        kinds: (N,) the poison of each row, empty where the row is clean.
        strengths: float64 (N,) of each row's poison, 0 where the row is clean.
    """

    features: Array
    labels: Array
    kinds: Array
    strengths: Array


def poison(features: Array, labels: Array, surrogate: Model, settings: Settings) -> Poisoned:
    """Replace a random fraction of the rows by what the attacker makes of them.

    Each pair of a kind and a strength gets an equal share of the fraction, to within one row, as far as there are rows
    that it may take.

    Args:
        features: uint8 (N, H, W, C).
        labels: integers (N,).
        surrogate: the attacker's model, float32 images in [0, 1] to logits.
        settings: kinds, their strengths, fraction, seed and the rest.

    Raises:
        InputError: a pair gets no row.
    """
    pairs = [(kind, strength) for kind in settings.kinds for strength in POISONS[kind].strengths(settings)]
    count = round(settings.fraction * len(features))
    shares = [len(part) for part in np.array_split(np.arange(count), len(pairs))]
    left = np.random.default_rng(settings.seed).permutation(len(features))
    poisoned, given = features.copy(), labels.copy()
    kinds = np.full(len(features), "", dtype=f"U{max(map(len, settings.kinds))}")
    strengths = np.zeros(len(features))
    for number, ((kind, strength), share) in enumerate(zip(pairs, shares, strict=True)):
        making = POISONS[kind]
        eligible = making.eligible(labels, settings)
        rows = left[eligible[left]][: min(share, round(making.most(settings) * eligible.sum()))]
        if settings.fraction and not len(rows):
            raise InputError(_without_rows(kind, strength, share, int(eligible.sum()), settings))
        left = left[~np.isin(left, rows)]
        poisoned[rows], given[rows] = making(
            features[rows],
            labels[rows],
            surrogate=surrogate,
            strength=strength,
            settings=settings,
            seed=settings.seed + number,
        )
        kinds[rows] = kind
        strengths[rows] = strength
    return Poisoned(poisoned, given, kinds, strengths)


def cells(kinds: Array, strengths: Array) -> dict[str, Array]:
    """Return which rows have which poison: booleans (N,) by kind and strength.

    Args:
        kinds: (N,), empty where the row is clean.
        strengths: (N,).
    """
    found = sorted({(str(kind), float(strength)) for kind, strength in zip(kinds, strengths, strict=True) if kind})
    return {called(kind, strength): (kinds == kind) & (strengths == strength) for kind, strength in found}


def called(kind: str, strength: float) -> str:
    """Return what a kind of a strength is called; where that is 0, there is but one."""
    return f"{kind} {format_epsilon(strength)}" if strength else kind


def check_target(labels: Array, settings: Settings) -> None:
    """Refuse a target class of which there is no image.

    Raises:
        InputError: so it is.
    """
    if settings.target not in labels:
        raise InputError(f"poison: target {settings.target} is the label of no training image; choose another")


def _without_rows(kind: str, strength: float, share: int, eligible: int, settings: Settings) -> str:
    cell = f"poison {called(kind, strength)}"
    if not share:
        return f"{cell}: fraction {settings.fraction:g} leaves it no image; raise it, or name fewer kinds and strengths"
    if not eligible:
        return f"{cell}: no image is of the classes that it is for; see target ({settings.target}) and source"
    return f"{cell}: other poison took all images of the classes that it is for; name it earlier, or lower fraction"
