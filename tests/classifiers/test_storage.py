import zipfile

import keras
import numpy as np
import pytest

from robust_distillation.classifiers import ARCHITECTURES
from robust_distillation.classifiers.storage import load_autoencoder, load_model, save_model
from robust_distillation.classifiers.training import predict_logits
from robust_distillation.defences.autoencoder import Hyperparameters, build_autoencoder
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


def replaced(path, **members):
    """Replace members of a zip, named without their dots."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, members.get(name.replace(".", "_"), data))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: replaced(path, model_weights_h5=b"garbage"),
        lambda path: replaced(path, model_weights_h5=b""),
        lambda path: replaced(path, config_json=b"[]"),
        lambda path: replaced(path, config_json=b"{}"),
    ],
)
def test_a_spoilt_file_is_named_in_one_line(problem, tmp_path, spoil):
    path = tmp_path / "model.keras"
    save_model(problem.model, path)
    spoil(path)
    with pytest.raises(InputError, match=r"model\.keras: not a .*Keras.*; run `dvc repro` to make it again$") as error:
        load_model(path)
    assert "\n" not in str(error.value)
    assert "File not found" not in str(error.value)


def test_an_autoencoder_makes_images_of_images(problem, tmp_path):
    chosen = Hyperparameters(width=4, depth=1, latent=4, optimizer="sgd", learning_rate=0.01)
    save_model(build_autoencoder((12, 12, 3), chosen), tmp_path / "autoencoder.keras")
    assert load_autoencoder(tmp_path / "autoencoder.keras", (12, 12, 3)).output_shape == (None, 12, 12, 3)
    with pytest.raises(InputError, match=r"autoencoder\.keras: no autoencoder of \(16, 16, 3\) images"):
        load_autoencoder(tmp_path / "autoencoder.keras", (16, 16, 3))
    save_model(problem.model, tmp_path / "student.keras")
    with pytest.raises(InputError, match=r"student\.keras: no autoencoder .* it makes \(4,\) of \(12, 12, 3\)"):
        load_autoencoder(tmp_path / "student.keras", (12, 12, 3))
