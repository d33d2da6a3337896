"""Settings of how a classifier is trained."""

from typing import Annotated

from pydantic import Field

from robust_distillation.classifiers import ARCHITECTURES, METHODS
from robust_distillation.settings import Count, Seed, one_of, section


@section
class Training:
    """How a classifier is trained."""

    method: Annotated[str, one_of(METHODS)] = "standard"
    architecture: Annotated[str, one_of(ARCHITECTURES)]
    epochs: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]
    seed: Seed
