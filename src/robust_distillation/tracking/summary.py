"""One MLflow run per execution of the pipeline: every parameter and every metric, cached stages included."""

from pathlib import Path

from robust_distillation.files import read_json
from robust_distillation.params import Params
from robust_distillation.paths import METRICS
from robust_distillation.tracking.runs import numbers, parameters

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
    found = numbers({file.stem: read_json(file) for file in sorted(folder.glob("*.json"))})
    return {HEADLINES.get(name, name): value for name, value in found.items()}


def log_summary(params: Params, metrics: dict[str, float]) -> None:
    """Log all parameters and the metrics to the active MLflow run, and name it `summary`."""
    import mlflow

    mlflow.set_tag("mlflow.runName", "summary")
    mlflow.log_params(parameters(params))
    mlflow.log_metrics(metrics)
