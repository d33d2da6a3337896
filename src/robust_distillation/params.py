"""params.yaml, composed of the settings of the rooms; an unknown key or a bad value is an error that names it."""

import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError, model_validator

from robust_distillation.auditing.settings import Certify, Compare, Privacy, Robustness
from robust_distillation.classifiers import DISTILLING
from robust_distillation.classifiers.settings import Training
from robust_distillation.dataset.settings import Data, Dataset, Draw, Validate
from robust_distillation.defences.detectors import NEED_LABELS
from robust_distillation.defences.settings import (
    Abstention,
    Autoencoder,
    Filter,
    Published,
    Rivals,
    Student,
    Teacher,
    Tune,
)
from robust_distillation.errors import InputError, describe
from robust_distillation.files import read_bytes
from robust_distillation.paths import PARAMS
from robust_distillation.settings import format_epsilon, section
from robust_distillation.threats.settings import Poison
from robust_distillation.tracking.settings import Promotion, Register

ATTACKED = ("undefended", "teacher", "student")  # each on its own, in the audit


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
    draw: Draw
    teacher: Teacher
    student: Student
    abstention: Abstention
    published: Published
    robustness: Robustness
    smoothed: Training
    certify: Certify
    rivals: Rivals
    compare: Compare
    privacy: Privacy
    register: Register
    promotion: Promotion

    @model_validator(mode="after")
    def attacker_is_apart(self) -> "Params":
        """Refuse a defender that shares the attacker's architecture or seed."""
        for name in ("probe", "teacher", "student", "smoothed"):
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
    def teachers_come_first(self) -> "Params":
        """Refuse methods that need a teacher where there is none."""
        for name in ("surrogate", "probe", "teacher", "smoothed"):
            method = getattr(self, name).method
            if method in DISTILLING:
                raise ValueError(f"{name}.method {method} needs a teacher: it is for the student; choose another")
        return self

    @model_validator(mode="after")
    def labels_fit_the_rest(self) -> "Params":
        """Refuse to abstain by an outlier class that is not learned, and one where soft labels are needed."""
        if self.abstention.measure == "outlier" and self.student.labels != "outlier":
            raise ValueError("abstention.measure outlier needs student.labels outlier; set both, or another measure")
        if self.student.labels == "outlier" and (method := self.student.method) in DISTILLING:
            raise ValueError(f"student.method {method} needs student.labels soft; set them, or choose another method")
        return self

    @model_validator(mode="after")
    def deployed_detectors_need_no_label(self) -> "Params":
        """Refuse to deploy a detector of the training set alone."""
        asked = {"filter.inference_detector": self.filter.deployed, "published.detector": self.published.detector}
        for key, deployed in asked.items():
            if deployed in NEED_LABELS:
                raise ValueError(
                    f"{key}: detector {deployed} needs labels, which images lack at inference; choose another"
                )
        return self

    @model_validator(mode="after")
    def trusted_images_are_there(self) -> "Params":
        """Refuse an autoencoder that learns from trusted images where there are none."""
        if self.autoencoder.mode == "adversarial" and not self.dataset.trusted_samples:
            raise ValueError(
                "autoencoder.mode adversarial needs trusted images, but dataset.trusted_samples is 0; raise that, or "
                "set the mode to gaussian"
            )
        return self

    @model_validator(mode="after")
    def shares_are_drawn(self) -> "Params":
        """Refuse a share of further images where none are drawn, or where none can be used."""
        for name in ("surrogate", "probe", "smoothed"):
            if getattr(self, name).further_share:
                raise ValueError(f"{name}.further_share: further images are for teacher and student; set it to 0")
        for name in ("teacher", "student"):
            if (share := getattr(self, name).further_share) and not self.draw.tracks_per_class:
                raise ValueError(f"{name}.further_share is {share:g}, but draw.tracks_per_class 0 draws none; raise it")
        return self

    @model_validator(mode="after")
    def variations_leave_something(self) -> "Params":
        """Refuse variations that move or cover whole images."""
        for name in ("teacher", "student", "smoothed"):
            for key in ("shift", "cut_out"):
                pixels = getattr(getattr(self, name).augmentation, key)
                if pixels >= self.dataset.image_size:
                    raise ValueError(
                        f"{name}.augmentation.{key} {pixels:g} leaves nothing of images of dataset.image_size "
                        f"{self.dataset.image_size}; lower it"
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
        if unknown := set(self.robustness.distances.models or ()) - set(ATTACKED):
            raise ValueError(f"robustness.distances.models names {min(unknown)}; choose among {', '.join(ATTACKED)}")
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
