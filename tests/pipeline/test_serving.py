"""The promoted model, served by MLflow."""

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress

import pytest
import requests

from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.paths import TEST

COLUMNS = {"label", "name", "probability", "uncertainty", "abstained", "reconstruction_error", "suspicious"}


@pytest.fixture(scope="module")
def server(clone):
    """The address of MLflow's server of the promoted model."""
    # What has trained for seconds may well raise a reliability flag.
    clone.run("robust-distillation", "promote", "--force", "--reason", "first")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    name = clone.params().register.name
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
