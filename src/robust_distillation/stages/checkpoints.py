"""Where a training keeps its epochs, so that one that was killed goes on, and how long trainings took."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from robust_distillation.files import read_json, write_json
from robust_distillation.params import Params
from robust_distillation.paths import BUILD, TIMINGS
from robust_distillation.tracking.runs import input_digest


@contextmanager
def checkpoint(stage: str, name: str, params: Params) -> Iterator[Path]:
    """Yield the file of one training of a stage, named after all that goes into it; it is removed once that is done.

    How long it took is noted, too; of a training that was killed, the last part.
    """
    path = BUILD / "training" / f"{stage}-{name}-{input_digest(stage, params)}.p"
    start = time.monotonic()
    yield path
    write_json(_noted(stage, name), {"seconds": round(time.monotonic() - start, 1)})
    path.unlink(missing_ok=True)


def training_minutes(trainings: Iterable[tuple[str, str]]) -> float | None:
    """Return how long trainings of these stages and names took here, None where one was made elsewhere."""
    files = [_noted(*training) for training in trainings]
    if not all(file.is_file() for file in files):
        return None
    return float(sum(read_json(file)["seconds"] for file in files)) / 60


def _noted(stage: str, name: str) -> Path:
    return TIMINGS / f"{stage}.{name}.json"
