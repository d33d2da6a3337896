"""params.yaml as frozen dataclasses, one per section; an unknown key or a bad value is an error that names it."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from robust_distillation.errors import InputError
from robust_distillation.paths import PARAMS


def parse_fraction(value: Any) -> Any:
    """Turn the text `8/255` into a float; anything else passes unchanged to the validator that follows."""
    if isinstance(value, str):
        try:
            return float(Fraction(value))
        except (ValueError, ZeroDivisionError):
            raise ValueError("must be a number or a fraction such as 8/255") from None
    return value


def format_epsilon(epsilon: float) -> str:
    """Write an epsilon as people do: `8/255` where it is a whole number of grey levels, else a decimal."""
    levels = round(epsilon * 255)
    return f"{levels}/255" if abs(levels / 255 - epsilon) < 1e-9 else f"{epsilon:g}"


def _check_epsilon(value: float) -> float:
    if not 0 < value <= 1:
        raise ValueError("must lie in (0, 1], since pixels do; 8 of 255 grey levels is written 8/255")
    return value


Epsilon = Annotated[float, BeforeValidator(parse_fraction), AfterValidator(_check_epsilon)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0)]
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
Architecture = Literal["lenet", "cnn", "vgg", "resnet"]

section = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))


@section
class Synthetic:
    """How many synthetic signs to draw."""

    tracks_per_class: Count
    frames_per_track: Count
    test_per_class: Count
    seed: Seed


@section
class Data:
    """Where the images come from."""

    source: Literal["synthetic", "gtsrb", "udacity"]
    archives: Path | None
    synthetic: Synthetic

    @model_validator(mode="after")
    def pickles_are_given(self) -> "Data":
        """Refuse pickles without the folder that holds them, for they cannot be downloaded."""
        if self.source == "udacity" and self.archives is None:
            raise ValueError("with source udacity, archives must name the folder of train.p, valid.p and test.p")
        return self


@section
class Dataset:
    """What the generator makes of them."""

    classes: Count | list[Annotated[int, Field(ge=0)]] | Literal["all"]
    train_samples: Count | Literal["all"]
    validate_samples: Count
    test_samples: Count | Literal["all"]
    trusted_samples: Annotated[int, Field(ge=0)]
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

    kinds: Annotated[list[Attack], Field(min_length=1)]
    epsilons: Annotated[list[Epsilon], Field(min_length=1)]
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


@section
class Autoencoder:
    """How the denoising autoencoder is trained."""

    mode: Literal["adversarial", "gaussian"]
    kinds: Annotated[list[Attack], Field(min_length=1)]
    epsilons: Annotated[list[Epsilon], Field(min_length=1)]
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

    attacks: Literal["standard"] | Annotated[list[EnsembleAttack], Field(min_length=1)]
    epsilons: Annotated[list[Epsilon], Field(min_length=1)]
    steps: Count
    restarts: Count
    queries: Count
    transfer_steps: Count
    extraction: bool
    extraction_images: Count
    images: Count | Literal["all"]
    distances: Distances
    flags: Flags
    seed: Seed


@section
class Register:
    """The registered model."""

    name: Annotated[str, Field(min_length=1)]


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
                if getattr(defender, key) == getattr(self.surrogate, key):
                    raise ValueError(f"{name}.{key} equals surrogate.{key}: attacker and defender share no {key}")
        return self


def load_params(path: Path = PARAMS) -> Params:
    """Read and check a params file.

    Raises:
        InputError: the file is missing or not YAML, or a key or a value is wrong; the message names it.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run from the repository root") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    try:
        return TypeAdapter(Params).validate_python(values)
    except ValidationError as error:
        raise InputError("; ".join(_describe(path, item) for item in error.errors())) from None


def _describe(path: Path, item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"]) or "whole file"
    message = item["msg"].removeprefix("Value error, ")
    return f"{path}: {where}: {message}. Received: {item['input']!r:.80}"
