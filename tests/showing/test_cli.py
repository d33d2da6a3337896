"""`robust-distillation explain` as it is typed."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from robust_distillation.cli import main


@pytest.fixture(scope="module")
def sign(tmp_path_factory):
    path = tmp_path_factory.mktemp("signs") / "sign.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(path)
    return path


def run(*arguments):
    return CliRunner().invoke(main, ["explain", *map(str, arguments)])


def test_it_prints_a_table_and_saves_a_picture(sign, tmp_path):
    output = tmp_path / "made" / "picture.png"
    done = run(sign, "--epsilon", "4/255", "--output", output)
    assert done.exit_code == 0, done.output
    assert "fitted from 64x48 to 32x32" in done.output
    assert "4/255" in done.output
    with Image.open(output) as picture:
        assert picture.format == "PNG"
        assert picture.width > 500


def test_any_keras_file_will_do(sign, tmp_path):
    import keras

    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    done = run(sign, "--model", tmp_path / "model.keras", "--output", tmp_path / "picture.png")
    assert done.exit_code == 0, done.output
    assert "turned grey" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--label", "43"], "0 to 42"),
        (["--model", "nothing"], "choose one of gtsrb-published, gtsrb-student"),
        (["--epsilon", "9"], "8 of 255"),
        (["--epsilon", "8/255", "--epsilon", "8/255"], "twice"),
    ],
)
def test_what_makes_no_sense_is_one_line(sign, tmp_path, arguments, said):
    done = run(sign, *arguments, "--output", tmp_path / "picture.png")
    assert done.exit_code != 0
    assert said in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "picture.png").exists()


def test_what_is_no_image_is_one_line(tmp_path):
    done = run(tmp_path / "none.png")
    assert done.exit_code == 1
    assert "not found" in done.output
