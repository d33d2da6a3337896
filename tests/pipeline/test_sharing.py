"""What is pushed, pulled into another clone, and varied there by an experiment."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from robust_distillation.paths import METRICS
from robust_distillation.stages import STAGES


@pytest.fixture(scope="module")
def pulled(clone):
    """A git clone of the clone, its data pulled from a remote that the first pushed to."""
    remote = clone.folder.parent / "remote"
    clone.run("dvc", "remote", "add", "-d", "--local", "shared", remote)
    clone.run("dvc", "push")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "results")
    other = replace(clone, folder=clone.folder.parent / "other")
    clone.run("git", "clone", "-q", clone.folder, other.folder)
    other.identify()
    other.run("dvc", "remote", "add", "-d", "--local", "shared", remote)
    other.run("dvc", "pull")
    return other


def test_a_clone_that_pulled_has_nothing_to_run(clone, pulled):
    printed = pulled.run("dvc", "repro")
    assert "up to date" in printed
    assert "Running stage" not in printed
    outs = [out for stage in STAGES for out in clone.stage_outs(stage)]
    there, here = pulled.outputs(), clone.outputs()
    shared = {file for file in here if any(Path(file).is_relative_to(out) for out in outs)}
    assert {file: here[file] for file in shared} == {file: there.get(file) for file in shared}


@pytest.fixture(scope="module")
def experiment(pulled):
    """What DVC printed of an experiment that it ran in a temporary copy."""
    return pulled.run("dvc", "exp", "run", "--temp", "--name", "late", "-S", "robustness.images=7")


def test_an_experiment_runs_what_changed_and_logs_to_the_real_store(pulled, experiment):
    ran = [line.split("'")[1] for line in experiment.splitlines() if line.startswith("Running stage")]
    assert ran == ["check", "robustness", "register", "report"]
    runs = pulled.runs()
    assert {run.data.tags["stage"]: run.data.tags.get("summary") for run in runs} == {
        "robustness": None,
        "register": "true",
        "report": None,
    }
    assert sorted(run.info.run_name for run in runs) == ["report", "robustness", "summary v1 late"]
    assert {run.data.tags["dvc_experiment"] for run in runs} == {"late"}
    assert {run.data.params.get("robustness.images") for run in runs} == {"7", None}
    assert not list((pulled.folder / ".dvc").rglob("mlflow.db"))


def test_a_clone_that_pulled_registers_and_promotes_its_own_models(pulled, experiment):
    force = ("--force", "--reason", "pulled")
    told = pulled.run("robust-distillation", "promote", *force).splitlines()
    assert len(told) == 2
    assert "version 2 is registered from what lies here" in told[0]  # version 1 is the experiment's
    assert "version 2 is in staging, the first" in told[1]
    assert "in staging already" in pulled.run("robust-distillation", "promote")
    assert "up to date" in pulled.run("dvc", "repro")
    commit = pulled.run("git", "rev-parse", "HEAD")[:8]
    assert f"summary v2 {commit}" in {run.info.run_name for run in pulled.runs()}


def test_dvc_shows_and_compares_experiments(pulled, experiment, tmp_path):
    (baseline,) = (entry for entry in json.loads(pulled.run("dvc", "exp", "show", "--json")) if entry["experiments"])
    (shown,) = (revision for entry in baseline["experiments"] for revision in entry["revs"])
    assert shown["name"] == "late"
    assert shown["data"]["params"]["params.yaml"]["data"]["robustness"]["images"] == 7
    metrics = shown["data"]["metrics"]
    stages = list(STAGES)
    measuring = stages[stages.index("surrogate") : stages.index("register")]
    assert metrics.keys() == {f"{METRICS}/{stage}.json" for stage in measuring}
    assert {"accuracy", "coverage"} <= metrics[f"{METRICS}/student.json"]["data"].keys()

    compared = json.loads(pulled.run("dvc", "metrics", "diff", "--all", "--json", "HEAD", "late"))
    assert "auroc" in compared[f"{METRICS}/filter_audit.json"]
    assert "defence.worst_case.8/255" in compared[f"{METRICS}/robustness.json"]

    pulled.run("dvc", "plots", "show", "--out", tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert all(name in page for name in ("student accuracy", "autoencoder loss", "val_loss", "robustness.png"))
