from pathlib import Path

import pytest
import yaml
from rich.console import Console

from robust_distillation.errors import InputError
from robust_distillation.files import write_json
from robust_distillation.overview import overview
from robust_distillation.params import load_params
from robust_distillation.paths import METRICS, VERDICT

DEFAULTS = Path(__file__).parents[1] / "params.yaml"
SIZES = {"train": 8, "validate": 2, "test": 4, "trusted": 3}


def victim(clean, worst):
    return {"clean": clean, "worst_case": {"0.01": worst}}


def found():
    return {
        "poison": {"poisoned": 2, "of": 8},
        "filter": {"threshold": 0.0045, "discarded": 1, "trusted": 3},
        "filter_audit": {"auroc": None, "precision": 1.0, "recall": 0.5, "published": {"auroc": 0.55}},
        "autoencoder": {"mse_clean": 0.001, "mse_adversarial": 0.002},
        "teacher": {"accuracy": 0.91},
        "student": {"accuracy": 0.92, "coverage": 0.9, "accuracy_when_answering": None},
        "robustness": {
            "images": 4,
            **{name: victim(0.75, 0.25) for name in ("undefended", "teacher", "student")},
            "defence": victim(0.7, 0.125),
            "attack_success": {"0.01": 0.6},
            "flags": {"zero_gradients": 0.0, "more_steps_gain": 1.0},
        },
    }


@pytest.fixture
def show(tmp_path, monkeypatch):
    """What a terminal of 100 columns shows of a run with some metrics."""
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load(DEFAULTS.read_text())
    params["dataset"] |= {f"{name}_samples": size for name, size in SIZES.items()} | {"trusted_samples": 30}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    write_json(VERDICT, {"images": SIZES})

    def shown(metrics):
        for stage, values in metrics.items():
            write_json(METRICS / f"{stage}.json", values)
        console = Console(width=100, record=True, quiet=False)
        with console.capture() as capture:
            console.print(overview(load_params()))
        return capture.get()

    return shown


def test_results_fit_the_screen_and_say_what_fell_short(show):
    text = show(found())
    assert max(map(len, text.splitlines())) <= 100
    for told in (
        "train 8, validate 2, test 4, trusted 3",
        "accuracy 0.92; answers 0.90, none of them right",
        "AUROC none, published 0.55; discarded 1",
    ):
        assert told in text
    assert "trusted 3 of 30 asked for" in text
    assert "for want of trusted images" not in text
    assert "validate 2 of" not in text
    (defence,) = (line.split() for line in text.splitlines() if "defence" in line)
    assert [word for word in defence if word[0].isdigit()] == ["0.70", "0.12"]
    assert "cannot be trusted: more_steps_gain" in text
    assert "mlflow ui" in text


def test_silent_flags_are_said_to_be(show):
    metrics = found()
    metrics["robustness"]["flags"] = {"zero_gradients": 0.0}
    assert "no reliability flag is raised" in show(metrics)


def test_a_run_that_is_not_done_is_named(show):
    metrics = found()
    del metrics["robustness"]
    with pytest.raises(InputError, match=r"robustness\.json: not found"):
        show(metrics)
