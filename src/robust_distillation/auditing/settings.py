"""Settings of the audit."""

from typing import Annotated, Literal

from pydantic import Field

from robust_distillation.settings import (
    Count,
    CountOrAll,
    Epsilon,
    Epsilons,
    Seed,
    Share,
    distinct,
    in_words,
    section,
    several_of,
)
from robust_distillation.threats.evasion import ATTACKS


@section
class NearestSearch:
    """The search for the nearest adversarial images, by FAB-T.

    Attributes:
        images: how many, the first.
        steps: per target; those of the budget if that is more.
        models: whose, by name; None for all.

    Example:
        >>> search = rd.NearestSearch(images=10)
        >>> weak = rd.Budget(steps=20, queries=1000)
        >>> found = rd.audit(model, images, labels, epsilons=[0.1], attacks=["fgsm"], budget=weak, nearest=search)
        >>> found.nearest[0].norm, round(float(found.nearest[0].distances.min()), 2)
        ('linf', 0.05)
    """

    images: Count = 100
    steps: Count = 20
    models: Annotated[list[str], Field(min_length=1)] | None = None


@section
class Reliability:
    """What says that figures cannot be trusted; see `reliability_flags`.

    Attributes:
        images: how many are looked at, the first.
        tolerance: share of images that another attack may fell on top; three images if that is more.
        zero_gradients: share of images that may have no gradient.
        large_epsilon: change of every pixel with which nothing may stand.

    Example:
        >>> rd.Reliability(images=50).tolerance
        0.03
    """

    images: Count = 100
    tolerance: Share = 0.03
    zero_gradients: Share = 0.05
    large_epsilon: Epsilon = 0.5


@section
class Robustness:
    """How the models are attacked."""

    attacks: Annotated[
        Literal["standard"] | Annotated[list[str], several_of(ATTACKS)],
        in_words(f"standard, or a list of {', '.join(ATTACKS)}, or package.module:Name of your own"),
        distinct(),
    ]
    epsilons: Epsilons
    steps: Count
    restarts: Count
    queries: Count
    transfer_steps: Count
    extraction: bool
    extraction_images: Count
    images: CountOrAll
    distances: NearestSearch
    flags: Reliability
    seed: Seed
