import hashlib
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import requests
from dvc.repo import Repo
from mlflow.exceptions import MlflowException

from robust_distillation.errors import InputError
from robust_distillation.tracking import store
from robust_distillation.tracking.runs import commit_tags, digest, parameters, stage_run


def only_run(params):
    with store.connected() as client:
        (run,) = client.search_runs([store.experiment(client, params.register.name)])
    return run


def test_a_stage_run_names_params_inputs_seed_and_commit(params):
    with stage_run("poison", params):
        mlflow.log_metric("poisoned", 160)
    run = only_run(params)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert run.info.run_name == "poison"
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"poisoned": 160}
    named = {name: value for name, value in parameters(params).items() if name.startswith("surrogate.")}
    assert run.data.params == {name: str(value) for name, value in named.items()} | {
        "poison.fraction": "0.2",
        "poison.seed": "102",
        "surrogate.method": "standard",
        "surrogate.architecture": "vgg",
        "surrogate.epochs": "15",
        "surrogate.batch_size": "64",
        "surrogate.learning_rate": "0.001",
        "surrogate.seed": "101",
    }
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    assert tags.pop("dvc_input.data/dataset").endswith(".dir")
    assert tags.pop("process.pid") == str(os.getpid())
    assert {tags.pop(f"process.{key}") for key in ("host", "start", "folder")} > {str(Path.cwd())}
    assert tags == {
        "stage": "poison",
        "seed": "102",
        "git_commit": commit,
        "git_dirty": "false",
        "dvc_input.code.py": hashlib.md5(b"print()\n").hexdigest(),
    }


def test_a_stage_that_raises_leaves_a_failed_run(params):
    with pytest.raises(ValueError, match="broken"), stage_run("validate", params):
        raise ValueError("broken")
    assert only_run(params).info.status == "FAILED"


def test_outputs_of_the_pipeline_do_not_make_the_tree_dirty(repository):
    (repository / "dvc.lock").write_text("schema: '2.0'\n")
    (repository / "reports/metrics").mkdir(parents=True)
    (repository / "reports/metrics/teacher.json").write_text("{}\n")
    assert commit_tags()["git_dirty"] == "false"
    (repository / "code.py").write_text("print(1)\n")
    assert commit_tags()["git_dirty"] == "true"


def test_without_git_there_are_no_commit_tags(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit_tags() == {}


def test_digests_are_those_of_dvc(repository):
    with Repo.init() as repo:
        (entry,) = repo.add("data/dataset")
    assert digest(repository / "data/dataset") == entry.outs[0].hash_info.value


@pytest.mark.parametrize(
    ("stage", "message"),
    [("unknown", "dvc.yaml: stages.unknown: missing"), ("poison", "code.py: not found; run `dvc repro`")],
)
def test_what_is_missing_is_named(repository, params, stage, message):
    (repository / "code.py").unlink()
    with pytest.raises(InputError, match=message), stage_run(stage, params):
        pass


def test_a_run_prints_nothing(repository):
    code = (
        "from robust_distillation.params import load_params\n"
        "from robust_distillation.tracking.runs import stage_run\n"
        "with stage_run('poison', load_params()): pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def lose_the_server():
    try:
        raise requests.ConnectionError
    except requests.ConnectionError:
        raise MlflowException("API request failed")  # noqa: B904 - as MLflow's own client does


def test_a_server_lost_midway_is_one_line(params):
    with pytest.raises(InputError, match="no MLflow server answers there"), stage_run("validate", params):
        lose_the_server()
