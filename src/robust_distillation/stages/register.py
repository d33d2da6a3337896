"""register: sum the pipeline up in this run, log the deployed model in it, and register it as a version."""

from dataclasses import asdict

from robust_distillation.files import write_json
from robust_distillation.params import Params
from robust_distillation.paths import REGISTERED
from robust_distillation.tracking.registry import register


def main(params: Params) -> None:
    """Write the summary run, with the model in it, and register the model under `register.name`."""
    write_json(REGISTERED, asdict(register(params)))
