"""Where a training keeps its epochs, so that one that was killed goes on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robust_distillation.params import Params
from robust_distillation.paths import BUILD
from robust_distillation.tracking.runs import input_digest


@contextmanager
def checkpoint(stage: str, name: str, params: Params) -> Iterator[Path]:
    """Yield the file of one training of a stage, named after all that goes into it; it is removed once that is done."""
    path = BUILD / "training" / f"{stage}-{name}-{input_digest(stage, params)}.p"
    yield path
    path.unlink(missing_ok=True)
