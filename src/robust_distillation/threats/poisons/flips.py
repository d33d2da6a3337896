"""Label flips: images as they are, under labels that are not theirs."""

from collections.abc import Sequence

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.victim import Model
from robust_distillation.threats.poisons.poison import Poison, check_target
from robust_distillation.threats.settings import Poison as Settings


class LabelFlip(Poison):
    """Another label, each of those that the surrogate knows as probable as the others."""

    def strengths(self, settings: Settings) -> Sequence[float]:
        """Return 0: a label is flipped or not."""
        return (0.0,)

    def __call__(
        self, images: Array, labels: Array, *, surrogate: Model, strength: float, settings: Settings, seed: int
    ) -> tuple[Array, Array]:
        """Poison images; see `Poison`."""
        n_classes = np.shape(surrogate(images[:1].astype(np.float32) / 255))[1]
        away = np.random.default_rng(seed).integers(1, n_classes, len(labels))
        return images, ((labels + away) % n_classes).astype(labels.dtype)


class ClassFlip(LabelFlip):
    """The label `target` on images of the class `source`."""

    def eligible(self, labels: Array, settings: Settings) -> Array:
        """Return the rows of the class `source`."""
        if settings.source is None:
            raise InputError("poison class_flip needs a source, the class whose images it gives the target's label")
        check_target(labels, settings)
        return np.equal(labels, settings.source)

    def __call__(
        self, images: Array, labels: Array, *, surrogate: Model, strength: float, settings: Settings, seed: int
    ) -> tuple[Array, Array]:
        """Poison images; see `Poison`."""
        return images, np.full_like(labels, settings.target)


label_flip = LabelFlip()
class_flip = ClassFlip()
