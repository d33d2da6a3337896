"""The whole pipeline, small, in a clone: run, tracked, promoted, served, shared, varied, repeated, and fed nonsense."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import requests
import yaml

from robust_distillation.dataset.pickles import ImageSet, load_pickle
from robust_distillation.files import read_json
from robust_distillation.params import load_params
from robust_distillation.paths import DETECTOR_RECORD, FILTERED, METRICS, POISONED, SCORES, TEST, TRAIN, TRUTH
from robust_distillation.stages import STAGES

ROOT = Path(__file__).parents[1]
SMALL = {
    "data": {"synthetic": {"tracks_per_class": 6, "frames_per_track": 6, "test_per_class": 5}},
    "dataset": {
        "classes": 3,
        "train_samples": 60,
        "validate_samples": 15,
        "test_samples": 15,
        "trusted_samples": 30,
        "image_size": 16,
    },
    "surrogate": {"epochs": 2},
    "poison": {"iterations": 2},
    "probe": {"epochs": 1},
    "tune": {"max_trials": 2, "epochs": 1, "widths": [8]},
    "autoencoder": {"epochs": 2, "iterations": 2},
    "teacher": {"epochs": 2},
    "student": {"epochs": 2},
    "abstention": {"passes": 3},
    "robustness": {"attacks": ["fgsm", "pgd"], "steps": 20, "queries": 10},
    "promotion": {"min_clean_accuracy": 0, "min_coverage": 0, "min_robust_accuracy": 0},
}
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
COLUMNS = {"label", "name", "probability", "uncertainty", "abstained", "reconstruction_error", "suspicious"}


@dataclass(frozen=True)
class Clone:
    """A folder with the repository in it."""

    folder: Path

    def environment(self, **changes: str) -> dict[str, str]:
        """As a user has it after activating the virtual environment, apart from other people's DVC and MLflow."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "GIT_"))}
        dvc = str(self.folder.parent / "dvc")
        return kept | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": "src",
            "DVC_SITE_CACHE_DIR": dvc,
            "DVC_GLOBAL_CONFIG_DIR": dvc,
            "DVC_SYSTEM_CONFIG_DIR": dvc,
            "GIT_CONFIG_GLOBAL": os.devnull,
            **changes,
        }

    def attempt(self, *command: str | Path, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.environment(**changes), capture_output=True, text=True, check=False
        )

    def run(self, *command: str | Path) -> str:
        done = self.attempt(*command)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def identify(self) -> None:
        """Say who commits and promotes here."""
        self.run("git", "config", "user.name", "Tester")
        self.run("git", "config", "user.email", "tester@example.org")

    def change(self, changes: dict) -> None:
        path = self.folder / "params.yaml"
        path.write_text(yaml.safe_dump(merged(yaml.safe_load(path.read_text()), changes), sort_keys=False))

    def outputs(self) -> dict[str, bytes]:
        files = (file for top in ("data", "models", "reports") for file in (self.folder / top).rglob("*"))
        return {str(file.relative_to(self.folder)): file.read_bytes() for file in files if file.is_file()}

    def runs(self) -> list:
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.folder}/mlruns/mlflow.db")
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return list(client.search_runs(experiments, max_results=1000))


def merged(values: dict, changes: dict) -> dict:
    nested = {key: merged(values[key], value) for key, value in changes.items() if isinstance(value, dict)}
    return values | changes | nested


def stage_outs(stage: str) -> list[str]:
    outs = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]["outs"]
    return [out if isinstance(out, str) else next(iter(out)) for out in outs]


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory):
    """A clone of the working tree with small params, in which `dvc repro` ran once; and what that printed."""
    clone = Clone(tmp_path_factory.mktemp("pipeline") / "clone")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split("\0"):
        if (ROOT / name).is_file():
            (clone.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, clone.folder / name)
    (clone.folder / "dvc.lock").unlink(missing_ok=True)
    shutil.rmtree(clone.folder / "reports", ignore_errors=True)
    clone.change(SMALL)
    clone.run("git", "init", "-q")
    clone.identify()
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "small")
    return clone, clone.run("dvc", "repro")


@pytest.fixture(scope="session")
def clone(pipeline):
    return pipeline[0]


@pytest.fixture(scope="session")
def pulled(clone):
    """A git clone of the clone, its data pulled from a remote that the first pushed to."""
    remote = clone.folder.parent / "remote"
    clone.run("dvc", "remote", "add", "-d", "--local", "shared", remote)
    clone.run("dvc", "push")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "results")
    other = Clone(clone.folder.parent / "other")
    clone.run("git", "clone", "-q", clone.folder, other.folder)
    other.identify()
    other.run("dvc", "remote", "add", "-d", "--local", "shared", remote)
    other.run("dvc", "pull")
    return other


@pytest.fixture
def scratch(clone, tmp_path):
    """A copy of the clone and its outputs, to spoil."""
    folder = tmp_path / "scratch"
    shutil.copytree(clone.folder, folder, ignore=shutil.ignore_patterns(".git", "cache", "tmp", "mlruns"))
    return Clone(folder)


def test_every_stage_runs_and_leaves_its_outputs(pipeline):
    clone, printed = pipeline
    assert [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")] == [
        "check",
        *STAGES,
    ]
    missing = [out for stage in STAGES for out in stage_outs(stage) if not (clone.folder / out).exists()]
    assert not missing


def test_the_run_ends_with_its_results(pipeline):
    _, printed = pipeline
    assert all(
        word in printed.rsplit("robust-distillation stage register", 1)[1] for word in ("Results", "defence", "8/255")
    )


def test_a_second_repro_does_nothing(clone):
    before = clone.outputs()
    printed = clone.run("dvc", "repro")
    assert "up to date" in printed
    assert "Running stage" not in printed
    assert clone.outputs() == before


@pytest.fixture(scope="session")
def runs(clone):
    return clone.runs()


def test_each_stage_is_one_run_with_its_lineage(clone, runs):
    by_stage = {run.data.tags["stage"]: run for run in runs if "stage" in run.data.tags}
    assert Counter(run.data.tags["stage"] for run in runs if "stage" in run.data.tags) == Counter(STAGES)
    first = clone.run("git", "rev-list", "--max-parents=0", "HEAD").strip()
    lock = yaml.safe_load((clone.folder / "dvc.lock").read_text())["stages"]
    for stage, run in by_stage.items():
        assert run.info.status == "FINISHED"
        assert (run.data.tags["git_commit"], run.data.tags["git_dirty"]) == (first, "false")
        inputs = {f"dvc_input.{dep['path']}": dep["md5"] for dep in lock[stage].get("deps", [])}
        assert {key: value for key, value in run.data.tags.items() if key.startswith("dvc_input.")} == inputs


def test_trials_are_nested_below_tune(runs):
    tune = next(run for run in runs if run.data.tags.get("stage") == "tune")
    trials = [run for run in runs if "stage" not in run.data.tags]
    assert len(trials) == SMALL["tune"]["max_trials"]
    for trial in trials:
        assert trial.data.tags["mlflow.parentRunId"] == tune.info.run_id
        assert trial.info.experiment_id == tune.info.experiment_id
        assert {"width", "depth", "latent", "optimizer", "learning_rate"} <= trial.data.params.keys()
        assert "val_loss" in trial.data.metrics


def test_one_summary_holds_every_param_and_the_headline_metrics(clone, runs):
    from robust_distillation.tracking.runs import parameters

    (summary,) = (run for run in runs if "summary" in run.data.tags)
    assert summary.info.run_name.startswith("summary v1 ")
    params = parameters(load_params(clone.folder / "params.yaml"))
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
        assert [point.step for point in history] == list(range(1, SMALL[stage]["epochs"] + 1))


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
    assert changed.sum() == round(load_params(clone.folder / "params.yaml").poison.fraction * len(train))


def test_the_filter_keeps_rows_in_order_with_their_labels(clone):
    poisoned, filtered = ImageSet.load(clone.folder / POISONED), ImageSet.load(clone.folder / FILTERED)
    kept = np.isin(poisoned.ids, filtered.ids)
    threshold = json.loads((clone.folder / DETECTOR_RECORD).read_text())["threshold"]
    rows = list(csv.DictReader((clone.folder / SCORES).open(newline="")))
    assert [row["id"] for row in rows] == poisoned.ids.tolist()
    assert filtered.ids.tolist() == [row["id"] for row in rows if float(row["score"]) <= threshold]
    assert len(filtered) > 0
    np.testing.assert_array_equal(filtered.ids, poisoned.ids[kept])
    np.testing.assert_array_equal(filtered.labels, poisoned.labels[kept])


@pytest.fixture(scope="session")
def server(clone):
    """The address of MLflow's server of the promoted model."""
    # What has trained for seconds may well raise a reliability flag.
    clone.run("robust-distillation", "promote", "--force", "--reason", "first")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    name = load_params(clone.folder / "params.yaml").register.name
    command = ["mlflow", "models", "serve", "--model-uri", f"models:/{name}@staging", "--env-manager", "local"]
    environment = clone.environment(MLFLOW_TRACKING_URI="sqlite:///mlruns/mlflow.db")
    with (clone.folder.parent / "server.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=clone.folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}/ping", process)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_healthy(address: str, process: subprocess.Popen, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(address, timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.2)
    pytest.fail(f"{address} does not answer (exit status {process.poll()})")


def test_the_promoted_model_answers_over_http(clone, server):
    images = ImageSet.load(clone.folder / TEST).features[:4]
    response = requests.post(server, json={"inputs": images.tolist()}, timeout=120)
    assert response.status_code == 200
    answers = response.json()["predictions"]
    assert len(answers) == len(images)
    for answer in answers:
        assert answer.keys() == COLUMNS
        assert answer["abstained"] == (answer["label"] is None) == (answer["name"] is None)
        assert 0 <= answer["probability"] <= 1


def test_a_float_image_is_refused_over_http(clone, server):
    images = ImageSet.load(clone.folder / TEST).images[:1]
    response = requests.post(server, json={"inputs": images.tolist()}, timeout=120)
    assert response.status_code == 400
    assert "uint8" in response.json()["message"]


def test_history_tells_of_the_promotion(clone, server):
    told = clone.run("robust-distillation", "history")
    assert all(word in told for word in ("promote", "Tester", "first", "student_accuracy"))
    assert "in staging already" in clone.run("robust-distillation", "promote")
    assert clone.run("robust-distillation", "history") == told


def test_a_clone_that_pulled_has_nothing_to_run(clone, pulled):
    printed = pulled.run("dvc", "repro")
    assert "up to date" in printed
    assert "Running stage" not in printed
    outs = [out for stage in STAGES for out in stage_outs(stage)]
    there, here = pulled.outputs(), clone.outputs()
    shared = {file for file in here if any(Path(file).is_relative_to(out) for out in outs)}
    assert {file: here[file] for file in shared} == {file: there.get(file) for file in shared}


@pytest.fixture(scope="session")
def experiment(pulled):
    """What DVC printed of an experiment that it ran in a temporary copy."""
    return pulled.run("dvc", "exp", "run", "--temp", "--name", "late", "-S", "robustness.images=7")


def test_an_experiment_runs_what_changed_and_logs_to_the_real_store(pulled, experiment):
    ran = [line.split("'")[1] for line in experiment.splitlines() if line.startswith("Running stage")]
    assert ran == ["check", "robustness", "register"]
    runs = pulled.runs()
    assert {run.data.tags["stage"]: run.data.tags.get("summary") for run in runs} == {
        "robustness": None,
        "register": "true",
    }
    assert sorted(run.info.run_name for run in runs) == ["robustness", "summary v1 late"]
    assert {run.data.tags["dvc_experiment"] for run in runs} == {"late"}
    assert {run.data.params["robustness.images"] for run in runs} == {"7"}
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
    assert metrics.keys() == {f"{METRICS}/{stage}.json" for stage in STAGES[STAGES.index("surrogate") : -1]}
    assert {"accuracy", "coverage"} <= metrics[f"{METRICS}/student.json"]["data"].keys()

    compared = json.loads(pulled.run("dvc", "metrics", "diff", "--all", "--json", "HEAD", "late"))
    assert "auroc" in compared[f"{METRICS}/filter_audit.json"]
    assert "defence.worst_case.8/255" in compared[f"{METRICS}/robustness.json"]

    pulled.run("dvc", "plots", "show", "--out", tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert all(name in page for name in ("student accuracy", "autoencoder loss", "val_loss", "robustness.png"))


def test_stages_that_run_again_give_the_same_bytes(scratch):
    stages = ("fetch", "dataset", "surrogate", "poison", "teacher")
    before = scratch.outputs()
    outs = [out for stage in stages for out in stage_outs(stage)]
    for out in outs:
        path = scratch.folder / out
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for stage in stages:
        scratch.run("robust-distillation", "stage", stage)
    after = scratch.outputs()
    files = {file for file in before if any(Path(file).is_relative_to(out) for out in outs)}
    assert len(files) > len(outs)
    assert not [file for file in files if before[file] != after.get(file)]


@pytest.mark.parametrize(
    ("stage", "changes", "told"),
    [
        ("poison", {"poison": {"colour": "red"}}, "params.yaml: poison.colour"),
        ("robustness", {"robustness": {"epsilons": [8]}}, "8/255"),
        ("dataset", {"dataset": {"classes": [0, 99]}}, "no class 99"),
        ("dataset", {"dataset": {"classes": 99}}, "asked for 99"),
    ],
)
def test_bad_params_are_one_line_and_leave_the_outputs(scratch, stage, changes, told):
    scratch.change(changes)
    assert_refused(scratch, stage, told)


def test_a_truncated_archive_is_one_line_and_leaves_the_outputs(scratch):
    archive = next((scratch.folder / "data/raw").glob("*Training_Images.zip"))
    archive.write_bytes(archive.read_bytes()[:5000])
    assert_refused(scratch, "dataset", archive.name)


def test_a_server_that_is_down_is_one_line_and_leaves_the_outputs(scratch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert_refused(scratch, "dataset", address, MLFLOW_TRACKING_URI=address)


def assert_refused(clone: Clone, stage: str, told: str, **environment: str) -> None:
    before = clone.outputs()
    done = clone.attempt("robust-distillation", "stage", stage, **environment)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
    assert clone.outputs() == before
