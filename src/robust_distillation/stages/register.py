"""register: sum the pipeline up in this run, log the deployed model in it, and register it as a version."""

from typing import Any

from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.files import read_json, write_json
from robust_distillation.params import Params
from robust_distillation.paths import ABSTENTION, AUTOENCODER, CLASSES, DETECTOR, REGISTERED, STUDENT, TEST
from robust_distillation.tracking.registry import log_defence
from robust_distillation.tracking.summary import log_summary, read_metrics

EXAMPLES = 2


def main(params: Params) -> None:
    """Write the summary run, with the model in it, and register the model under `register.name`."""
    log_summary(params, read_metrics())
    version = log_defence(
        params.register.name,
        student=STUDENT,
        autoencoder=AUTOENCODER,
        config=_config(),
        example=ImageSet.load(TEST).features[:EXAMPLES],
    )
    write_json(REGISTERED, {"name": params.register.name, "version": version})


def _config() -> dict[str, Any]:
    """Return the served model's settings; a student distilled at T answers at temperature 1."""
    return {
        "classes": read_json(CLASSES),
        **read_json(DETECTOR),
        "temperature": 1,
        "abstention": read_json(ABSTENTION),
    }
