"""Defences of all kinds side by side, each attacked by who does not know of it and by who does."""

import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.progress import Bar
from robust_distillation.settings import format_epsilon
from robust_distillation.threats.evasion.attack import Attack, Budget
from robust_distillation.threats.evasion.ensemble import all_the_way, build, standard
from robust_distillation.threats.evasion.norms import Norm
from robust_distillation.threats.evasion.victim import Victim

STANDARD = "standard"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A defence in the comparison.

    Attributes:
        name: in the table.
        alone: the classifier as who does not know of the defence attacks it.
        whole: all of it as who knows of it attacks it; the same victim where there is nothing around the classifier.
        answer: float32 images (N, H, W, C) in [0, 1] to what is deployed answers (N,), -1 where it refuses.
        parameters: of its networks.
    """

    name: str
    alone: Victim
    whole: Victim
    answer: Callable[[Array], Array]
    parameters: int


@dataclass(frozen=True)
class Ball:
    """Where attackers search: the radius, in [0, 1] units, in a norm."""

    norm: Norm
    epsilon: float

    def __str__(self) -> str:
        return f"{self.norm} {format_epsilon(self.epsilon) if self.norm == 'linf' else f'{self.epsilon:g}'}"


@dataclass(frozen=True)
class Stood:
    """What stands of a contender in one ball.

    Attributes:
        unaware: booleans (A, N): right on what each attack made of the classifier alone.
        standard: booleans (S,): right on what AutoAttack's standard ensemble made of the classifier alone, of a few.
        adaptive: booleans (N,): right on all of these, and on what attacks on the whole made.
    """

    unaware: Array
    standard: Array
    adaptive: Array


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A contender's row.

    Attributes:
        name: of the contender.
        clean: booleans (N,): answered and right without an attack.
        stood: what stands, by ball.
        milliseconds: that an answer takes, in a batch of all images.
        parameters: of its networks.
    """

    name: str
    clean: Array
    stood: dict[Ball, Stood]
    milliseconds: float
    parameters: int

    def to_dict(self, attacks: Sequence[str]) -> dict[str, Any]:
        """Return the row's shares; what an answer takes is left out, for it is another one every time."""
        return {
            "clean": float(self.clean.mean()),
            "parameters": self.parameters,
            **{
                str(ball): {
                    **dict(zip(attacks, stood.unaware.mean(axis=1).tolist(), strict=True)),
                    **({STANDARD: float(stood.standard.mean())} if len(stood.standard) else {}),
                    "adaptive": float(stood.adaptive.mean()),
                }
                for ball, stood in self.stood.items()
            },
        }


def compare(
    contenders: Sequence[Contender],
    images: Array,
    labels: Array,
    *,
    balls: Sequence[Ball],
    attacks: Sequence[str],
    adaptive: Sequence[str],
    budget: Budget,
    standard_images: int,
    done: MutableMapping[str, Stood],
) -> list[Compared]:
    """Attack each contender, in each ball, without knowledge of what is around its classifier and with it.

    Args:
        contenders: with names of their own.
        images: float32 (N, H, W, C) in [0, 1].
        labels: integers (N,), the true classes.
        balls: where attackers search.
        attacks: names of attacks on the classifier alone, each all the way.
        adaptive: names of attacks on the whole, each on what still stands.
        budget: of attacks by name, but for the norm.
        standard_images: how many, the first, AutoAttack's standard ensemble attacks; 0 for none.
        done: what stood before an interruption, by contender and ball; new ones are put there.

    Returns:
        A row for each contender.
    """
    made: dict[tuple[int, Ball], dict[str, Array]] = {}
    rows = []
    for one in Bar(contenders, desc="comparing", unit="defence"):
        clean = one.answer(images) == labels
        start = time.perf_counter()
        one.answer(images)
        milliseconds = 1000 * (time.perf_counter() - start) / len(images)
        stood = {}
        for ball in balls:
            key = f"{one.name} {ball}"
            if key not in done:
                which = (id(one.alone), ball)
                if which not in made:
                    made[which] = _attack_alone(one.alone, images, labels, ball, attacks, budget, standard_images)
                known = _Known(images, labels, ball, build(adaptive, replace(budget, norm=ball.norm)).attacks)
                done[key] = known.stand(one, clean, made[which])
            stood[ball] = done[key]
        rows.append(
            Compared(name=one.name, clean=clean, stood=stood, milliseconds=milliseconds, parameters=one.parameters)
        )
    return rows


def _attack_alone(
    alone: Victim,
    images: Array,
    labels: Array,
    ball: Ball,
    attacks: Sequence[str],
    budget: Budget,
    standard_images: int,
) -> dict[str, Array]:
    """Return what each attack makes of a classifier by name, `STANDARD` of the first images."""
    found = all_the_way(attacks, replace(budget, norm=ball.norm), alone, images, labels, epsilon=ball.epsilon)
    if standard_images:
        few = slice(standard_images)
        ensemble = standard(norm=ball.norm, seed=budget.seed)
        found[STANDARD] = ensemble(alone, images[few], labels[few], epsilon=ball.epsilon).adversarial
    return found


@dataclass(frozen=True)
class _Known:
    """What who knows of a defence attacks it with."""

    images: Array
    labels: Array
    ball: Ball
    attacks: Mapping[str, Attack]

    def stand(self, one: Contender, clean: Array, made: dict[str, Array]) -> Stood:
        """Return what stands of a contender, of which this was made alone."""
        right = {
            name: clean[: len(found)] & (one.answer(found) == self.labels[: len(found)]) for name, found in made.items()
        }
        few = right.pop(STANDARD, clean[:0])
        standing = np.logical_and.reduce(list(right.values()))
        standing[: len(few)] &= few
        for attack in self.attacks.values():
            left = np.flatnonzero(standing)
            if len(left):
                found = attack(one.whole, self.images[left], self.labels[left], epsilon=self.ball.epsilon)
                standing[left] = one.answer(found) == self.labels[left]
        return Stood(np.stack(list(right.values())), few, standing)
