"""A run: every stage, its outputs, and what MLflow has of it."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
import yaml

from robust_distillation.dataset.pickles import ImageSet, load_pickle
from robust_distillation.defences.detectors import RECORD
from robust_distillation.files import read_json
from robust_distillation.paths import DETECTOR, FILTERED, METRICS, POISONED, REGISTERED, REPORT, SCORES, TRAIN, TRUTH
from robust_distillation.stages import STAGES

HEADLINES = {
    "dae_mse_clean",
    "threshold",
    "filter_auroc",
    "teacher_accuracy",
    "student_accuracy",
    "coverage",
    "robustness.student.clean",
    "robustness.defence.worst_case.8/255",
}


def test_every_stage_runs_and_leaves_its_outputs(pipeline):
    clone, printed = pipeline
    assert [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")] == [
        "check",
        *STAGES,
    ]
    missing = [out for stage in STAGES for out in clone.stage_outs(stage) if not (clone.folder / out).exists()]
    assert not missing


def test_the_run_ends_with_its_results(pipeline):
    _, printed = pipeline
    assert all(
        word in printed.rsplit("robust-distillation stage report", 1)[1] for word in ("Results", "defence", "8/255")
    )


def test_a_second_repro_does_nothing(clone):
    before = clone.outputs()
    printed = clone.run("dvc", "repro")
    assert "up to date" in printed
    assert "Running stage" not in printed
    assert clone.outputs() == before


@pytest.fixture(scope="module")
def runs(clone):
    return clone.runs()


def test_each_stage_is_one_run_with_its_lineage(clone, runs):
    by_stage = {run.data.tags["stage"]: run for run in runs if "stage" in run.data.tags}
    assert Counter(run.data.tags["stage"] for run in runs if "stage" in run.data.tags) == Counter(list(STAGES))
    first = clone.run("git", "rev-list", "--max-parents=0", "HEAD").strip()
    lock = yaml.safe_load((clone.folder / "dvc.lock").read_text())["stages"]
    for stage, run in by_stage.items():
        assert run.info.status == "FINISHED"
        assert (run.data.tags["git_commit"], run.data.tags["git_dirty"]) == (first, "false")
        inputs = {f"dvc_input.{dep['path']}": dep["md5"] for dep in lock[stage].get("deps", [])}
        assert {key: value for key, value in run.data.tags.items() if key.startswith("dvc_input.")} == inputs


def test_trials_are_nested_below_tune(clone, runs):
    tune = next(run for run in runs if run.data.tags.get("stage") == "tune")
    trials = [run for run in runs if "stage" not in run.data.tags]
    assert len(trials) == clone.params().tune.max_trials
    for trial in trials:
        assert trial.data.tags["mlflow.parentRunId"] == tune.info.run_id
        assert trial.info.experiment_id == tune.info.experiment_id
        assert {"width", "depth", "latent", "optimizer", "learning_rate"} <= trial.data.params.keys()
        assert "val_loss" in trial.data.metrics


def test_one_summary_holds_every_param_and_the_headline_metrics(clone, runs):
    from robust_distillation.tracking.runs import parameters

    (summary,) = (run for run in runs if "summary" in run.data.tags)
    assert summary.info.run_name.startswith("summary v1 ")
    params = parameters(clone.params())
    assert summary.data.params == {key: str(value) for key, value in params.items()}
    assert summary.data.metrics.keys() >= HEADLINES
    auroc = read_json(clone.folder / METRICS / "filter_audit.json")["auroc"]
    assert summary.data.metrics["filter_auroc"] == pytest.approx(auroc)


def test_curves_are_logged_epoch_by_epoch(clone, runs):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{clone.folder}/mlruns/mlflow.db")
    by_stage = {run.data.tags.get("stage"): run for run in runs}
    for stage in ("surrogate", "autoencoder", "teacher", "student"):
        history = client.get_metric_history(by_stage[stage].info.run_id, "epoch.val_loss")
        assert [point.step for point in history] == list(range(1, getattr(clone.params(), stage).epochs + 1))


def test_poison_changes_the_rows_that_the_truth_names_and_nothing_else(clone):
    train, poisoned = ImageSet.load(clone.folder / TRAIN), ImageSet.load(clone.folder / POISONED)
    truth = load_pickle(clone.folder / TRUTH)
    for name in ("labels", "ids", "tracks", "sizes", "coords"):
        np.testing.assert_array_equal(getattr(poisoned, name), getattr(train, name))
        assert getattr(poisoned, name).dtype == getattr(train, name).dtype
    assert poisoned.features.dtype == train.features.dtype == np.uint8
    np.testing.assert_array_equal(truth["ids"], train.ids)
    changed = (poisoned.features != train.features).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(changed, truth["kinds"] != "")
    assert changed.sum() == round(clone.params().poison.fraction * len(train))


def test_the_filter_keeps_rows_in_order_with_their_labels(clone):
    poisoned, filtered = ImageSet.load(clone.folder / POISONED), ImageSet.load(clone.folder / FILTERED)
    kept = np.isin(poisoned.ids, filtered.ids)
    threshold = json.loads((clone.folder / DETECTOR / RECORD).read_text())["threshold"]
    rows = list(csv.DictReader((clone.folder / SCORES).open(newline="")))
    assert [row["id"] for row in rows] == poisoned.ids.tolist()
    assert filtered.ids.tolist() == [row["id"] for row in rows if float(row["score"]) <= threshold]
    assert len(filtered) > 0
    np.testing.assert_array_equal(filtered.ids, poisoned.ids[kept])
    np.testing.assert_array_equal(filtered.labels, poisoned.labels[kept])


def test_the_report_shows_the_run_without_a_network(clone, chromium):
    tab, asked = chromium.new_page(), []
    tab.on("console", lambda message: asked.append(message.text))
    tab.on("request", lambda request: None if request.url.startswith("data:") else asked.append(request.url))
    page = clone.folder / REPORT
    tab.goto(page.as_uri())
    student = read_json(clone.folder / METRICS / "student.json")
    assert f"{100 * student['accuracy']:.1f} %" in tab.locator("#training").inner_text()
    assert tab.locator(".thumb").count() == clone.params().dataset.test_samples
    assert "traffic-sign-student, version 1" in tab.locator("h1").inner_text()
    assert asked == [page.as_uri()]
    tab.close()


def test_the_report_is_an_artifact_of_the_summary_run(clone, runs):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{clone.folder}/mlruns/mlflow.db")
    summary = read_json(clone.folder / REGISTERED)["run_id"]
    assert REPORT.name in {file.path for file in client.list_artifacts(summary)}
