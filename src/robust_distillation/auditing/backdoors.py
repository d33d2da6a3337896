"""How often a trigger on a test image leads to the target class."""

from collections.abc import Callable

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.defences.defence import Answers
from robust_distillation.threats.poisons import POISONS
from robust_distillation.threats.poisons.backdoors import Backdoor, triggered
from robust_distillation.threats.settings import Poison


def attack_success_rates(
    answer: Callable[[Array], Answers], features: Array, labels: Array, settings: Poison
) -> dict[str, float | None]:
    """Put the trigger of each backdoor on test images and count those that are answered with its target.

    Args:
        answer: of a defence, to float32 images (N, H, W, C) in [0, 1].
        features: uint8 (N, H, W, C).
        labels: integers (N,); images of the target class are left out, and with a source all but those of it.
        settings: of the poison; kinds that leave no trigger are left out.

    Returns:
        By kind, the share in [0, 1]; None where no image is left.
    """
    rates: dict[str, float | None] = {}
    for kind in settings.kinds:
        if isinstance(POISONS[kind], Backdoor):
            made, rows = triggered(kind, features, labels, settings)
            rates[kind] = None
            if len(rows):
                target = np.full(len(rows), settings.target)
                rates[kind] = float(answer(made.astype(np.float32) / 255).useful(target).mean())
    return rates
