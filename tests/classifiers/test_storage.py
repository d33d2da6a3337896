import keras
import numpy as np
import pytest

from robust_distillation.classifiers.architectures import ARCHITECTURES
from robust_distillation.classifiers.storage import load_model, save_model
from robust_distillation.classifiers.training import predict_logits
from robust_distillation.errors import InputError


def test_equal_models_give_equal_bytes(tmp_path):
    for name in ("one", "other"):
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        save_model(ARCHITECTURES["resnet"]((12, 12, 3), 4), tmp_path / f"{name}.keras")
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "other.keras").read_bytes()


def test_a_saved_model_loads_without_this_package_and_answers_alike(problem, tmp_path):
    save_model(problem.model, tmp_path / "model.keras")
    expected = predict_logits(problem.model, problem.images)
    for loaded in (keras.models.load_model(tmp_path / "model.keras"), load_model(tmp_path / "model.keras")):
        np.testing.assert_array_equal(predict_logits(loaded, problem.images), expected)


def test_a_file_that_is_no_model_is_named_in_one_line(tmp_path):
    broken = tmp_path / "model.keras"
    broken.write_text("no model")
    for path in (broken, tmp_path / "absent.keras"):
        with pytest.raises(InputError, match=path.name) as error:
            load_model(path)
        assert "\n" not in str(error.value)
