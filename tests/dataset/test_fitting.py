"""Any image file, as a model takes it."""

import numpy as np
import pytest
from PIL import Image

from robust_distillation.dataset.fitting import ORIENTATION, fit_image
from robust_distillation.errors import InputError

SHAPE = (8, 8, 3)


@pytest.fixture
def saved(tmp_path):
    def save(image, name="image.png", **settings):
        image.save(tmp_path / name, **settings)
        return tmp_path / name

    return save


def noise(height=8, width=8, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def test_what_fits_is_left_as_it_is(saved):
    pixels = noise()
    fitted = fit_image(saved(Image.fromarray(pixels)), SHAPE)
    np.testing.assert_array_equal(fitted.features, pixels)
    assert fitted.notes == []


def test_a_larger_image_is_scaled_and_that_is_said(saved):
    fitted = fit_image(saved(Image.new("RGB", (40, 40), "red")), SHAPE)
    np.testing.assert_array_equal(fitted.features, np.broadcast_to([255, 0, 0], SHAPE))
    assert fitted.notes == ["fitted from 40x40 to 8x8 pixels"]


def test_the_middle_of_a_wide_image_is_cut_out(saved):
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, 8:16] = noise()
    fitted = fit_image(saved(Image.fromarray(pixels)), SHAPE)
    np.testing.assert_array_equal(fitted.features, noise())
    assert fitted.notes[-1] == "its middle cut out"


def test_a_turned_photograph_stands_upright(saved):
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # to be turned by a quarter, clockwise
    pixels = noise()
    fitted = fit_image(saved(Image.fromarray(pixels), exif=exif), SHAPE)
    np.testing.assert_array_equal(fitted.features, np.rot90(pixels, -1))
    assert fitted.notes == ["turned as its camera noted"]


@pytest.mark.parametrize(
    ("mode", "channels", "note"),
    [("L", 3, "turned from L to colour"), ("P", 3, "turned from P to colour"), ("RGB", 1, "turned grey")],
)
def test_colours_are_those_of_the_model(saved, mode, channels, note):
    fitted = fit_image(saved(Image.fromarray(noise()).convert(mode)), (8, 8, channels))
    assert fitted.features.shape == (8, 8, channels)
    assert fitted.notes == [note]


def test_what_is_transparent_is_white(saved):
    fitted = fit_image(saved(Image.new("RGBA", (8, 8), (255, 0, 0, 0))), SHAPE)
    assert (fitted.features == 255).all()
    assert "transparent" in fitted.notes[0]


def test_what_is_no_image_is_refused(tmp_path, saved):
    (tmp_path / "text.png").write_text("no image")
    whole = saved(Image.fromarray(noise(64, 64)))
    (tmp_path / "half.png").write_bytes(whole.read_bytes()[:400])
    for name, said in [
        ("text.png", "not a readable image"),
        ("half.png", "not a readable image"),
        ("none.png", "not found"),
        (".", "a folder"),
    ]:
        with pytest.raises(InputError, match=said):
            fit_image(tmp_path / name, SHAPE)


def test_channels_that_no_file_has_are_refused(saved):
    with pytest.raises(InputError, match="2 channels"):
        fit_image(saved(Image.fromarray(noise())), (8, 8, 2))
