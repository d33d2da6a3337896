"""Settings of the defender: autoencoder, filter, teacher, student and abstention."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from robust_distillation.classifiers.settings import Augmentation, Training
from robust_distillation.defences.detectors import DETECTORS
from robust_distillation.settings import (
    Count,
    Epsilon,
    Epsilons,
    PositiveShare,
    Seed,
    distinct,
    in_words,
    one_of,
    section,
    several_of,
)
from robust_distillation.threats.evasion import ATTACKS


@section
class Tune:
    """The search for the autoencoder's hyperparameters."""

    algorithm: Literal["bayesian", "hyperband"]
    max_trials: Count
    epochs: Count
    widths: Annotated[list[Count], Field(min_length=1)]
    depths: Annotated[list[Annotated[int, Field(ge=1, le=4)]], Field(min_length=1)]
    latents: Annotated[list[Count], Field(min_length=1)]
    learning_rates: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    optimizers: Annotated[list[Literal["adam", "sgd"]], Field(min_length=1)]
    seed: Seed

    @model_validator(mode="after")
    def rates_are_in_order(self) -> "Tune":
        """Refuse a range of learning rates whose ends are equal or swapped."""
        low, high = self.learning_rates
        if low >= high:
            raise ValueError(f"learning_rates must be the lower end, then the higher. Received: [{low}, {high}]")
        return self


@section
class Autoencoder:
    """How the denoising autoencoder is trained."""

    mode: Literal["adversarial", "gaussian"]
    kinds: Annotated[list[str], several_of(ATTACKS), distinct()]
    epsilons: Epsilons
    alpha: Epsilon
    iterations: Count
    noise: Annotated[float, Field(gt=0, le=1)]
    epochs: Count
    patience: Count
    batch_size: Count
    seed: Seed


Reform = Literal["reconstruct", "none"]


@section
class Residual:
    """How the detector `residual` is trained.

    Attributes:
        smooth: what is taken from an image to leave its residual: its 3x3 `mean`, or its `reconstruction`.
        steps: of each round, for either half of the tracks.
        drop: share of the images, the most suspicious, that the next round is not trained on.
        batch_size: images of a step, about half of them twins.
        learning_rate: at the start; it falls along half a cosine.
        seed: of everything that is drawn.
    """

    smooth: Literal["mean", "reconstruction"] = "mean"
    steps: Annotated[tuple[Count, ...], Field(min_length=1)] = (800, 800, 2000)
    drop: Annotated[float, Field(ge=0, lt=1)] = 0.12
    batch_size: Count = 128
    learning_rate: Annotated[float, Field(gt=0)] = 0.002
    seed: Seed = 205


LABEL = Training(  # of the detector `label`
    architecture="srn_small",
    epochs=25,
    batch_size=32,
    optimizer="sgd",
    learning_rate=0.05,
    schedule="linear",
    weight_decay=5e-3,
    average=0.98,
    label_smoothing=0.05,
    augmentation=Augmentation(rotation=0.12, scale=0.09, shear=0.09, shift=1.8, brightness=0.15, contrast=0.4),
    seed=206,
)


@section
class Filter:
    """Which images are discarded and what becomes of the rest.

    Attributes:
        detector: of the training set.
        inference_detector: what is deployed: the `same`, `none`, or another one.
        threshold_start: of `mse` and `kl`, before inference.
        keep_clean: share of clean images that is kept.
        reform: what becomes of images that are kept, and of those that are to be answered.
        combined: detectors of which `combined` is made.
        label: how the networks of `label` are trained.
        residual: how those of `residual` are.
    """

    detector: Annotated[str, one_of(DETECTORS)]
    inference_detector: Annotated[
        Literal["same", "none"] | Annotated[str, one_of(DETECTORS)],
        in_words(f"same, none, {', '.join(DETECTORS)}, or package.module:Name of your own"),
    ]
    threshold_start: Annotated[float, Field(gt=0)]
    keep_clean: PositiveShare
    reform: Reform
    combined: Annotated[list[str], several_of(DETECTORS), distinct()] = Field(
        default_factory=lambda: ["residual", "label", "trigger"]
    )
    label: Training = LABEL
    residual: Residual = Residual()

    @property
    def deployed(self) -> str | None:
        """Name of the detector at inference, if there is one."""
        named = {"same": self.detector, "none": None}
        return named.get(self.inference_detector, self.inference_detector)

    @property
    def unused(self) -> set[str]:
        """Settings of detectors that are not asked for."""
        asked = {self.detector, self.inference_detector}
        asked |= set(self.combined) if "combined" in asked else set()
        return {"combined", "label", "residual"} - asked

    @model_validator(mode="after")
    def members_are_others(self) -> "Filter":
        """Refuse a combination of itself."""
        if "combined" in self.combined:
            raise ValueError("combined lists combined; name the detectors that it is made of")
        return self


@section
class Teacher(Training):
    """The teacher: a classifier trained at a softmax temperature."""

    temperature: Annotated[float, Field(gt=0)]


@section
class Student(Training):
    """The student: a classifier that learns what the teacher says.

    Attributes:
        labels: the teacher's `soft` labels at its temperature; or the true classes with an `outlier` class beside them,
            as probable as the teacher's dropout passes disagree, at temperature 1.

    Example:
        >>> rd.Student(architecture="cnn", epochs=2, batch_size=5, learning_rate=0.01, seed=0).labels
        'soft'
    """

    labels: Literal["soft", "outlier"] = "soft"


@section
class Abstention:
    """When the student returns null."""

    measure: Literal["passes", "nearest_class", "margin", "outlier"]
    temperature: Annotated[float, Field(gt=0)]
    passes: Annotated[int, Field(ge=2)]
    coverage: PositiveShare
    seed: Seed


@section
class Rivals:
    """Models that are trained for the comparison alone.

    Attributes:
        runtime: how the model of runtime adversarial training is trained, on what the filter left.
        members: of the ensemble, each trained like the undefended model, with a seed of its own.
    """

    runtime: Training
    members: Annotated[int, Field(ge=2)]


@section
class Published:
    """The defence that is trained for comparison.

    Attributes:
        detector: by which its training set is filtered, with the settings of the filter, and which is deployed.
        reform: of its training set and of what is to be answered.
        teacher: its teacher.
        student: its student.
        abstention: when that abstains.
    """

    detector: Annotated[str, one_of(DETECTORS)]
    reform: Reform
    teacher: Teacher
    student: Student
    abstention: Abstention


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError("must be odd, so that a pixel is in the middle")
    return size


Odd = Annotated[int, Field(ge=3, le=15), AfterValidator(_odd)]


@section
class BilateralFilter:
    """Of the input filter `bilateral`; see `Bilateral`."""

    diameter: Odd
    colour: Annotated[float, Field(gt=0)]
    space: Annotated[float, Field(gt=0)]


@section
class InputFilters:
    """How strong each input filter is; see `input_filters`.

    Attributes:
        median: side of the square around each pixel.
        dual_median: sides, of the first pass and of the second.
        gaussian: standard deviation in pixels.
        bilateral: disc, colour and place.
        bit_depth: bits of a channel.
        jpeg: quality.
        total_variation: what it costs; the higher, the flatter.
    """

    median: Odd = 3
    dual_median: tuple[Odd, Odd] = (3, 3)
    gaussian: Annotated[float, Field(gt=0, le=5)] = 0.8
    bilateral: BilateralFilter = BilateralFilter(diameter=5, colour=0.3, space=1.5)
    bit_depth: Annotated[int, Field(ge=1, le=8)] = 3
    jpeg: Annotated[int, Field(ge=1, le=100)] = 50
    total_variation: Annotated[float, Field(gt=0)] = 0.1
