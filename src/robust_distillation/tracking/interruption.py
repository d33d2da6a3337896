"""Runs whose process is killed: marked KILLED at once where it can still speak, else by the next command."""

import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import psutil

from robust_distillation.errors import InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient

CLOCK = 1.0  # seconds by which the start of one process may seem to differ, since clocks are set


def process_tags() -> dict[str, str]:
    """Return the tags by which `close_abandoned` finds out whether the process of a run still lives."""
    process = psutil.Process()
    return {
        "process.host": socket.gethostname(),
        "process.pid": str(process.pid),
        "process.start": f"{process.create_time():.2f}",
        "process.folder": str(Path.cwd()),
    }


def close_abandoned(client: "MlflowClient", experiment: str) -> None:
    """Mark KILLED the runs of this machine whose process is gone, and their nested runs; FAILED, models half logged."""
    running = client.search_runs([experiment], "attributes.status = 'RUNNING'")
    gone = {run.info.run_id for run in running if _is_here(run.data.tags) and not _lives(run.data.tags)}
    nested = [run.info.run_id for run in running if run.data.tags.get("mlflow.parentRunId") in gone]
    for run_id in (*nested, *gone):
        for model in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
            if model.status == "PENDING":
                client.finalize_logged_model(model.model_id, "FAILED")
        client.set_terminated(run_id, "KILLED")


def refuse_twin(client: "MlflowClient", experiment: str, stage: str) -> None:
    """Refuse a stage that runs in this folder already.

    Raises:
        InputError: it does; the message names the process.
    """
    running = client.search_runs([experiment], f"attributes.status = 'RUNNING' and tags.stage = '{stage}'")
    for tags in (run.data.tags for run in running):
        if _is_here(tags) and tags["process.folder"] == str(Path.cwd()):
            raise InputError(
                f"stage {stage} is running already as process {tags['process.pid']}; wait for it or stop it"
            )


@contextmanager
def terminable() -> Iterator[None]:
    """Make SIGTERM raise SystemExit, as SIGINT raises KeyboardInterrupt; do nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _exit(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _is_here(tags: Mapping[str, str]) -> bool:
    return tags.get("process.host") == socket.gethostname()


def _lives(tags: Mapping[str, str]) -> bool:
    try:
        process = psutil.Process(int(tags["process.pid"]))
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(float(process.create_time()) - float(tags["process.start"])) < CLOCK
    except psutil.NoSuchProcess:
        return False
