"""What the pipeline's JSON files hold, for those who read them back."""

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from robust_distillation.files import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Classes:
    """The class of each label.

    Attributes:
        ids: official class ids, in the order of the labels.
        names: what people call them.
        mirror: the label that each has in a mirror, -1 for none; nothing where no mirror is allowed.

    Example:
        >>> rd.Classes(ids=[14], names=["Stop"]).names
        ['Stop']
    """

    ids: Annotated[list[int], Field(min_length=1)]
    names: list[str]
    mirror: list[int] = dataclasses.field(default_factory=list)

    @model_validator(mode="after")
    def each_has_a_name(self) -> "Classes":
        """Refuse names that are not one for each id."""
        if len(self.names) != len(self.ids):
            raise ValueError(f"names must be one for each of the {len(self.ids)} ids. Received: {len(self.names)}")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Detecting:
    """How a detector decides, its networks aside.

    Attributes:
        name: of the detector.
        threshold: an image with a score above it is suspicious.
        settings: of this kind of detector.
    """

    name: str
    threshold: Annotated[float, Field(ge=0)]
    settings: dict[str, Any]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Abstaining:
    """When the student abstains; the fields are those of `Abstention`, the student aside."""

    measure: Literal["passes", "nearest_class", "margin", "outlier"]
    passes: Annotated[int, Field(ge=2)]
    seed: Annotated[int, Field(ge=0)]
    class_distributions: Annotated[list[list[float]], Field(min_length=1)]
    threshold: Annotated[float, Field(ge=0)]
    temperature: Annotated[float, Field(gt=0)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Composition:
    """What a defence is made of, its networks aside.

    Attributes:
        classes: of the student.
        temperature: of the student's distillation.
        reform: what becomes of an image before the student sees it.
        detector: what flags images, if anything.
        abstention: when the student abstains, if ever.
        networks: names of the Keras files that lie beside it.
    """

    classes: Classes
    temperature: Annotated[float, Field(gt=0)]
    reform: Literal["reconstruct", "none"]
    detector: Detecting | None
    abstention: Abstaining | None
    networks: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Registered:
    """Which version the register stage made, and from what.

    Attributes:
        name: of the registered model.
        version: its number, as MLflow writes it, in the store that the stage used; another store numbers its own.
        run_id: the summary run that the version stems from.
        pipeline: hash of the data, models and metrics that went into it.
    """

    name: str
    version: Annotated[str, Field(pattern=r"^[0-9]+$")]
    run_id: str
    pipeline: str
