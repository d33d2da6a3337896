"""Where MLflow keeps its runs: a SQLite file and a folder of artifacts, or the server of MLFLOW_TRACKING_URI."""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from filelock import BaseFileLock, FileLock

from robust_distillation.errors import InputError
from robust_distillation.workspace import main_root

if TYPE_CHECKING:
    from mlflow import MlflowClient

VARIABLE = "MLFLOW_TRACKING_URI"
HEALTH_TIMEOUT = 5  # seconds
SERVERS = ("http", "https", "databricks")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_PRINT_MODEL_URLS_ON_CREATION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
ARTIFACTS = Path("mlruns/artifacts")
LOCATIONS = (  # every column of MLflow's tables that holds an absolute place of artifacts
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


@contextmanager
def connected() -> Iterator["MlflowClient"]:
    """Point MLflow at its store, making the local one where it is missing, and yield a client.

    The store is the one that MLFLOW_TRACKING_URI names, else `mlruns/` in the main repository. Settings of MLflow that
    the environment already holds are kept. A local store that was copied or moved here is told its new place.

    Raises:
        InputError: MLFLOW_TRACKING_URI names no store of MLflow's, the server or database does not answer or stops
            answering, or the local store is no SQLite database. Credentials in the URI are left out.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    uri = _uri()
    _check(uri)

    import mlflow
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # It prints what it then raises.
    mlflow.set_tracking_uri(uri)
    if uri == _local_uri():
        # Processes that make the tables at once corrupt them; the first client makes them, the others wait.
        with lock("mlflow"):
            _check_database(uri)
            _relocate()
            client = _client(uri)
    else:
        client = _client(uri)
    try:
        yield client
    except MlflowException as error:
        if isinstance(error.__context__, requests.RequestException):
            raise _unreachable(uri, type(error.__context__).__name__) from error
        if isinstance(error.__cause__, OperationalError):
            raise _unusable(uri, type(error.__cause__.orig).__name__) from error
        raise


def lock(name: str) -> BaseFileLock:
    """Return a lock that one process holds at a time; a thread that holds it may take it again.

    It is a file in `mlruns/` of the main repository, for the local store and for a server alike: on a server, those who
    work from other clones are not kept out.
    """
    _folder().mkdir(parents=True, exist_ok=True)
    return FileLock(_folder() / f"{name}.lock", is_singleton=True)


def experiment(client: "MlflowClient", name: str) -> str:
    """Return the id of an experiment, which is made where it is missing.

    Raises:
        InputError: the experiment was deleted in MLflow.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        artifacts = _artifacts() if client.tracking_uri == _local_uri() else None
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


def _database() -> Path:
    return _folder() / "mlflow.db"


def _local_uri() -> str:
    return f"sqlite:///{_database().as_posix()}"


def _uri() -> str:
    given = os.environ.get(VARIABLE)
    # `mlflow models serve` wants the local store by name; what else runs in that shell means the same one.
    same = given and Path(given.removeprefix("sqlite:///")).resolve() == _database().resolve()
    return given if given and not same else _local_uri()


def _artifacts() -> str:
    return (main_root() / ARTIFACTS).as_uri()


def _relocate() -> None:
    """Make the local store name the artifacts that lie beside it, not those where it lay when they were logged."""
    with closing(sqlite3.connect(_database())) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "experiments" not in tables:
            return
        found = connection.execute(
            "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location NOT NULL"
        )
        for former in [place for (place,) in found if place.endswith(f"/{ARTIFACTS}") and place != _artifacts()]:
            for table, column in LOCATIONS:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608 - names of our own
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (_artifacts(), len(former) + 1, former, len(former) + 1, f"{former}/"),
                )


def _check(uri: str) -> None:
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme in ("http", "https"):
        _check_server(uri)
    elif scheme in DATABASES and uri != _local_uri():
        _check_database(uri)
    elif scheme not in (*SERVERS, *DATABASES):
        raise InputError(
            f"{VARIABLE}={_public(uri)}: not an address of an MLflow store; give http://HOST:PORT of a server or "
            "sqlite:///FILE, or unset the variable to use mlruns/ of this repository"
        )


def _check_server(uri: str) -> None:
    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=HEALTH_TIMEOUT)
    except requests.exceptions.SSLError:
        return  # A server answers; which certificates to trust is among MLflow's own settings.
    except requests.RequestException as error:
        raise _unreachable(uri, type(error).__name__) from None
    if answer.status_code >= 500:
        raise _unreachable(uri, f"status {answer.status_code}")


def _client(uri: str) -> "MlflowClient":
    """Return a client that got its first answer."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        client = mlflow.MlflowClient()
        client.search_experiments(max_results=1)
    except MlflowException as error:
        # What a web server other than MLflow's answers is a page of HTML, of which MLflow quotes a lot.
        problem = error.message.partition("Response body")[0].strip(" .")
        raise _unusable(uri, problem.replace(uri, _public(uri))) from None
    return client


def _check_database(uri: str) -> None:
    """Try a database once; MLflow would try for minutes."""
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = sqlalchemy.create_engine(uri)
        sqlalchemy.inspect(engine).get_table_names()
        engine.dispose()
    except (SQLAlchemyError, ImportError, ValueError) as error:
        problem = getattr(error, "orig", error)
        # Only of what comes from Python itself is it certain that it holds no password.
        told = f": {problem}" if isinstance(problem, sqlite3.Error | ImportError) else ""
        raise _unusable(uri, f"{type(problem).__name__}{told}") from None


def _unusable(uri: str, problem: str) -> InputError:
    if uri == _local_uri():
        return InputError(f"{_database()}: MLflow's store cannot be used ({problem}); mend it, or move it away")
    return _unreachable(uri, problem)


def _unreachable(uri: str, problem: str) -> InputError:
    return InputError(
        f"{VARIABLE}={_public(uri)}: no MLflow server answers there ({problem}); start it, correct the address, "
        "or unset the variable to use mlruns/ of this repository"
    )


def _public(uri: str) -> str:
    """Return a URI without what may be secret: user, password and query."""
    scheme, separator, rest = uri.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}"
