import json

import mlflow
import pytest

from robust_distillation.errors import InputError
from robust_distillation.settings import format_epsilon
from robust_distillation.tracking import store
from robust_distillation.tracking.promotion import minima
from robust_distillation.tracking.summary import log_summary, read_metrics


def write(folder, name, values):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(values))


def test_metrics_get_dotted_names_and_the_headlines_their_short_ones(tmp_path):
    write(tmp_path, "autoencoder", {"mse_clean": 0.01, "mse_adversarial": 0.02, "mse_per_kind": {"fgsm 8/255": 0.03}})
    write(tmp_path, "student", {"accuracy": 0.9, "coverage": 1, "accuracy_when_answering": None, "note": "text"})
    write(tmp_path, "robustness", {"defence": {"clean": 0.8, "worst_case": {"8/255": 0.5}, "p(a)": 1.0}})
    assert read_metrics(tmp_path) == {
        "dae_mse_clean": 0.01,
        "dae_mse_adversarial": 0.02,
        "autoencoder.mse_per_kind.fgsm 8/255": 0.03,
        "student_accuracy": 0.9,
        "coverage": 1.0,
        "robustness.defence.clean": 0.8,
        "robustness.defence.worst_case.8/255": 0.5,
        "robustness.defence.p_a_": 1.0,
    }


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "teacher.json").write_text("{")
    with pytest.raises(InputError, match=r"teacher\.json: not JSON"):
        read_metrics(tmp_path)


def test_the_summary_holds_every_parameter_and_what_the_gate_asks_for(repository, params):
    metrics = repository / "reports/metrics"
    epsilon = format_epsilon(params.promotion.robust_epsilon)
    write(metrics, "student", {"accuracy": 0.9, "coverage": 0.95})
    write(metrics, "robustness", {"defence": {"worst_case": {epsilon: 0.5}}})
    with store.connected() as client:
        with mlflow.start_run(experiment_id=store.experiment(client, "e")) as run:
            log_summary(params, read_metrics())
        data = client.get_run(run.info.run_id).data
    assert set(minima(params.promotion)) <= set(data.metrics)
    assert data.params["data.synthetic.seed"] == "11"
    assert data.params["poison.kinds"] == "['fgsm', 'i_fgsm']"
    assert len(data.params) > 80
