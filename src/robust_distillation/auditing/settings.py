"""Settings of the audit."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from robust_distillation.classifiers.settings import Training
from robust_distillation.defences import INPUT_FILTERS, STACKED
from robust_distillation.defences.settings import InputFilters
from robust_distillation.settings import (
    Count,
    CountOrAll,
    Epsilon,
    Epsilons,
    Seed,
    Share,
    distinct,
    format_epsilon,
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
class Certify:
    """How a smoothed classifier is certified; see `Smoothed.certify`.

    Attributes:
        images: of the test set, the first in the order of its ids, as far as there are as many.
        n0: draws by which the answer is chosen.
        n: draws by which its probability is bounded.
        alpha: probability that a certificate is wrong.
        radii: in L2, at which accuracies are reported.
        seed: of the noise.
    """

    images: CountOrAll
    n0: Count
    n: Count
    alpha: Annotated[float, Field(gt=0, lt=1)]
    radii: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1), distinct()]
    seed: Annotated[int, Field(ge=0)]


@section
class Privacy:
    """How membership inference is tried; see `membership`.

    Attributes:
        models: that are attacked: `undefended`, `teacher` and `student` are trained by the methods of those,
            `smoothed` by the method of that and attacked through its mean answer to noise.
        images: of the filtered training set, drawn at random, as far as there are as many.
        networks: of each model, each trained on a random half, a target in turn, and a shadow model of the others.
        network: how each is trained, the method aside.
        draws: of noise, for an answer of `smoothed`.
        seed: of the images, the halves and the noise.
    """

    models: Annotated[list[Literal["undefended", "teacher", "student", "smoothed"]], Field(min_length=1), distinct()]
    images: CountOrAll
    networks: Annotated[int, Field(ge=3)]
    network: Training
    draws: Count
    seed: Seed


def _check_stack(name: str) -> str:
    INPUT_FILTERS.check_all(name.split(STACKED))
    return name


@section
class Compare:
    """How defences are compared; see `compare`.

    Attributes:
        filters: in front of the undefended model; `median+jpeg` is one after the other.
        strengths: of the filters.
        linf: radii of the balls in L-infinity.
        l2: radii of those in L2.
        attacks: on the classifier alone.
        adaptive: on all that is deployed.
        steps: gradients of an attack.
        queries: of black-box attacks.
        images: of the test set, the first in the order of its ids, as far as there are as many.
        standard_images: how many of these, the first, AutoAttack's standard ensemble attacks; 0 for none.
        draws: of noise that the attackers of the smoothed classifier average over.
        votes: of an answer of the smoothed classifier.
        seed: of everything that is drawn.
    """

    filters: Annotated[list[Annotated[str, AfterValidator(_check_stack)]], distinct()]
    strengths: InputFilters
    linf: Annotated[list[Epsilon], distinct(format_epsilon)]
    l2: Annotated[list[Annotated[float, Field(gt=0)]], distinct()]
    attacks: Annotated[list[str], several_of(ATTACKS), distinct()]
    adaptive: Annotated[list[str], several_of(ATTACKS), distinct()]
    steps: Count
    queries: Count
    images: CountOrAll
    standard_images: Annotated[int, Field(ge=0)]
    draws: Count
    votes: Count
    seed: Seed

    @model_validator(mode="after")
    def there_is_a_ball(self) -> "Compare":
        """Refuse a comparison without an attack."""
        if not self.linf and not self.l2:
            raise ValueError("linf and l2 are both empty; name a radius in one of them")
        return self


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
