import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest
import requests
import yaml

from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.files import write_json
from robust_distillation.params import load_params
from robust_distillation.paths import CLASSES, DEFENCE, METRICS, TEST, VERDICT
from robust_distillation.records import Classes
from robust_distillation.tracking import store

ROOT = Path(__file__).parents[2]
GATE = {"min_clean_accuracy": 0.7, "min_coverage": 0.8, "min_robust_accuracy": 0.2, "robust_epsilon": 0.01}


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An MLflow store without runs: making its tables takes a second, so most tests start from a copy."""
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        clear_mlflow_settings(patch)
        patch.chdir(folder)
        with store.connected():
            return folder / "mlruns/mlflow.db"


def clear_mlflow_settings(patch: pytest.MonkeyPatch) -> None:
    """Clear MLflow's settings, and take back after the test what the code under test sets."""
    for name in {*(name for name in os.environ if name.startswith("MLFLOW_")), store.VARIABLE, *store.SETTINGS}:
        patch.setenv(name, "")
        patch.delenv(name)


@pytest.fixture(scope="session")
def enter(empty_store):
    """A function that makes a folder the working directory, with an empty store, params.yaml, no MLflow settings."""

    def enter_folder(folder: Path, patch: pytest.MonkeyPatch) -> None:
        clear_mlflow_settings(patch)
        patch.chdir(folder)
        (folder / "mlruns").mkdir()
        copyfile(empty_store, folder / "mlruns/mlflow.db")
        params = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"promotion": GATE}
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    return enter_folder


@pytest.fixture
def repository(tmp_path, monkeypatch, enter):
    """A git repository with a small pipeline, as working directory."""
    enter(tmp_path, monkeypatch)
    (tmp_path / ".gitignore").write_text("mlruns/\n/data/dataset\n")
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n"
        "  poison:\n"
        "    cmd: echo\n"
        "    deps: [data/dataset, code.py]\n"
        "    params: [poison.fraction, poison.seed, surrogate]\n"
        "  validate:\n"
        "    cmd: echo\n"
    )
    (tmp_path / "code.py").write_text("print()\n")
    (tmp_path / "data/dataset/nested").mkdir(parents=True)
    (tmp_path / "data/dataset/train.p").write_bytes(b"train")
    (tmp_path / "data/dataset/nested/a").write_bytes(b"a")
    for command in (["init", "-q"], ["config", "user.name", "Tester"], ["config", "user.email", "t@example.org"]):
        subprocess.run(["git", *command], check=True)
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(["git", "commit", "-qm", "first"], check=True)
    return tmp_path


@pytest.fixture
def params(repository):
    return load_params()


@pytest.fixture(scope="session")
def write_pipeline_outputs():
    """A function that leaves in the working directory what the stages before `register` leave, and its entry."""
    return write_outputs


def write_outputs(images: np.ndarray, ids: list[int], names: list[str]) -> None:
    """The thresholds are set so that some of `images` lie on either side."""
    write_defence(images.shape[1:], ids, names)
    numbers = np.zeros(len(images), np.int64)
    ImageSet(
        features=images,
        labels=numbers,
        ids=np.array([str(number) for number in range(len(images))]),
        tracks=numbers,
        sizes=np.zeros((len(images), 2), np.int64),
        coords=np.zeros((len(images), 4), np.int64),
    ).save(TEST)
    write_json(CLASSES, {"ids": ids, "names": names})
    write_json(METRICS / "student.json", {"accuracy": 0.9, "coverage": 0.95})
    robustness = {"defence": {"worst_case": {"0.01": 0.5}}, "flags": {"zero_gradients": 0.0}}
    write_json(METRICS / "robustness.json", robustness)
    write_json(VERDICT, {"images": {"train": 60, "test": len(images)}})
    deps = [TEST.parent, DEFENCE.parent, METRICS, VERDICT]
    entry = {"cmd": "echo", "deps": [str(path) for path in deps], "params": ["register"]}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"register": entry}}))


def write_defence(shape: tuple[int, ...], ids: list[int], names: list[str]) -> None:
    import keras
    from keras import layers

    from robust_distillation.defences.abstention import Abstention
    from robust_distillation.defences.defence import Defence
    from robust_distillation.defences.detectors.mse import ReconstructionError

    keras.utils.set_random_seed(0)
    image = keras.Input(shape)
    flat = layers.Dropout(0.3)(layers.Flatten()(image))
    student = keras.Model(image, layers.Dense(len(ids))(flat))
    autoencoder = keras.Model(image, layers.Conv2D(3, 3, padding="same", activation="sigmoid")(image))
    distributions = np.eye(len(ids)).tolist()
    Defence(
        student=student,
        classes=Classes(ids=ids, names=names),
        autoencoder=autoencoder,
        detector=ReconstructionError(autoencoder, 0.1),
        abstention=Abstention(student, "passes", 5, 1, distributions, threshold=0.02),
    ).save(DEFENCE)


@pytest.fixture(scope="session")
def free_port():
    """A function that returns a port on which nothing listens."""
    return find_free_port


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def server(tmp_path_factory, empty_store):
    """A real MLflow server on loopback."""
    folder = tmp_path_factory.mktemp("server")
    port = find_free_port()
    uri = f"http://127.0.0.1:{port}"
    copyfile(empty_store, folder / "mlflow.db")
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(
        [*command, "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"],
        cwd=folder,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        start_new_session=True,
    )
    try:
        wait_until_healthy(uri)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def wait_until_healthy(uri: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if requests.get(f"{uri}/health", timeout=1).ok:
                return
        except requests.RequestException:
            time.sleep(0.1)
    pytest.fail(f"{uri} did not answer within {seconds} s")
