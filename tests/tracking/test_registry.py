import json
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from robust_distillation.errors import InputError
from robust_distillation.files import read_json, write_json
from robust_distillation.params import load_params
from robust_distillation.paths import DATASET, METRICS, REGISTERED
from robust_distillation.stages import register
from robust_distillation.tracking import cli, store
from robust_distillation.tracking.registry import read_registered, version_here
from robust_distillation.tracking.runs import digest, stage_run

IMAGES = np.random.default_rng(3).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
HERE = {"name": "traffic-sign-student", "version": "1", "run_id": "0", "pipeline": "0"}


def run_stage(params):
    with stage_run("register", params):
        register.main(params)


def versions(params):
    with store.connected() as client:
        return client.search_model_versions(f"name = '{params.register.name}'")


def summary(params, version):
    with store.connected() as client:
        return client.get_run(client.get_model_version(params.register.name, str(version)).run_id)


@pytest.fixture
def finished(tmp_path, monkeypatch, enter, write_pipeline_outputs):
    """The params of a working directory in which the pipeline ran to its end."""
    enter(tmp_path, monkeypatch)
    write_pipeline_outputs(IMAGES, [1, 2], ["one", "two"])
    params = load_params()
    run_stage(params)
    return params


@pytest.fixture
def pulled(finished, tmp_path, empty_store):
    """The same after `dvc pull` in a new clone: the files are there, the MLflow store is empty."""
    (tmp_path / "mlruns/mlflow.db").write_bytes(empty_store.read_bytes())
    return finished


def test_what_is_promoted_is_what_this_folder_registered_not_what_an_experiment_did(finished):
    mine = REGISTERED.read_bytes()
    student = read_json(METRICS / "student.json")
    write_json(METRICS / "student.json", student | {"accuracy": 0.95})
    run_stage(finished)
    write_json(METRICS / "student.json", student)
    REGISTERED.write_bytes(mine)
    assert version_here(finished) == (1, False)
    assert "version 1 is in staging, the first" in CliRunner().invoke(cli.promote).output


def test_of_two_versions_of_the_same_models_this_folders_own_is_meant(finished):
    mine = REGISTERED.read_bytes()
    run_stage(finished)
    assert version_here(finished) == (2, False)
    REGISTERED.write_bytes(mine)
    assert version_here(finished) == (1, False)


def written(folder):
    """What tells that a file was written; reading it changes only the time of the last access."""
    stats = {path: path.stat() for path in folder.rglob("*")}
    return {path: (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in stats.items()}


def test_a_clone_that_pulled_registers_once_and_leaves_what_dvc_keeps(pulled, tmp_path):
    before = written(tmp_path / "reports")
    done = CliRunner().invoke(cli.promote)
    assert done.stdout.splitlines() == [
        "traffic-sign-student version 1 is registered from what lies here; this MLflow store had none of it",
        "traffic-sign-student version 1 is in staging, the first: models:/traffic-sign-student@staging",
    ]
    assert CliRunner().invoke(cli.promote).output.count("in staging already") == 1
    assert len(versions(pulled)) == 1
    assert written(tmp_path / "reports") == before
    run = summary(pulled, 1)
    assert run.info.status == "FINISHED"
    assert (run.data.tags["stage"], run.data.tags["summary"]) == ("register", "true")
    assert run.data.metrics["student_accuracy"] == 0.9
    assert run.data.params["student.epochs"] == str(pulled.student.epochs)


def test_a_number_that_another_model_has_in_this_store_is_not_trusted(pulled):
    with store.connected() as client:
        client.create_registered_model(pulled.register.name)
        other = client.create_run(store.experiment(client, "other"))
        client.create_model_version(pulled.register.name, other.info.artifact_uri, run_id=other.info.run_id)
    assert version_here(pulled) == (2, True)


def test_outputs_that_changed_since_are_refused(finished):
    write_json(METRICS / "student.json", {"accuracy": 1.0, "coverage": 1.0})
    with pytest.raises(InputError, match=r"registered\.json: pipeline: data, models or metrics have changed"):
        version_here(finished)


def test_another_name_is_refused(finished):
    other = replace(finished, register=replace(finished.register, name="other"))
    with pytest.raises(InputError, match=r"registered\.json: name: is not register\.name of params\.yaml; run"):
        version_here(other)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "whole file: Invalid JSON"),
        ("[1]", r"whole file: .* Received: \[1\]; run `dvc repro`"),
        (
            json.dumps({key: value for key, value in HERE.items() if key != "run_id"}),
            "run_id: Field required.*; run `dvc repro`",
        ),
        (json.dumps(HERE | {"version": 1}), r"version: Input should be a valid string\. Received: 1; run `dvc repro`"),
    ],
)
def test_other_content_is_named(tmp_path, content, message):
    file = tmp_path / "registered.json"
    file.write_text(content)
    with pytest.raises(InputError, match=rf"registered\.json: {message}") as error:
        read_registered(file)
    assert "\n" not in str(error.value)


def test_where_no_pipeline_ran_the_ways_on_are_named(tmp_path):
    with pytest.raises(InputError, match=r"not found; run `dvc repro`, or `dvc pull` in a fresh clone, or choose with"):
        read_registered(tmp_path / "registered.json")


def test_a_summary_is_named_by_version_and_experiment_else_commit(finished, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "no-reform")
    run_stage(finished)
    assert summary(finished, 2).info.run_name == "summary v2 no-reform"
    monkeypatch.delenv("DVC_EXP_NAME")
    git = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    run_stage(finished)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    assert summary(finished, 3).info.run_name == f"summary v3 {commit[:8]}"


def test_the_summary_shows_data_set_and_headlines(finished):
    run = summary(finished, 1)
    (entry,) = run.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("synthetic", digest(DATASET))
    assert json.loads(entry.dataset.source) == {"uri": "drawn"}
    assert json.loads(entry.dataset.profile) == {"train": 60, "test": 4}
    (version,) = versions(finished)
    assert run.data.tags["mlflow.note.content"] == version.description
    assert version.description.splitlines() == [
        "| | |",
        "|---|---|",
        "| student_accuracy | 0.9 |",
        "| coverage | 0.95 |",
        "| defence.worst_case.0.01 | 0.5 |",
        "| raised flags | none |",
    ]
    first = sorted(run.data.metrics)[:3]
    assert first == ["_headline/coverage", "_headline/defence.worst_case.0.01", "_headline/student_accuracy"]
