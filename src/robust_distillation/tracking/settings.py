"""Settings of the registered model and of the gate to staging."""

from typing import Annotated

from pydantic import AfterValidator

from robust_distillation.settings import Epsilon, Share, section


def _check_name(value: str) -> str:
    # mlflow.utils.validation, _validate_model_name: what else would pass for a path or a version.
    if not value.strip() or "/" in value or ":" in value or value == "." or value.startswith(".."):
        raise ValueError("must be a name that MLflow takes: not blank, without / and :, neither . nor starting with ..")
    return value


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
