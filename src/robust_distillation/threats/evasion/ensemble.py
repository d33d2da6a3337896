"""Several attacks judged together: each runs on the images that still stand, and an image must withstand them all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.errors import InputError
from robust_distillation.threats.evasion import ATTACKS
from robust_distillation.threats.evasion.attack import Attack, Budget, check_images
from robust_distillation.threats.evasion.norms import Norm
from robust_distillation.threats.evasion.victim import Model, Victim, as_victim

WRONG = "clean"
STANDS = ""


@dataclass(frozen=True)
class Verdicts:
    """What an ensemble did to each image.

    Attributes:
        adversarial: float32 (N, H, W, C): the image that fooled the model first, else the original.
        broken_by: text (N,): the name of the first attack that fooled the model, `WRONG` where the model is wrong
            without any, `STANDS` where it is right under each.

    Example:
        >>> verdicts = rd.build(["pgd"], rd.Budget())(victim, images, labels, epsilon=0.2)
        >>> verdicts.broken_by.tolist()
        ['', '', '', 'pgd', 'pgd', 'pgd', 'pgd', '', '', '']
        >>> float(np.mean(verdicts.broken_by == rd.STANDS))  # the robust accuracy
        0.6
    """

    adversarial: Array
    broken_by: Array


@dataclass(frozen=True)
class Ensemble:
    """Attacks by name, in the order in which they run: cheap ones first, for images that fell cost no more.

    Example:
        >>> ensemble = rd.Ensemble({"noise": rd.UniformNoise(), "pgd": rd.PGD(restarts=2)})
        >>> ensemble(victim, images, labels, epsilon=0.1).broken_by.tolist()
        ['', '', '', '', 'pgd', 'pgd', '', '', '', '']
    """

    attacks: Mapping[str, Attack]

    def __call__(
        self,
        model: Model | Victim,
        images: Array,
        labels: Array,
        *,
        epsilon: float,
        candidates: Mapping[str, Array] | None = None,
        transferred: Mapping[str, Array] | None = None,
    ) -> Verdicts:
        """Attack all images.

        Args:
            model: as for `Attack`.
            images: float32 (N, H, W, C) in [0, 1].
            labels: integers (N,).
            epsilon: radius of the ball in [0, 1] units, in the norm of each attack.
            candidates: images like `images` by name, of attacks on something else, that are tried before all attacks.
            transferred: such images that are tried after them.

        Raises:
            InputError: as for `Attack`.
        """
        victim = as_victim(model)
        check_images(images, labels)
        victim.check(images, labels)
        adversarial = images.copy()
        tried: dict[str, Attack | Array] = {**(candidates or {}), **self.attacks, **(transferred or {})}
        broken_by = np.full(len(images), STANDS, dtype=f"U{max(map(len, [*tried, WRONG]))}")
        broken_by[victim.fooled(images, labels)] = WRONG
        for name, source in tried.items():
            standing = np.flatnonzero(broken_by == STANDS)
            if not len(standing):
                break
            if isinstance(source, Attack):
                found = source(victim, images[standing], labels[standing], epsilon=epsilon)
            else:
                found = source[standing]
            fell = victim.fooled(found, labels[standing])
            adversarial[standing[fell]] = found[fell]
            broken_by[standing[fell]] = name
        return Verdicts(adversarial, broken_by)


STANDARD = ("apgd_ce", "apgd_t", "fab_t", "square")
RAND = ("apgd_ce", "apgd_dlr")


def attack_by_name(name: str, budget: Budget) -> Attack:
    """Return an attack of `ATTACKS`, or a user's own, within a budget.

    Raises:
        InputError: there is none of that name, or what it names makes no attack.
    """
    entry: Any = ATTACKS[name]
    make = entry.within if isinstance(entry, type) and issubclass(entry, Attack) else entry
    attack = make(budget) if callable(make) else make
    if not isinstance(attack, Attack):
        raise InputError(f"attack {name}: must make an Attack of a Budget. Received: {type(attack).__name__}")
    return attack


def build(names: Sequence[str], budget: Budget) -> Ensemble:
    """Return the ensemble of the named attacks, of `ATTACKS` or `package.module:Name`, each with this budget.

    Raises:
        InputError: there is no such attack.

    Example:
        >>> ensemble = rd.build(["fgsm", "pgd"], rd.Budget(steps=50, restarts=2))
        >>> ensemble(victim, images, labels, epsilon=0.1).broken_by.tolist()
        ['', '', '', '', 'fgsm', 'fgsm', '', '', '', '']
    """
    return Ensemble({name: attack_by_name(name, budget) for name in names})


def craft(
    attack: str | type[Attack],
    model: Model | Victim,
    images: Array,
    labels: Array,
    *,
    epsilon: float,
    alpha: float,
    iterations: int,
    seed: int = 0,
) -> Array:
    """Run an attack, or the one of that name, all the way, with steps of `alpha` if it steps, as poisoners do."""
    budget = Budget(steps=iterations, step_size=alpha, seed=seed, early_stop=False)
    crafting = attack_by_name(attack, budget) if isinstance(attack, str) else attack.within(budget)
    return crafting(model, images, labels, epsilon=epsilon)


def all_the_way(
    names: Sequence[str], budget: Budget, victim: Victim, images: Array, labels: Array, *, epsilon: float
) -> dict[str, Array]:
    """Return by name what attacks make of images that do not stop where the victim is first fooled.

    An image that has only just crossed the boundary is easily brought back by what an attacker does not know of.

    Raises:
        InputError: as `build`, and as for `Attack`.
    """
    patient = build(names, replace(budget, early_stop=False)).attacks
    return {name: attack(victim, images, labels, epsilon=epsilon) for name, attack in patient.items()}


def standard(*, norm: Norm = "linf", seed: int = 0) -> Ensemble:
    """Return AutoAttack's standard ensemble with its published budgets (Croce and Hein 2020, section 5).

    APGD-CE, APGD-T and FAB-T with 100 steps, the last two against at most 9 targets, and Square with 5,000 queries; one
    start each.

    Example:
        >>> list(rd.standard(norm="l2").attacks)
        ['apgd_ce', 'apgd_t', 'fab_t', 'square']
    """
    return build(STANDARD, Budget(norm=norm, seed=seed))


def rand(*, norm: Norm = "linf", seed: int = 0) -> Ensemble:
    """Return AutoAttack's ensemble for models that draw at random: APGD-CE and APGD-DLR with 100 steps.

    Give the victim 20 draws, the published number.

    Example:
        >>> noise = keras.layers.GaussianNoise(0.1, seed=0)
        >>> noisy = rd.Victim(lambda images: model(noise(images, training=True)), draws=20)
        >>> verdicts = rd.rand()(noisy, images, labels, epsilon=0.1)
        >>> np.flatnonzero(verdicts.broken_by != rd.STANDS)
        array([4, 5])
    """
    return build(RAND, Budget(norm=norm, seed=seed))
