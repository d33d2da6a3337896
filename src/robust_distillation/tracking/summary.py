"""One MLflow run per execution of the pipeline: every parameter and every metric, cached stages included."""

import json
from pathlib import Path

from robust_distillation.dataset.settings import WITHIN
from robust_distillation.files import read_json
from robust_distillation.params import Params
from robust_distillation.paths import DATASET, METRICS, VERDICT
from robust_distillation.tracking.promotion import FLAGS
from robust_distillation.tracking.runs import digest, numbers, parameters

HEADLINES = {
    "autoencoder.mse_clean": "dae_mse_clean",
    "autoencoder.mse_adversarial": "dae_mse_adversarial",
    "filter.threshold_start": "threshold_start",
    "filter.threshold": "threshold",
    "filter_audit.auroc": "filter_auroc",
    "filter_audit.published.auroc": "published_filter_auroc",
    "filter_audit.precision": "filter_precision",
    "filter_audit.recall": "filter_recall",
    "filter_audit.clean_kept": "clean_kept",
    "teacher.accuracy": "teacher_accuracy",
    "teacher.loss": "teacher_loss",
    "student.accuracy": "student_accuracy",
    "student.coverage": "coverage",
    "student.accuracy_when_answering": "accuracy_when_answering",
}
TOP = "_headline/"
COMPARED = (  # names, and beginnings of names that end in a dot
    "student_accuracy",
    "coverage",
    "robustness.defence.worst_case.",
    "robustness.attack_success.",
    "filter_auroc",
    "dae_mse_clean",
    "dae_mse_adversarial",
)


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
    """Log all parameters and the metrics to the active MLflow run, with those that people compare at the top.

    MLflow lists metrics in the order of their names. So `COMPARED` are logged a second time, below `_headline/`; the
    plain names are those that the promotion gate reads.
    """
    import mlflow

    mlflow.set_tags({"summary": "true", "mlflow.note.content": headline_table(metrics)})
    mlflow.log_params(parameters(params))
    mlflow.log_metrics(metrics | {f"{TOP}{name}": value for name, value in _compared(metrics).items()})


def log_dataset(params: Params, run_id: str) -> None:
    """Log to a run which data set went in: its source, the hash that DVC gives it, and images per set.

    Raises:
        InputError: the data set or its verdict is missing.
    """
    import mlflow
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    dataset = Dataset(
        name=params.data.source,
        digest=digest(DATASET),
        source_type="local",
        source=json.dumps({"uri": WITHIN.get(params.data.source, str(params.data.path))}),
        profile=json.dumps(read_json(VERDICT)["images"]),
    )
    entry = DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])
    mlflow.MlflowClient().log_inputs(run_id, [entry])


def headline_table(metrics: dict[str, float]) -> str:
    """Return the figures that people compare as a table in Markdown, and the reliability flags that are raised."""
    rows = [f"| {name} | {value:.4g} |" for name, value in _compared(metrics).items()]
    raised = [name.removeprefix(FLAGS) for name, value in metrics.items() if name.startswith(FLAGS) and value]
    return "\n".join(["| | |", "|---|---|", *rows, f"| raised flags | {', '.join(raised) or 'none'} |"])


def _compared(metrics: dict[str, float]) -> dict[str, float]:
    return {
        name.removeprefix("robustness."): value
        for prefix in COMPARED
        for name, value in metrics.items()
        if name == prefix or (prefix.endswith(".") and name.startswith(prefix))
    }
