import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import mlflow
import numpy as np
import pytest
import requests
from mlflow.exceptions import MlflowException

from robust_distillation.errors import InputError
from robust_distillation.files import read_json
from robust_distillation.params import load_params
from robust_distillation.paths import DEFENCE, REGISTERED
from robust_distillation.tracking import store
from robust_distillation.tracking.promotion import promote

SHAPE = (12, 12, 3)
IDS, NAMES = [2, 14, 33], ["speed limit 50", "stop", "turn right"]
COLUMNS = ["label", "name", "probability", "uncertainty", "abstained", "reconstruction_error", "suspicious"]
IMAGES = np.random.default_rng(3).integers(0, 256, (8, *SHAPE), dtype=np.uint8)
IMAGES[::2] //= 4
UINT8 = r"images must be uint8 \(whole numbers, 0 to 255\) of shape \(N, 12, 12, 3\), N at least 1. Received: "


@pytest.fixture(scope="module")
def folder(tmp_path_factory, enter, write_pipeline_outputs):
    """A working directory in which the register stage ran, and its version was promoted."""
    from robust_distillation.stages import register

    folder = tmp_path_factory.mktemp("registered")
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        write_pipeline_outputs(IMAGES, IDS, NAMES)
        params = load_params()
        with store.connected() as client, mlflow.start_run(experiment_id=store.experiment(client, "e")):
            register.main(params)
        promote(params)
        yield folder


@pytest.fixture(scope="module")
def model(folder):
    return mlflow.pyfunc.load_model("models:/traffic-sign-student@staging")


@pytest.fixture(scope="module")
def answer(model, free_port):
    """A function that posts a JSON body to MLflow's scoring server and returns the response."""
    import uvicorn
    from mlflow.pyfunc import scoring_server

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(scoring_server.init(model), port=port, log_level="error"))
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield lambda **body: requests.post(f"http://127.0.0.1:{port}/invocations", json=body, timeout=60)
    server.should_exit = True
    thread.join(10)


def test_the_stage_registers_a_version_of_the_summary_run(folder):
    version = mlflow.MlflowClient().get_model_version("traffic-sign-student", "1")
    run = mlflow.get_run(version.run_id)
    registered = read_json(REGISTERED)
    assert registered == {"name": version.name, "version": "1", "run_id": version.run_id} | {
        "pipeline": version.tags["pipeline"]
    }
    assert {name: value for name, value in run.data.metrics.items() if not name.startswith("_headline/")} == {
        "student_accuracy": 0.9,
        "coverage": 0.95,
        "robustness.defence.worst_case.0.01": 0.5,
        "robustness.flags.zero_gradients": 0.0,
    }
    assert run.info.run_name == "summary v1"
    assert run.data.tags["summary"] == "true"
    assert run.data.params["student.epochs"] == str(load_params().student.epochs)


def test_the_signature_names_one_dtype(model):
    assert str(model.metadata.signature.inputs) == "[Tensor('uint8', (-1, 12, 12, 3))]"
    assert model.metadata.signature.outputs.input_names() == COLUMNS
    np.testing.assert_array_equal(model.input_example, IMAGES[:2])


def test_nothing_is_pickled(folder):
    files = [path for path in (folder / "mlruns/artifacts/models").rglob("*") if path.is_file()]
    # Python keeps bytecode beside the model's code once that is imported. The mark of a typed package is an empty file.
    assert all(path.stat().st_size == 0 for path in files if path.name == "py.typed")
    logged = {path.suffix for path in files if path.parent.name != "__pycache__" and path.name != "py.typed"}
    assert logged <= {"", ".py", ".keras", ".json", ".yaml", ".txt", ".md", ".css", ".j2", ".js"}


def test_each_image_is_answered_by_the_rooms(model):
    from robust_distillation.classifiers.storage import load_model
    from robust_distillation.defences.abstention import Abstention

    answers = model.predict(IMAGES)
    images = IMAGES.astype(np.float32) / 255
    student, autoencoder = load_model(DEFENCE / "student.keras"), load_model(DEFENCE / "autoencoder.keras")
    seen = autoencoder.predict(images, verbose=0)
    powers = np.exp(student.predict(seen, verbose=0).astype(np.float64))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    abstention = Abstention(student, **read_json(DEFENCE / "defence.json")["abstention"])

    assert list(answers.columns) == COLUMNS
    np.testing.assert_allclose(answers.probability, probabilities.max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(answers.uncertainty, abstention.uncertainty(seen), rtol=1e-4)
    np.testing.assert_allclose(answers.reconstruction_error, ((images - seen) ** 2).mean(axis=(1, 2, 3)), rtol=1e-5)
    assert (answers.abstained == (answers.uncertainty > abstention.threshold)).all()
    assert (answers.suspicious == (answers.reconstruction_error > 0.1)).all()
    assert set(answers.abstained) == set(answers.suspicious) == {True, False}
    for row, best in zip(answers.itertuples(), probabilities.argmax(axis=1), strict=True):
        assert (row.label, row.name) == ((None, None) if row.abstained else (IDS[best], NAMES[best]))


def test_what_is_served_is_what_was_audited(model):
    from robust_distillation.defences.defence import Defence

    audited, served = Defence.load(DEFENCE).answer(IMAGES.astype(np.float32) / 255), model.predict(IMAGES)
    np.testing.assert_array_equal(served.probability, audited.probabilities.max(axis=1))
    np.testing.assert_array_equal(served.uncertainty, audited.scores["abstention"])
    np.testing.assert_array_equal(served.reconstruction_error, audited.scores["detector"])
    np.testing.assert_array_equal(served.abstained, audited.refused_by("abstention"))
    np.testing.assert_array_equal(served.suspicious, audited.refused_by("detector"))
    answered = ~audited.refused_by("abstention")
    np.testing.assert_array_equal(served.label[answered], np.array(IDS)[audited.best[answered]])


def test_a_part_that_a_defence_lacks_leaves_its_column_empty():
    from robust_distillation.defences.defence import Answers
    from robust_distillation.records import Classes
    from robust_distillation.tracking.serving import as_table

    table = as_table(Answers(np.eye(2, dtype=np.float32)), Classes(ids=[3, 4], names=["a", "b"]))
    assert table.label.tolist() == [3, 4]
    assert table.uncertainty.isna().all()
    assert table.reconstruction_error.isna().all()
    assert not table.abstained.any()
    assert not table.suspicious.any()
    assert '"uncertainty": null' in json.dumps(table.to_dict(orient="records"), allow_nan=False)


def test_a_defence_that_cannot_be_loaded_is_not_registered(folder):
    from robust_distillation.stages import register

    versions = len(mlflow.MlflowClient().search_model_versions())
    path = folder / DEFENCE / "defence.json"
    before = path.read_text()
    path.write_text(before[:100])
    try:
        with (
            store.connected() as client,
            mlflow.start_run(experiment_id=store.experiment(client, "e")),
            pytest.raises(InputError, match=r"defence\.json: "),
        ):
            register.main(load_params())
    finally:
        path.write_text(before)
    assert len(mlflow.MlflowClient().search_model_versions()) == versions


@pytest.mark.parametrize(
    ("images", "received"),
    [
        (IMAGES / 255, "float64 of shape"),
        (IMAGES.astype(np.float32), "float32 of shape"),
        (IMAGES.astype(np.int64), "int64 of shape"),
        (IMAGES[:, :8], r"uint8 of shape \(8, 8, 12, 3\)"),
        (IMAGES[0], r"uint8 of shape \(12, 12, 3\)"),
        (IMAGES[:0], r"uint8 of shape \(0, 12, 12, 3\)"),
        (IMAGES[..., :1], r"uint8 of shape \(8, 12, 12, 1\)"),
    ],
)
def test_any_other_array_is_refused(model, images, received):
    with pytest.raises(MlflowException, match=UINT8 + received):
        model.predict(images)


def test_http_gives_the_same_answers(model, answer):
    response = answer(inputs=IMAGES.tolist())
    assert response.status_code == 200
    assert response.json()["predictions"] == model.predict(IMAGES).to_dict(orient="records")


def with_first_value(value) -> list:
    images = IMAGES.tolist()
    images[0][0][0][0] = value
    return images


@pytest.mark.parametrize(
    ("images", "received"),
    [
        ((IMAGES / 255).tolist(), "float64 of shape"),
        ((IMAGES > 127).astype(float).tolist(), "float64 of shape"),
        (with_first_value(0.5), "float64 of shape"),
        (with_first_value(256), "values from 0 to 256"),
        (with_first_value(-1), "values from -1 to 255"),
        (with_first_value("1"), "<U"),
        (with_first_value(None), "object of shape"),
        (with_first_value([1]), "lists of unequal length"),
        (IMAGES[0].tolist(), r"int64 of shape \(12, 12, 3\)"),
        ({"a": 1}, "object of shape"),
    ],
)
def test_http_refuses_what_a_cast_would_change(answer, images, received):
    response = answer(inputs=images)
    assert response.status_code == 400
    assert re.fullmatch(UINT8 + received + ".*", response.json()["message"])


@pytest.mark.parametrize("key", ["instances", "dataframe_split"])
def test_http_takes_inputs_alone(answer, key):
    response = answer(**{key: IMAGES.tolist()})
    assert response.status_code == 400
    assert "'inputs' key" in response.json()["message"]


def test_requests_at_once_do_not_disturb_each_other(model):
    batches = [IMAGES[[number]] for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(model.predict, batches))
    for batch, answers in zip(batches, together, strict=True):
        assert answers.equals(model.predict(batch))
