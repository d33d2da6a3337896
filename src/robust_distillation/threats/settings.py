"""Settings of the attacker who poisons the training set."""

from typing import Annotated

from robust_distillation.settings import Count, Epsilon, Epsilons, Seed, Share, distinct, section, several_of
from robust_distillation.threats.poisons import POISONS


@section
class Poison:
    """What the attacker does to the training set."""

    kinds: Annotated[list[str], several_of(POISONS), distinct()]
    epsilons: Epsilons
    alpha: Epsilon
    iterations: Count
    fraction: Share
    seed: Seed
