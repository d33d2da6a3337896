"""How a stage hands over what it found: to DVC as files, to MLflow as metrics, curves and figures."""

import csv
from collections.abc import Mapping
from typing import Any

import mlflow
from matplotlib.figure import Figure

from robust_distillation.files import replacing, write_json
from robust_distillation.paths import CURVES, FIGURES, METRICS
from robust_distillation.tracking.runs import numbers


def report_metrics(stage: str, values: dict[str, Any]) -> None:
    """Write reports/metrics/STAGE.json and log every number in it."""
    write_json(METRICS / f"{stage}.json", values)
    mlflow.log_metrics(numbers(values))


def report_curve(stage: str, history: Mapping[str, list[float]]) -> None:
    """Write reports/curves/STAGE.csv, one row per epoch, and log the curve."""
    with replacing(CURVES / f"{stage}.csv") as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["epoch", *history])
        for epoch, row in enumerate(zip(*history.values(), strict=True), start=1):
            writer.writerow([epoch, *row])
            mlflow.log_metrics({f"epoch.{key}": value for key, value in zip(history, row, strict=True)}, step=epoch)


def report_figure(name: str, figure: Figure) -> None:
    """Write reports/figures/NAME.png and log it."""
    with replacing(FIGURES / f"{name}.png") as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})
    mlflow.log_artifact(str(FIGURES / f"{name}.png"), "figures")
