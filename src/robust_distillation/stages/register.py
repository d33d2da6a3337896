"""register: log the deployed model in a run that sums the pipeline up, and register it as a version."""

from typing import Any

import mlflow

from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.files import read_json, write_json
from robust_distillation.params import Params
from robust_distillation.paths import ABSTENTION, AUTOENCODER, CLASSES, DETECTOR, REGISTERED, STUDENT, TEST
from robust_distillation.tracking.promotion import minima
from robust_distillation.tracking.registry import log_defence
from robust_distillation.tracking.runs import commit_tags
from robust_distillation.tracking.summary import log_summary, read_metrics

EXAMPLES = 2


def main(params: Params) -> None:
    """Write the summary run, with the model in it, and register the model under `register.name`."""
    metrics = read_metrics()
    with mlflow.start_run(run_name="summary", nested=True, tags={"stage": "summary", **commit_tags()}) as run:
        log_summary(params, metrics)
        version = log_defence(
            params.register.name,
            student=STUDENT,
            autoencoder=AUTOENCODER,
            config=_config(),
            example=ImageSet.load(TEST).features[:EXAMPLES],
        )
    gate = {name: metrics.get(name) for name in minima(params.promotion)}
    write_json(
        REGISTERED,
        {"name": params.register.name, "version": version, "run_id": run.info.run_id, "gate": gate},
    )


def _config() -> dict[str, Any]:
    """Return the served model's settings; a student distilled at T answers at temperature 1."""
    return {
        "classes": read_json(CLASSES),
        **read_json(DETECTOR),
        "temperature": 1,
        "abstention": read_json(ABSTENTION),
    }
