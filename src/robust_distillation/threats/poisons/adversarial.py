"""Adversarial poisons: images that mislead the attacker's model, under the labels that they had."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.dataset.pixels import quantise
from robust_distillation.threats.evasion.attack import Attack
from robust_distillation.threats.evasion.carlini_wagner import CarliniWagner
from robust_distillation.threats.evasion.ensemble import craft
from robust_distillation.threats.evasion.sign import FGSM, IFGSM, MIFGSM, PGD
from robust_distillation.threats.evasion.victim import Model
from robust_distillation.threats.poisons.poison import Poison
from robust_distillation.threats.settings import Poison as Settings

STEPS, RATE = 100, 0.1  # of Carlini and Wagner: enough to move pixels of 0 and 1
SEARCHED, FIRST = 4, 0.1  # values of c, which reach 100


@dataclass(frozen=True)
class Adversarial(Poison):
    """An attack on the surrogate within epsilon.

    Attributes:
        attack: with a budget of its steps and their size.
    """

    attack: type[Attack]

    def __call__(
        self, images: Array, labels: Array, *, surrogate: Model, strength: float, settings: Settings, seed: int
    ) -> tuple[Array, Array]:
        """Poison images and keep their labels; see `Poison`."""
        adversarial = craft(
            self.attack,
            surrogate,
            images.astype(np.float32) / 255,
            labels,
            epsilon=strength,
            alpha=settings.alpha,
            iterations=settings.iterations,
            seed=seed,
        )
        return quantise(images, adversarial), labels


class Nearest(Poison):
    """The nearest images in L2 that mislead the surrogate (Carlini and Wagner 2017), by a margin of its logits."""

    def strengths(self, settings: Settings) -> Sequence[float]:
        """Return the margin."""
        return (settings.confidence,)

    def __call__(
        self, images: Array, labels: Array, *, surrogate: Model, strength: float, settings: Settings, seed: int
    ) -> tuple[Array, Array]:
        """Poison images and keep their labels; see `Poison`. Changes are rounded to the nearest grey level."""
        attack = CarliniWagner(
            steps=STEPS,
            learning_rate=RATE,
            binary_search_steps=SEARCHED,
            initial_c=FIRST,
            confidence=strength,
            seed=seed,
        )
        start = images.astype(np.float32) / 255
        anywhere = float(np.sqrt(start[0].size))
        adversarial = attack(surrogate, start, labels, epsilon=anywhere)
        return np.rint(255 * adversarial).astype(np.uint8), labels


fgsm = Adversarial(FGSM)
i_fgsm = Adversarial(IFGSM)
mi_fgsm = Adversarial(MIFGSM)
pgd = Adversarial(PGD)
carlini_wagner = Nearest()
