"""Where MLflow keeps its runs: a SQLite file and a folder of artifacts, or the server of MLFLOW_TRACKING_URI."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from filelock import FileLock

from robust_distillation.errors import InputError
from robust_distillation.workspace import main_root

if TYPE_CHECKING:
    from mlflow import MlflowClient

VARIABLE = "MLFLOW_TRACKING_URI"
HEALTH_TIMEOUT = 5  # seconds
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_PRINT_MODEL_URLS_ON_CREATION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@contextmanager
def connected() -> Iterator["MlflowClient"]:
    """Point MLflow at its store, making the local one where it is missing, and yield a client.

    The store is the one that MLFLOW_TRACKING_URI names, else `mlruns/` in the main repository. Settings of MLflow that
    the environment already holds are kept.

    Raises:
        InputError: the server that MLFLOW_TRACKING_URI names does not answer, or stops answering.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    uri = os.environ.get(VARIABLE) or _local_uri()
    if uri.startswith(("http://", "https://")):
        _check_server(uri)

    import mlflow
    from mlflow.exceptions import MlflowException

    logging.getLogger("alembic").setLevel(logging.WARNING)
    mlflow.set_tracking_uri(uri)
    if uri == _local_uri():
        _folder().mkdir(parents=True, exist_ok=True)
        # Processes that make the tables at once corrupt them; the first client makes them, the others wait.
        with FileLock(_folder() / "mlflow.lock"):
            client = mlflow.MlflowClient()
    else:
        client = mlflow.MlflowClient()
    try:
        yield client
    except MlflowException as error:
        if not isinstance(error.__context__, requests.RequestException):
            raise
        raise _unreachable(uri, type(error.__context__).__name__) from error


def experiment(client: "MlflowClient", name: str) -> str:
    """Return the id of an experiment, which is made where it is missing.

    Raises:
        InputError: the experiment was deleted in MLflow.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        artifacts = (_folder() / "artifacts").as_uri() if client.tracking_uri == _local_uri() else None
        try:
            return client.create_experiment(name, artifact_location=artifacts)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return experiment(client, name)
    if found.lifecycle_stage == "deleted":
        raise InputError(
            f"MLflow experiment {name}: deleted; run `mlflow experiments restore -x {found.experiment_id}`, "
            "or change register.name in params.yaml"
        )
    return found.experiment_id


def _folder() -> Path:
    return main_root() / "mlruns"


def _local_uri() -> str:
    return f"sqlite:///{(_folder() / 'mlflow.db').as_posix()}"


def _check_server(uri: str) -> None:
    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=HEALTH_TIMEOUT)
    except requests.exceptions.SSLError:
        return  # A server answers; which certificates to trust is among MLflow's own settings.
    except requests.RequestException as error:
        raise _unreachable(uri, type(error).__name__) from None
    if answer.status_code >= 500:
        raise _unreachable(uri, f"status {answer.status_code}")


def _unreachable(uri: str, problem: str) -> InputError:
    return InputError(
        f"{VARIABLE}={uri}: no MLflow server answers there ({problem}); start it, correct the address, "
        "or unset the variable to use mlruns/ of this repository"
    )
