"""Attacks that look for the nearest adversarial image, and only then ask whether it lies in the ball."""

from abc import abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.threats.evasion.attack import Attack
from robust_distillation.threats.evasion.norms import length
from robust_distillation.threats.evasion.victim import Model, Victim


@dataclass(frozen=True, kw_only=True)
class MinimumNorm(Attack):
    """An attack that makes the change of an image small.

    Called with an epsilon, it returns the nearest adversarial image found if that lies within epsilon, or else the
    original.

    Attributes:
        early_stop: whether an image is done as soon as an adversarial one is found within epsilon. The share of images
            that fall is the same.
    """

    early_stop: bool = True

    def minimal(self, model: Model | Victim, images: Array, labels: Array, *, targets: Array | None = None) -> Array:
        """Return the nearest adversarial images found, whatever their distance.

        Args:
            model: maps float32 images (N, H, W, C) in [0, 1] to logits (N, K), differentiably; or a `Victim`.
            images: float32 (N, H, W, C) in [0, 1].
            labels: integers (N,), the true classes.
            targets: integers (N,), the classes to reach; None to reach any that is wrong.

        Returns:
            Float32 (N, H, W, C) in [0, 1]. The original where it is adversarial already, and where none was found:
            `Victim.fooled` tells the two apart.

        Raises:
            InputError: as when called.
        """
        largest = 1.0 if self.norm == "linf" else float(np.sqrt(np.prod(np.shape(images)[1:])))
        return replace(self, early_stop=False)(model, images, labels, epsilon=largest, targets=targets)

    def _attack(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        adversarial = images.copy()
        standing = np.flatnonzero(~victim.fooled(images, labels, targets))
        if len(standing):
            aims = None if targets is None else targets[standing]
            found = self._minimise(victim, images[standing], labels[standing], aims, epsilon)
            near = length(found - images[standing], self.norm).numpy() <= np.float32(epsilon)
            adversarial[standing[near]] = found[near]
        return adversarial

    @abstractmethod
    def _minimise(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        """Return the nearest adversarial images found, in [0, 1], for images that are not adversarial.

        The original where none was found. With `early_stop`, any found within epsilon will do.
        """
