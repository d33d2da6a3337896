import subprocess
import sys
from shutil import rmtree

import pytest

from robust_distillation.errors import InputError
from robust_distillation.tracking import store

LOG_TOGETHER = """
import multiprocessing
import mlflow  # once, before the processes part
from robust_distillation.tracking import store

def log(number):
    with store.connected() as client:
        run = client.create_run(store.experiment(client, "together"))
        client.log_metric(run.info.run_id, "number", number)

with multiprocessing.get_context("fork").Pool(4) as pool:
    pool.map(log, range(4), chunksize=1)
"""


def test_local_store_lies_under_mlruns(repository):
    with store.connected() as client:
        found = client.get_experiment(store.experiment(client, "e"))
    assert found.artifact_location == (repository / "mlruns/artifacts").as_uri()


def test_experiment_copies_share_the_store_of_the_main_repository(repository, monkeypatch):
    copy = repository / ".dvc/tmp/exps/tmpabc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with store.connected() as client:
        store.experiment(client, "e")
    assert not (copy / "mlruns").exists()
    monkeypatch.chdir(repository)
    with store.connected() as client:
        assert client.get_experiment_by_name("e").name == "e"


def test_processes_may_create_the_store_at_once(repository):
    rmtree(repository / "mlruns")
    subprocess.run([sys.executable, "-c", LOG_TOGETHER], check=True, timeout=120)
    with store.connected() as client:
        runs = client.search_runs([store.experiment(client, "together")])
    assert sorted(run.data.metrics["number"] for run in runs) == [0, 1, 2, 3]


def test_a_server_that_is_down_is_one_line(free_port, repository, monkeypatch):
    uri = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv(store.VARIABLE, uri)
    with (
        pytest.raises(InputError, match=f"MLFLOW_TRACKING_URI={uri}: no MLflow server answers") as error,
        store.connected(),
    ):
        pass
    assert "\n" not in str(error.value)


def test_a_deleted_experiment_is_named(repository):
    with store.connected() as client:
        client.delete_experiment(store.experiment(client, "gone"))
        with pytest.raises(InputError, match="MLflow experiment gone: deleted; run `mlflow experiments restore"):
            store.experiment(client, "gone")


def test_runs_go_to_the_server_that_the_environment_names(repository, server, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, server)
    with store.connected() as client:
        experiment = store.experiment(client, "e")
        client.create_run(experiment)
        assert len(client.search_runs([experiment])) == 1
    monkeypatch.delenv(store.VARIABLE)
    with store.connected() as client:
        assert client.get_experiment_by_name("e") is None
