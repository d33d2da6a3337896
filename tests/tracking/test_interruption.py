import signal
import subprocess
import sys
from contextlib import contextmanager

import mlflow
import pytest

from robust_distillation.errors import InputError
from robust_distillation.tracking import store
from robust_distillation.tracking.runs import stage_run

STAGE = """
import signal
import time
import mlflow
from robust_distillation.params import load_params
from robust_distillation.tracking.runs import stage_run

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs are started without
with stage_run("validate", load_params()):
    mlflow.initialize_logged_model(name="half")
    with mlflow.start_run(run_name="trial", nested=True):
        print("started", flush=True)
        time.sleep(120)
"""


@contextmanager
def running_stage():
    """A process in the midst of a stage, with a nested run and a model half logged."""
    process = subprocess.Popen([sys.executable, "-c", STAGE], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "started\n"
        yield process
    finally:
        process.kill()
        process.wait()


def statuses(params) -> dict[str, str]:
    with store.connected() as client:
        found = client.search_runs([store.experiment(client, params.register.name)], order_by=["start_time ASC"])
    return {run.info.run_name: run.info.status for run in found}


def test_a_killed_stage_is_closed_by_the_next_with_its_nested_run_and_model(params):
    with running_stage() as process:
        process.kill()
        process.wait()
        assert statuses(params) == {"validate": "RUNNING", "trial": "RUNNING"}
        with stage_run("poison", params):
            pass
    assert statuses(params) == {"validate": "KILLED", "trial": "KILLED", "poison": "FINISHED"}
    with store.connected() as client:
        (model,) = client.search_logged_models([store.experiment(client, params.register.name)])
    assert model.status == "FAILED"


def test_a_stage_that_still_runs_is_not_started_twice(params):
    with running_stage() as process:
        message = f"stage validate is running already as process {process.pid}; wait for it or stop it"
        with pytest.raises(InputError, match=message), stage_run("validate", params):
            pass
        with stage_run("poison", params):
            pass
        assert statuses(params) == {"validate": "RUNNING", "trial": "RUNNING", "poison": "FINISHED"}


def test_the_same_stage_may_run_in_another_folder(params, repository, monkeypatch):
    copy = repository / ".dvc/tmp/exps/tmpabc"
    copy.mkdir(parents=True)
    (copy / "dvc.yaml").write_bytes((repository / "dvc.yaml").read_bytes())
    with running_stage():
        monkeypatch.chdir(copy)
        with stage_run("validate", params):
            pass


@pytest.mark.parametrize("tags", [{"process.host": "elsewhere"}, {}])
def test_runs_of_other_machines_are_left_alone(params, tags):
    with store.connected() as client:
        experiment = store.experiment(client, params.register.name)
        client.create_run(experiment, run_name="other", tags=tags | {"stage": "validate", "process.pid": "1"})
    with stage_run("validate", params):
        pass
    assert statuses(params)["other"] == "RUNNING"


def test_a_process_that_took_over_the_number_is_another(params):
    with store.connected() as client:
        experiment = store.experiment(client, params.register.name)
        with stage_run("validate", params):
            tags = mlflow.active_run().data.tags
        old = {key: value for key, value in tags.items() if key.startswith("process.")} | {"process.start": "5"}
        client.create_run(experiment, run_name="old", tags=old)
    with stage_run("validate", params):
        pass
    assert statuses(params)["old"] == "KILLED"


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)]
)
def test_a_stage_that_is_stopped_is_marked_at_once(params, number, status):
    with running_stage() as process:
        process.send_signal(number)
        assert process.wait(60) == status
    assert statuses(params)["validate"] == "KILLED"
    assert statuses(params)["trial"] == "FAILED"


def test_the_former_answer_to_sigterm_comes_back(params):
    former = signal.getsignal(signal.SIGTERM)
    with stage_run("validate", params):
        assert signal.getsignal(signal.SIGTERM) is not former
    assert signal.getsignal(signal.SIGTERM) is former
