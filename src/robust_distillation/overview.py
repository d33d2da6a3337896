"""What a run gave, in two tables that fit a screen, and where to look further."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table

from robust_distillation.auditing.table import accuracies, share
from robust_distillation.files import read_json
from robust_distillation.params import Params
from robust_distillation.paths import METRICS, VERDICT

PLACES = {
    "all of it on one page": "reports/report.html",
    "figures, data checks": "reports/figures, reports/data_docs/index.html",
    "all metrics": "dvc metrics show",
    "runs and models": "mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db",
}


def overview(params: Params) -> Group:
    """Return tables of the metrics that lie in reports/metrics, of sets that came out short, and of where to look.

    Raises:
        InputError: a stage has not run yet.
    """
    metrics = {
        stage: read_json(METRICS / f"{stage}.json")
        for stage in ("poison", "filter", "filter_audit", "autoencoder", "teacher", "student", "robustness")
    }
    sizes = read_json(VERDICT)["images"]
    return Group(
        _table(
            "Results", {"images": ", ".join(f"{name} {size}" for name, size in sizes.items()), **_findings(metrics)}
        ),
        accuracies(metrics["robustness"]),
        _table(None, {**_shortfalls(sizes, params), **PLACES}),
    )


def _findings(metrics: Mapping[str, Any]) -> dict[str, str]:
    poison, kept, audit = metrics["poison"], metrics["filter"], metrics["filter_audit"]
    student = metrics["student"]
    return {
        "poison": f"{poison['poisoned']} of {poison['of']} training images",
        "autoencoder": f"MSE {metrics['autoencoder']['mse_clean']:.5f} on clean, "
        f"{metrics['autoencoder']['mse_adversarial']:.5f} on attacked test images",
        "filter": f"AUROC {share(audit['auroc'])}, published {share(audit['published']['auroc'])}; discarded "
        f"{kept['discarded']} (precision {share(audit['precision'])}, recall {share(audit['recall'])})"
        + ("" if kept["trusted"] else "; threshold from the bulk of the training set, for want of trusted images"),
        "teacher": f"accuracy {share(metrics['teacher']['accuracy'])}",
        "student": f"accuracy {share(student['accuracy'])}; answers {share(student['coverage'])}, "
        f"{share(student['accuracy_when_answering'])} of them right",
    }


def _shortfalls(sizes: Mapping[str, int], params: Params) -> dict[str, str]:
    asked = {name: getattr(params.dataset, f"{name}_samples") for name in sizes}
    short = [
        f"{name} {sizes[name]} of {count} asked for"
        for name, count in asked.items()
        if count not in ("all", sizes[name])
    ]
    return {"short": ", ".join(short)} if short else {}


def _table(title: str | None, rows: Mapping[str, str]) -> Table:
    table = Table(title=title, show_header=False)
    for row in rows.items():
        table.add_row(*row)
    return table
