"""Adversarial poisons: images that mislead the attacker's model, under the labels that they had."""

from dataclasses import dataclass

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.dataset.pixels import quantise
from robust_distillation.threats.evasion.attack import Attack
from robust_distillation.threats.evasion.ensemble import craft
from robust_distillation.threats.evasion.sign import FGSM, IFGSM, MIFGSM, PGD
from robust_distillation.threats.evasion.victim import Model
from robust_distillation.threats.settings import Poison as Settings


@dataclass(frozen=True)
class Adversarial:
    """An attack on the surrogate.

    Attributes:
        attack: with a budget of its steps and their size.
    """

    attack: type[Attack]

    def __call__(
        self, images: Array, labels: Array, *, surrogate: Model, epsilon: float, settings: Settings, seed: int
    ) -> tuple[Array, Array]:
        """Poison images, all of them, and keep their labels; see `Poison`."""
        adversarial = craft(
            self.attack,
            surrogate,
            images.astype(np.float32) / 255,
            labels,
            epsilon=epsilon,
            alpha=settings.alpha,
            iterations=settings.iterations,
            seed=seed,
        )
        return quantise(images, adversarial), labels


fgsm = Adversarial(FGSM)
i_fgsm = Adversarial(IFGSM)
mi_fgsm = Adversarial(MIFGSM)
pgd = Adversarial(PGD)
