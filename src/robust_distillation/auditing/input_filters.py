"""Input filters under attack: by someone who does not know of them, and by someone who does."""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.auditing.robustness import attack_in_shards
from robust_distillation.defences.input_filters import InputFilter, filtered
from robust_distillation.progress import Bar
from robust_distillation.settings import format_epsilon
from robust_distillation.threats.evasion.attack import Budget
from robust_distillation.threats.evasion.ensemble import STANDS, Verdicts, all_the_way, build
from robust_distillation.threats.evasion.victim import Model, Victim

UNAWARE = "unaware"


@dataclass(frozen=True, kw_only=True)
class FilterAudit:
    """What stands behind a filter.

    Attributes:
        name: of the filter.
        clean: booleans (N,): right without an attack.
        unaware: by epsilon, booleans (N,): right on what each attack made of the image on the classifier alone.
        adaptive: by epsilon, booleans (N,): right on those, and on what each attack made through the filter.
    """

    name: str
    clean: Array
    unaware: Mapping[float, Array]
    adaptive: Mapping[float, Array]


def audit_filters(
    model: Model,
    filters: Mapping[str, InputFilter],
    images: Array,
    labels: Array,
    *,
    epsilons: Sequence[float],
    attacks: Sequence[str],
    budget: Budget | None = None,
    done: MutableMapping[str, Verdicts] | None = None,
) -> list[FilterAudit]:
    """Attack a classifier behind each filter twice.

    Who does not know of the filter attacks the classifier alone, each attack all the way, for an image that has only
    just crossed the boundary is easily brought back. Who knows of it tries those images first, then attacks through the
    filter, with the slope of its stand-in.

    Args:
        model: float32 images (N, H, W, C) in [0, 1] to logits (N, K), differentiably.
        filters: by name.
        images: float32 (N, H, W, C) in [0, 1].
        labels: integers (N,), the true classes.
        epsilons: radii of the balls in [0, 1] units.
        attacks: names of attacks.
        budget: of each.
        done: verdicts of an audit that was interrupted, by key, which go on where they were; new ones are put there.

    Returns:
        What stands behind each filter.

    Raises:
        InputError: something given is of a wrong type, shape or range.
    """
    budget, done = budget or Budget(), {} if done is None else done
    ensemble, alone = build(attacks, budget), Victim(model)
    unaware: dict[float, dict[str, Array]] = {}
    for epsilon in Bar(epsilons, desc="attacking without the filters", unit="epsilon"):
        made = all_the_way(attacks, budget, alone, images, labels, epsilon=epsilon)
        unaware[epsilon] = {f"{UNAWARE}_{name}": found for name, found in made.items()}
    found = []
    for name, chosen in filters.items():
        victim = Victim(filtered(model, chosen))
        adaptive = {
            epsilon: attack_in_shards(
                victim,
                images,
                labels,
                ensemble,
                epsilon=epsilon,
                name=f"{name} at {format_epsilon(epsilon)}",
                done=done,
                candidates=made,
            ).broken_by
            == STANDS
            for epsilon, made in unaware.items()
        }
        clean = ~victim.fooled(images, labels)
        stand = {
            epsilon: clean & ~np.any([victim.fooled(one, labels) for one in made.values()], axis=0)
            for epsilon, made in unaware.items()
        }
        found.append(FilterAudit(name=name, clean=clean, unaware=stand, adaptive=adaptive))
    return found
