"""What attacks leave of a whole defence, image by image."""

from dataclasses import dataclass

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.defences.defence import Answers


@dataclass(frozen=True)
class Outcome:
    """What attacks left of a defence, image by image.

    Attributes:
        as_student: booleans (N,), useful under the attack on the student, which knows nothing of what refuses.
        adaptively: booleans (N,), useful under the attacks on the whole defence.
        harmed: booleans (N,), harmful after at least one of all these attacks.
    """

    as_student: Array
    adaptively: Array
    harmed: Array

    @property
    def stands(self) -> Array:
        """Booleans (N,): useful under every attack."""
        return self.as_student & self.adaptively


def outcome(labels: Array, clean: Answers, as_student: Answers, *adaptive: Answers) -> Outcome:
    """Join the answers to clean images with labels (N,) with those to what each attack made of them."""
    useful = clean.useful(labels)
    return Outcome(
        useful & as_student.useful(labels),
        np.logical_and.reduce([useful, *(answers.useful(labels) for answers in adaptive)]),
        np.logical_or.reduce([answers.harmful(labels) for answers in (as_student, *adaptive)]),
    )
