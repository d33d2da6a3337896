"""What benchmarks/filter.py poisons the training set with, and attackers beside those of the package."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from robust_distillation.arrays import Array
from robust_distillation.dataset.pixels import quantise
from robust_distillation.defences.detectors.twins import compressed
from robust_distillation.records import Classes
from robust_distillation.threats.evasion.attack import Attack
from robust_distillation.threats.evasion.sign import PGD
from robust_distillation.threats.evasion.square import Square
from robust_distillation.threats.evasion.victim import Model
from robust_distillation.threats.poisons.adversarial import i_fgsm
from robust_distillation.threats.poisons.poison import Poison
from robust_distillation.threats.settings import Poison as Settings

ATTACKER = Path("build/filter/attacker")  # the detector that `evading` knows
JPEG, HARMLESS = "poisonings:jpeg", "poisonings:harmless_jpeg"
QUALITIES = (75, 85, 95)  # of JPEG


@dataclass(frozen=True)
class Within(Poison):
    """An attack on the surrogate with balls of its own."""

    attack: Attack
    epsilons: tuple[float, ...]

    def strengths(self, settings: Settings) -> Sequence[float]:
        """Return the radii."""
        return self.epsilons

    def __call__(
        self, images: Array, labels: Array, *, surrogate: Model, strength: float, settings: Settings, seed: int
    ) -> tuple[Array, Array]:
        """Poison images and keep their labels; see `Poison`."""
        made = self.attack(surrogate, images.astype(np.float32) / 255, labels, epsilon=strength)
        return np.rint(255 * made).astype(np.uint8), labels


@dataclass(frozen=True)
class Compressed(Poison):
    """Images that a poison of 8/255 made, or as they were, after JPEG; the strength is its quality."""

    poison: Poison | None

    def strengths(self, settings: Settings) -> Sequence[float]:
        """Return the qualities."""
        return QUALITIES

    def __call__(
        self, images: Array, labels: Array, *, surrogate: Model, strength: float, settings: Settings, seed: int
    ) -> tuple[Array, Array]:
        """Poison images and keep their labels; see `Poison`."""
        if self.poison is not None:
            images, _ = self.poison(images, labels, surrogate=surrogate, strength=8 / 255, settings=settings, seed=seed)
        return np.stack([np.asarray(compressed(Image.fromarray(image), round(strength))) for image in images]), labels


@dataclass(frozen=True)
class Evading(Poison):
    """PGD through the surrogate and a detector of the attacker's own: of the defender's recipe, not its seed."""

    def strengths(self, settings: Settings) -> Sequence[float]:
        """Return the radii."""
        return 4 / 255, 8 / 255

    def __call__(
        self, images: Array, labels: Array, *, surrogate: Model, strength: float, settings: Settings, seed: int
    ) -> tuple[Array, Array]:
        """Poison images and keep their labels; see `Poison`."""
        from robust_distillation.defences.defence import Defence
        from robust_distillation.defences.detectors.detector import load_detector

        start = images.astype(np.float32) / 255
        count = np.shape(surrogate(start[:1]))[1]
        classes = Classes(ids=list(range(count)), names=[str(label) for label in range(count)])
        guarded = Defence(student=surrogate, classes=classes, detector=load_detector(ATTACKER, surrogate))
        attack = PGD(steps=40, early_stop=False)
        made = attack(guarded.victim("deceive"), start, labels, epsilon=strength)
        return quantise(images, made), labels


evading = Evading()
pgd_l2 = Within(PGD(norm="l2", steps=20, early_stop=False), (0.5, 1.0))
square = Within(Square(queries=300), (8 / 255,))
jpeg = Compressed(i_fgsm)
harmless_jpeg = Compressed(None)

COMMON = Settings(
    kinds=["fgsm"], epsilons=[0.01, 8 / 255], alpha=1 / 255, iterations=10, fraction=0.1, target=2, seed=102
)
CASES: dict[str, Settings] = {
    "unpoisoned": replace(COMMON, fraction=0.0),
    "signs": replace(COMMON, kinds=["fgsm", "i_fgsm", "mi_fgsm", "pgd"]),
    "others": replace(COMMON, kinds=["carlini_wagner", "poisonings:pgd_l2", "poisonings:square", JPEG, HARMLESS]),
    "evading": replace(COMMON, kinds=["poisonings:evading"]),
    "class_flip": replace(COMMON, kinds=["class_flip"], source=1),
    **{kind: replace(COMMON, kinds=[kind]) for kind in ("label_flip", "badnets", "blended", "sinusoid")},
}
