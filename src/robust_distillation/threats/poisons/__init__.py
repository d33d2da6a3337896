"""Poisons: what an attacker makes of training images, by name."""

from typing import TYPE_CHECKING

from robust_distillation.registry import Registry

if TYPE_CHECKING:
    from robust_distillation.threats.poisons.poison import Poison

_ROOM = "robust_distillation.threats.poisons"
POISONS: "Registry[Poison]" = Registry(
    "poison",
    {
        **{name: f"{_ROOM}.adversarial:{name}" for name in ("fgsm", "i_fgsm", "mi_fgsm", "pgd", "carlini_wagner")},
        **{name: f"{_ROOM}.flips:{name}" for name in ("label_flip", "class_flip")},
        **{name: f"{_ROOM}.backdoors:{name}" for name in ("badnets", "blended", "sinusoid")},
    },
)
