"""params.yaml as frozen dataclasses, one per section; an unknown key or a bad value is an error that names it."""

import math
from collections.abc import Callable, Hashable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic.dataclasses import dataclass

from robust_distillation.errors import InputError, describe
from robust_distillation.files import read_bytes
from robust_distillation.paths import DOWNLOADS, PARAMS


def parse_fraction(value: Any) -> Any:
    """Turn the text `8/255` into a float; anything else passes unchanged to the validator that follows."""
    if isinstance(value, str):
        try:
            return float(Fraction(value))
        except (ValueError, OverflowError, ZeroDivisionError):
            raise ValueError("must be a number or a fraction such as 8/255") from None
    return value


def format_epsilon(epsilon: float) -> str:
    """Write an epsilon as people do: `8/255` where it is a whole number of grey levels up to 255, else a decimal."""
    levels = round(epsilon * 255)
    return f"{levels}/255" if levels <= 255 and abs(levels / 255 - epsilon) < 1e-9 else f"{epsilon:g}"


def _check_epsilon(value: float) -> float:
    if not 0 < value <= 1:
        raise ValueError("must lie in (0, 1], since pixels do; 8 of 255 grey levels is written 8/255")
    return value


def _check_name(value: str) -> str:
    # mlflow.utils.validation, _validate_model_name: what else would pass for a path or a version.
    if not value.strip() or "/" in value or ":" in value or value == "." or value.startswith(".."):
        raise ValueError("must be a name that MLflow takes: not blank, without / and :, neither . nor starting with ..")
    return value


def _in_words(words: str) -> WrapValidator:
    """Say what a value must be, instead of pydantic's list of all that a union could have been."""

    def check(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValidationError:
            raise ValueError(f"must be {words}") from None

    return WrapValidator(check)


def _distinct(written: Callable[[Any], Hashable] = str) -> AfterValidator:
    """Refuse a list with an entry that stands twice."""

    def check(values: Any) -> Any:
        entries = [written(value) for value in values] if isinstance(values, list) else []
        if twice := [entry for index, entry in enumerate(entries) if entry in entries[:index]]:
            raise ValueError(f"lists {twice[0]} twice; name each once")
        return values

    return AfterValidator(check)


Epsilon = Annotated[float, BeforeValidator(parse_fraction), AfterValidator(_check_epsilon)]
Epsilons = Annotated[list[Epsilon], Field(min_length=1), _distinct(format_epsilon)]
Count = Annotated[int, Field(ge=1)]
CountOrAll = Annotated[Count | Literal["all"], _in_words("a whole number from 1, or all")]
ClassIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
Classes = Annotated[
    Count | ClassIds | Literal["all"], _in_words("a whole number from 1, a list of class ids, or all"), _distinct()
]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Attack = Literal["fgsm", "i_fgsm", "mi_fgsm", "pgd"]
EnsembleAttack = Literal[
    "fgsm",
    "i_fgsm",
    "mi_fgsm",
    "pgd",
    "apgd_ce",
    "apgd_dlr",
    "apgd_t",
    "fab_t",
    "deepfool",
    "uniform_noise",
    "hop_skip_jump",
    "square",
]
Attacks = Annotated[list[Attack], Field(min_length=1), _distinct()]
EnsembleAttacks = Annotated[
    Literal["standard"] | Annotated[list[EnsembleAttack], Field(min_length=1)],
    _in_words(f"standard, or a list of {', '.join(get_args(EnsembleAttack))}"),
    _distinct(),
]
Architecture = Literal["lenet", "cnn", "vgg", "resnet"]

section = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))


@section
class Synthetic:
    """Which synthetic signs to draw, and how many."""

    classes: Literal["used", "all"]
    tracks_per_class: Count
    frames_per_track: Count
    test_per_class: Count
    seed: Seed


@section
class Data:
    """Where the images come from."""

    source: Literal["synthetic", "gtsrb", "udacity"]
    archives: Annotated[Path, _in_words("the path of a folder")]
    synthetic: Synthetic

    @model_validator(mode="after")
    def archives_fit_the_source(self) -> "Data":
        """Refuse a folder that the source does not read, or pickles without theirs: they cannot be downloaded."""
        if self.source == "synthetic" and self.archives != DOWNLOADS:
            raise ValueError(f"source synthetic reads no archives; set archives to {DOWNLOADS}, not {self.archives}")
        if self.source == "udacity" and self.archives == DOWNLOADS:
            raise ValueError(
                f"with source udacity, archives must name the folder of train.p, valid.p and test.p, not {DOWNLOADS}"
            )
        return self


@section
class Dataset:
    """What the generator makes of them."""

    classes: Classes
    train_samples: CountOrAll
    validate_samples: Count
    test_samples: CountOrAll
    trusted_samples: Annotated[int, Field(ge=2)]
    image_size: Annotated[int, Field(ge=8, le=512)]
    colour: Literal["rgb", "grey"]
    crop_to_roi: bool
    seed: Seed


@section
class Validate:
    """Bounds that the data must keep."""

    min_side: Count
    max_side: Count
    min_per_class: Count
    min_std: Annotated[float, Field(ge=0)]
    max_rejected_share: Share
    max_shared_share: Share

    @model_validator(mode="after")
    def bounds_are_in_order(self) -> "Validate":
        """Refuse bounds between which no side lies."""
        if self.min_side > self.max_side:
            raise ValueError(f"min_side {self.min_side} is above max_side {self.max_side}; lower it or raise the other")
        return self


@section
class Training:
    """How a classifier is trained."""

    architecture: Architecture
    epochs: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]
    seed: Seed


@section
class Teacher(Training):
    """The teacher: a classifier trained at a softmax temperature."""

    temperature: Annotated[float, Field(gt=0)]


@section
class Poison:
    """What the attacker does to the training set."""

    kinds: Attacks
    epsilons: Epsilons
    alpha: Epsilon
    iterations: Count
    fraction: Share
    seed: Seed


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
    kinds: Attacks
    epsilons: Epsilons
    alpha: Epsilon
    iterations: Count
    noise: Annotated[float, Field(gt=0, le=1)]
    epochs: Count
    patience: Count
    batch_size: Count
    seed: Seed


@section
class Filter:
    """Which images are discarded and what becomes of the rest."""

    detector: Literal["mse"]
    threshold_start: Annotated[float, Field(gt=0)]
    keep_clean: PositiveShare
    reform: Literal["reconstruct", "none"]


@section
class Abstention:
    """When the student returns null."""

    measure: Literal["passes", "nearest_class"]
    passes: Annotated[int, Field(ge=2)]
    coverage: PositiveShare
    seed: Seed


@section
class Distances:
    """The search for the nearest adversarial images."""

    images: Count
    steps: Count


@section
class Flags:
    """What says that robust accuracies cannot be trusted."""

    images: Count
    tolerance: Share
    zero_gradients: Share
    large_epsilon: Epsilon


@section
class Robustness:
    """How the models are attacked."""

    attacks: EnsembleAttacks
    epsilons: Epsilons
    steps: Count
    restarts: Count
    queries: Count
    transfer_steps: Count
    extraction: bool
    extraction_images: Count
    images: CountOrAll
    distances: Distances
    flags: Flags
    seed: Seed


@section
class Register:
    """The registered model."""

    name: Annotated[str, AfterValidator(_check_name)]


@section
class Promotion:
    """The gate that a version passes on its way to staging."""

    min_clean_accuracy: Share
    min_coverage: Share
    min_robust_accuracy: Share
    robust_epsilon: Epsilon


@section
class Params:
    """All of params.yaml."""

    data: Data
    dataset: Dataset
    validate: Validate
    surrogate: Training
    poison: Poison
    probe: Training
    tune: Tune
    autoencoder: Autoencoder
    filter: Filter
    teacher: Teacher
    student: Training
    abstention: Abstention
    robustness: Robustness
    register: Register
    promotion: Promotion

    @model_validator(mode="after")
    def attacker_is_apart(self) -> "Params":
        """Refuse a defender that shares the attacker's architecture or seed."""
        for name in ("probe", "teacher", "student"):
            defender = getattr(self, name)
            for key in ("architecture", "seed"):
                value = getattr(defender, key)
                if value == getattr(self.surrogate, key):
                    raise ValueError(
                        f"{name}.{key} equals surrogate.{key}, both {value}: attacker and defender share no {key}; "
                        "change one"
                    )
        return self

    @model_validator(mode="after")
    def recipe_is_unknown(self) -> "Params":
        """Refuse a defender who trains on the very recipe of the attacker."""
        if self.autoencoder.mode == "adversarial" and _recipe(self.autoencoder) == _recipe(self.poison):
            raise ValueError(
                "autoencoder.kinds, epsilons, alpha and iterations all equal those of poison: the defender does not "
                "know the attacker's recipe; change one"
            )
        return self

    @model_validator(mode="after")
    def audit_fits_the_rest(self) -> "Params":
        """Refuse a gate on an epsilon that is not measured, and an audit of more images than there are."""
        gate, measured = self.promotion.robust_epsilon, self.robustness.epsilons
        if not any(math.isclose(gate, epsilon) for epsilon in measured):
            listed = ", ".join(map(format_epsilon, measured))
            raise ValueError(
                f"promotion.robust_epsilon {format_epsilon(gate)} is not among robustness.epsilons ({listed}); "
                "add it there or choose one of them"
            )
        images, available = self.robustness.images, self.dataset.test_samples
        if images != "all" and available != "all" and images > available:
            raise ValueError(
                f"robustness.images {images} is above dataset.test_samples {available}; lower it, write all, "
                "or raise the other"
            )
        return self


def _recipe(settings: Poison | Autoencoder) -> tuple[Any, ...]:
    return sorted(settings.kinds), sorted(settings.epsilons), settings.alpha, settings.iterations


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML's loader would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for index, key in enumerate(keys):
            if any(key.value == earlier.value for earlier in keys[:index]):
                problem = f"the key {key.value} stands twice; remove one"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        return super().construct_mapping(node, deep)


def load_params(path: Path = PARAMS) -> Params:
    """Read and check a params file.

    Raises:
        InputError: the file is missing or not YAML, or a key or a value is wrong; the message names it.
    """
    try:
        values = yaml.load(read_bytes(path, absent="run from the repository root"), _Loader)  # noqa: S506  # a SafeLoader
    except (yaml.YAMLError, ValueError) as error:  # ValueError: what looks like a date, such as 2024-13-13, and is none
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    try:
        return TypeAdapter(Params).validate_python(values)
    except ValidationError as error:
        raise InputError(describe(path, error)) from None
