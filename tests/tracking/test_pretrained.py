from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from robust_distillation.cli import main
from robust_distillation.pretrained import CARD, FOLDER, load_pretrained, pretrained_names
from robust_distillation.tracking import store

NAME = "gtsrb-student"


@pytest.fixture
def empty(tmp_path, monkeypatch, enter):
    """A working directory with an empty store."""
    enter(tmp_path, monkeypatch)
    return tmp_path


def test_a_pretrained_defence_is_registered_once_with_its_card_and_answers_as_it_does_here(empty):
    done = CliRunner().invoke(main, ["register-pretrained"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{NAME} version 1 is registered\n")
    again = CliRunner().invoke(main, ["register-pretrained", NAME])
    assert again.stdout.startswith(f"{NAME} version 1 was registered before\n")

    import mlflow

    with store.connected() as client:
        assert client.get_model_version(NAME, "1").description == (FOLDER / NAME / CARD).read_text()
        served = mlflow.pyfunc.load_model(f"models:/{NAME}/1")
        version = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/1", dst_path=empty / "version"))
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    assert not list((version / "code").rglob("*.keras")), "the package's own models are not part of every version"
    table = served.predict(images)
    answers = load_pretrained(NAME).answer(images.astype(np.float32) / 255)
    np.testing.assert_allclose(table["probability"], answers.probabilities.max(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(table["abstained"], answers.refused_by("abstention"))


def test_an_unknown_one_is_one_line(empty):
    refused = CliRunner().invoke(main, ["register-pretrained", "nonsense"])
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert f"pretrained nonsense: there is none; choose one of {', '.join(pretrained_names())}" in refused.stderr
