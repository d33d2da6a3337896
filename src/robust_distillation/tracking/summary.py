"""One MLflow run per execution of the pipeline: every parameter and every metric, cached stages included."""

import re
from numbers import Real
from pathlib import Path

from robust_distillation.files import read_json
from robust_distillation.params import Params
from robust_distillation.paths import METRICS
from robust_distillation.tracking.runs import flatten, parameters

HEADLINES = {
    "autoencoder.mse_clean": "dae_mse_clean",
    "autoencoder.mse_adversarial": "dae_mse_adversarial",
    "filter.threshold_start": "threshold_start",
    "filter.threshold": "threshold",
    "filter_audit.auroc": "filter_auroc",
    "filter_audit.precision": "filter_precision",
    "filter_audit.recall": "filter_recall",
    "filter_audit.clean_kept": "clean_kept",
    "teacher.accuracy": "teacher_accuracy",
    "teacher.loss": "teacher_loss",
    "student.accuracy": "student_accuracy",
    "student.coverage": "coverage",
    "student.accuracy_when_answering": "accuracy_when_answering",
}


def read_metrics(folder: Path = METRICS) -> dict[str, float]:
    """Read the metrics that all stages wrote, one JSON file per stage.

    Returns:
        Every number under a dotted name that starts with the file's, with the characters that MLflow refuses replaced
        by `_`: `robustness.student.worst_case.8/255`. Those of `HEADLINES` go by their short name.

    Raises:
        InputError: a file is not JSON.
    """
    flat = flatten({file.stem: read_json(file) for file in sorted(folder.glob("*.json"))})
    numbers = {name: float(value) for name, value in flat.items() if isinstance(value, Real)}
    return {re.sub(r"[^\w./: -]", "_", HEADLINES.get(name, name)): value for name, value in numbers.items()}


def log_summary(params: Params, metrics: dict[str, float]) -> None:
    """Log all parameters and the metrics to the active MLflow run."""
    import mlflow

    mlflow.log_params(parameters(params))
    mlflow.log_metrics(metrics)
