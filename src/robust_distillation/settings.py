"""What settings are made of: checked values, and frozen dataclasses that refuse what they do not know."""

from collections.abc import Callable, Hashable
from fractions import Fraction
from typing import Annotated, Any, Literal, TypeVar, cast, dataclass_transform

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.dataclasses import dataclass

from robust_distillation.files import STRICT
from robust_distillation.registry import Registry

Section = TypeVar("Section")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def section(cls: type[Section]) -> type[Section]:
    """Make a frozen dataclass of a class; its values are checked, and an unknown one is refused."""
    return cast("type[Section]", dataclass(frozen=True, kw_only=True, config=STRICT)(cls))


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


def in_words(words: str) -> WrapValidator:
    """Say what a value must be, instead of pydantic's list of all that a union could have been."""

    def check(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValidationError:
            raise ValueError(f"must be {words}") from None

    return WrapValidator(check)


def distinct(written: Callable[[Any], Hashable] = str) -> AfterValidator:
    """Refuse a list with an entry that stands twice."""

    def check(values: Any) -> Any:
        entries = [written(value) for value in values] if isinstance(values, list) else []
        if twice := [entry for index, entry in enumerate(entries) if entry in entries[:index]]:
            raise ValueError(f"lists {twice[0]} twice; name each once")
        return values

    return AfterValidator(check)


Epsilon = Annotated[float, BeforeValidator(parse_fraction), AfterValidator(_check_epsilon)]
Epsilons = Annotated[list[Epsilon], Field(min_length=1), distinct(format_epsilon)]
Count = Annotated[int, Field(ge=1)]
CountOrAll = Annotated[Count | Literal["all"], in_words("a whole number from 1, or all")]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Precision = Literal["float32", "bfloat16"]


def one_of(registry: Registry[Any]) -> AfterValidator:
    """Accept a name that a registry takes: one of its own, or `package.module:Name` of a user's."""
    return AfterValidator(registry.check)


def several_of(registry: Registry[Any]) -> AfterValidator:
    """Accept a list of such names."""
    return AfterValidator(registry.check_all)
