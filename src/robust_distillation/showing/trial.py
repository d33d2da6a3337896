"""One image, attacked and answered, with and without a defence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.defences.defence import Answers, Defence
from robust_distillation.threats.evasion.attack import Attack

ATTACKED = ("undefended", "defended")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of it.

    Attributes:
        image: as it was, float32 (H, W, C) in [0, 1].
        attacked: as it was shown to both.
        reformed: as the student sees it; the attacked one itself where nothing is reformed.
        undefended: answers to both, the attacked one last.
        defended: those of the defence.
    """

    image: Array
    attacked: Array
    reformed: Array
    undefended: Answers
    defended: Answers

    @property
    def residual(self) -> Array:
        """What was added, amplified to the full range around grey."""
        change = self.attacked - self.image
        shown: Array = 0.5 + change * (0.5 / max(np.abs(change).max(), 1 / 255))
        return shown


def try_out(
    undefended: Defence,
    defended: Defence,
    image: Array,
    label: int,
    *,
    attack: Attack | None = None,
    epsilon: float = 8 / 255,
    against: str = "undefended",
) -> Trial:
    """Attack one of two models on an image, and let both answer.

    Args:
        undefended: a classifier alone.
        defended: the other, with the same shape and classes.
        image: float32 (H, W, C) in [0, 1].
        label: the true class.
        attack: None leaves the image as it is.
        epsilon: in [0, 1] units.
        against: `undefended`, or `defended`, whose attacker knows all that is deployed and wants a wrong answer.
    """
    images, attacked = image[None], image[None]
    if attack is not None:
        victim = (undefended if against == ATTACKED[0] else defended).victim()
        attacked = attack(victim, images, np.array([label]), epsilon=epsilon)
    both = np.concatenate([images, attacked])
    return Trial(
        image=image,
        attacked=attacked[0],
        reformed=defended.reform(attacked)[0],
        undefended=undefended.answer(both),
        defended=defended.answer(both),
    )


def verdict(answers: Answers, row: int, names: Sequence[str]) -> str:
    """Return in words what a model says of the image of a row."""
    best = answers.best[row]
    says = f"{names[best]}, {answers.probabilities[row, best]:.1%}"
    refusing = [part for part in answers.scores if answers.refused_by(part)[row]]
    return f"{says}; refused by {', '.join(refusing)}" if refusing else says
