import http.server
import sqlite3
import subprocess
import sys
from pathlib import Path
from shutil import copytree, rmtree
from threading import Thread

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

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


@pytest.fixture
def web_server():
    """A web server that is not MLflow's."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://user:secret@127.0.0.1:{running.server_port}"
        running.shutdown()


def refusal() -> str:
    with pytest.raises(InputError) as error, store.connected():
        pass
    message = str(error.value)
    assert "\n" not in message
    assert "secret" not in message
    return message


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "nonsense text",
            "MLFLOW_TRACKING_URI=nonsense text: not an address of an MLflow store; give http://HOST:PORT",
        ),
        (" ", "MLFLOW_TRACKING_URI= : not an address"),
        ("ftp://user:secret@host/x?token=secret", "MLFLOW_TRACKING_URI=ftp://host/x: not an address"),
        ("user:secret@host", "MLFLOW_TRACKING_URI=host: not an address"),
        ("mlruns", "MLFLOW_TRACKING_URI=mlruns: not an address"),
        ("postgresql://user:secret@127.0.0.1:9/db", "MLFLOW_TRACKING_URI=postgresql://127.0.0.1:9/db: no MLflow"),
        ("sqlite:///params.yaml", "no MLflow server answers there (DatabaseError: file is not a database)"),
        ("sqlite:///nowhere/x.db", "(OperationalError: unable to open database file)"),
        ("http://user:secret@127.0.0.1:port", "MLFLOW_TRACKING_URI=http://127.0.0.1:port: no MLflow server"),
    ],
)
def test_an_address_that_is_no_store_is_one_line(repository, monkeypatch, uri, message):
    monkeypatch.setenv(store.VARIABLE, uri)
    assert message in refusal()


def test_a_web_server_that_is_not_mlflow_is_one_line(repository, monkeypatch, web_server):
    monkeypatch.setenv(store.VARIABLE, web_server)
    assert "no MLflow server answers there (API request to endpoint" in refusal()


def test_an_empty_address_means_the_local_store(repository, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, "")
    with store.connected() as client:
        assert client.tracking_uri.endswith(f"{repository}/mlruns/mlflow.db")


def test_the_local_store_may_be_named_relative_as_for_serving(repository, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, "sqlite:///mlruns/mlflow.db")
    with store.connected() as client:
        found = client.get_experiment(store.experiment(client, "e"))
    assert found.artifact_location == (repository / "mlruns/artifacts").as_uri()


def test_a_local_store_that_is_garbage_is_named(repository):
    (repository / "mlruns/mlflow.db").write_text("garbage " * 1000)
    assert refusal() == (
        f"{repository}/mlruns/mlflow.db: MLflow's store cannot be used (DatabaseError: file is not a database); "
        "mend it, or move it away"
    )


def test_a_database_that_fails_midway_is_one_line(repository):
    locked = OperationalError("", {}, sqlite3.OperationalError("database is locked"))
    with pytest.raises(InputError, match=r"mlflow\.db: MLflow's store cannot be used \(OperationalError\)"):  # noqa: SIM117
        with store.connected():
            raise MlflowException(str(locked)) from locked


class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input):
        return model_input


def log_model(client) -> str:
    with mlflow.start_run(experiment_id=store.experiment(client, "e")) as run:
        mlflow.log_text("old", "note.txt")
        mlflow.pyfunc.log_model(name="echo", python_model=Echo(), pip_requirements=[], registered_model_name="echo")
    return run.info.run_id


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_a_copied_store_keeps_and_finds_its_artifacts_beside_itself(repository, tmp_path_factory, monkeypatch):
    with store.connected() as client:
        old = log_model(client)
        elsewhere = client.create_experiment("elsewhere", artifact_location="file:///some/other/mlruns/artifacts-not")
    copy = tmp_path_factory.mktemp("copy")
    copytree(repository, copy, dirs_exist_ok=True)
    before = files(repository)
    monkeypatch.chdir(copy)
    monkeypatch.delenv(store.VARIABLE)  # which MLflow has set to the store that it was pointed at
    with store.connected() as client:
        new = log_model(client)
        assert client.get_run(new).info.artifact_uri.startswith((copy / "mlruns/artifacts").as_uri())
        assert client.get_experiment(elsewhere).artifact_location == "file:///some/other/mlruns/artifacts-not"
    assert files(repository) == before
    rmtree(repository / "mlruns")
    with store.connected() as client:
        assert Path(client.download_artifacts(old, "note.txt")).read_text() == "old"
        assert mlflow.pyfunc.load_model("models:/echo/1").predict([1]) == [1]
        assert mlflow.pyfunc.load_model(f"runs:/{old}/echo").predict([1]) == [1]
