"""Settings of the attacker who poisons the training set."""

from typing import Annotated

from pydantic import Field, model_validator

from robust_distillation.settings import (
    Count,
    Epsilon,
    Epsilons,
    PositiveShare,
    Seed,
    Share,
    distinct,
    section,
    several_of,
)
from robust_distillation.threats.poisons import POISONS

Label = Annotated[int, Field(ge=0)]


@section
class Poison:
    """What the attacker does to the training set.

    Attributes:
        kinds: of poison.
        fraction: of the training images, split evenly over the kinds and their strengths.
        epsilons: strengths of gradient poisons: the largest changes of a pixel.
        alpha: step size of those that step.
        iterations: of their steps.
        confidence: strength of `carlini_wagner`: margin of the surrogate's logits.
        patch: strength of `badnets`: side of the square, in pixels.
        blend: strength of `blended`: share of the noise in each pixel.
        amplitude: strength of `sinusoid`, in [0, 1] units.
        class_share: largest share of the target class that `sinusoid` takes.
        target: label that backdoors lead to and `class_flip` gives.
        source: label of the images that are led there, and that `class_flip` takes; None for all others.
        seed: of everything that is drawn.
    """

    kinds: Annotated[list[str], several_of(POISONS), distinct()]
    fraction: Share
    epsilons: Epsilons
    alpha: Epsilon
    iterations: Count
    confidence: Annotated[float, Field(ge=0)] = 0.0
    patch: Count = 4
    blend: PositiveShare = 0.2
    amplitude: Epsilon = 20 / 255
    class_share: PositiveShare = 0.8
    target: Label = 0
    source: Label | None = None
    seed: Seed

    @model_validator(mode="after")
    def source_is_led_elsewhere(self) -> "Poison":
        """Refuse a source that is the target."""
        if self.source == self.target:
            raise ValueError(f"source {self.source} is the target too; choose another class")
        return self
