"""Input filters: each against its definition, its stand-in, and bad settings."""

import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from robust_distillation.defences import INPUT_FILTERS
from robust_distillation.defences.input_filters import (
    JPEG,
    Stack,
    build_filter,
    differentiable,
    filtered,
)
from robust_distillation.defences.settings import BilateralFilter, InputFilters
from robust_distillation.errors import InputError

SETTINGS = InputFilters()
NAMES = [name for name in INPUT_FILTERS if name != "reform"]
WITH_A_SLOPE = ("median", "dual_median", "gaussian", "bilateral", "median+gaussian")


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "colour"])
def images(request):
    rng = np.random.default_rng(3)
    smooth = np.cumsum(rng.normal(0, 0.1, (4, 14, 11, request.param)), axis=1)
    return np.clip(0.5 + smooth + rng.normal(0, 0.05, smooth.shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize("name", [*NAMES, "jpeg+median"])
def test_shape_range_and_rows_stay(images, name):
    chosen = build_filter(name, SETTINGS)
    seen = chosen(images)
    assert (seen.dtype, seen.shape) == (np.float32, images.shape)
    assert 0 <= seen.min() < seen.max() <= 1
    assert 0 < np.abs(seen - images).mean() < 0.2
    for row in range(len(images)):
        np.testing.assert_array_equal(chosen(images[row : row + 1])[0], seen[row])


@pytest.mark.parametrize("name", WITH_A_SLOPE)
def test_stand_ins_with_a_slope_are_the_filter(images, name):
    chosen = build_filter(name, SETTINGS)
    np.testing.assert_allclose(chosen.smooth(tf.constant(images)), chosen(images), atol=2e-4)


@pytest.mark.parametrize("name", [*NAMES, "jpeg+median"])
def test_attackers_see_the_deployed_images_and_a_slope(images, name):
    through, variable = differentiable(build_filter(name, SETTINGS)), tf.Variable(images)
    with tf.GradientTape() as tape:
        seen = through(variable)
        total = tf.reduce_sum(seen)
    np.testing.assert_allclose(seen, build_filter(name, SETTINGS)(images), atol=1e-6)
    assert np.abs(tape.gradient(total, variable)).sum() > 0


def test_the_median_takes_out_single_pixels():
    flat = np.full((1, 9, 9, 1), 0.4, np.float32)
    spoilt = flat.copy()
    spoilt[0, 4, 4] = 1
    np.testing.assert_array_equal(build_filter("median", SETTINGS)(spoilt), flat)


def test_two_passes_are_two_medians(images):
    settings = InputFilters(dual_median=(3, 5))
    first = build_filter("median", InputFilters(median=3))(images)
    expected = build_filter("median", InputFilters(median=5))(first)
    np.testing.assert_array_equal(build_filter("dual_median", settings)(images), expected)


def test_fewer_bits_are_fewer_levels(images):
    assert len(np.unique(build_filter("bit_depth", InputFilters(bit_depth=2))(images))) == 4


@pytest.mark.parametrize(
    ("name", "weak", "strong"),
    [
        ("gaussian", {"gaussian": 0.5}, {"gaussian": 2.0}),
        ("jpeg", {"jpeg": 95}, {"jpeg": 5}),
        ("total_variation", {"total_variation": 0.02}, {"total_variation": 0.5}),
        (
            "bilateral",
            {"bilateral": BilateralFilter(diameter=5, colour=0.05, space=1.5)},
            {"bilateral": BilateralFilter(diameter=5, colour=1.0, space=1.5)},
        ),
    ],
)
def test_strength_is_what_it_says(images, name, weak, strong):
    moved = [np.abs(build_filter(name, InputFilters(**asked))(images) - images).mean() for asked in (weak, strong)]
    assert moved[0] < moved[1]


def test_the_stand_in_of_compression_loses_what_compression_loses(images):
    chosen = JPEG(50)
    np.testing.assert_array_equal(chosen.steps[0][0], [16, 11, 10, 16, 24, 40, 51, 61])
    lost = chosen(images) - images
    apart = chosen.smooth(tf.constant(images)).numpy() - chosen(images)
    assert np.abs(apart).mean() < 0.7 * np.abs(lost).mean()
    best = JPEG(100).smooth(tf.constant(images[..., :1])).numpy()
    np.testing.assert_allclose(best, images[..., :1], atol=3 / 255)


@pytest.mark.parametrize("weight", [0.02, 0.1, 0.5])
def test_the_stand_in_of_total_variation_flattens_as_it_does(images, weight):
    chosen = build_filter("total_variation", InputFilters(total_variation=weight))
    lost, apart = chosen(images) - images, chosen.smooth(tf.constant(images)).numpy() - chosen(images)
    assert np.abs(apart).mean() < 0.3 * np.abs(lost).mean()
    even = tf.Variable(np.full_like(images, 0.5))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(chosen.smooth(even))
    np.testing.assert_allclose(tape.gradient(total, even), 1, atol=1e-3)  # what is even moves as a whole


def test_a_stack_is_one_after_the_other(images):
    stack = build_filter("jpeg+median+bit_depth", SETTINGS)
    assert isinstance(stack, Stack)
    expected = images
    for name in ("jpeg", "median", "bit_depth"):
        expected = build_filter(name, SETTINGS)(expected)
    np.testing.assert_array_equal(stack(images), expected)


def test_a_model_behind_a_filter(problem):
    chosen = build_filter("median", SETTINGS)
    expected = problem.model(chosen(problem.images))
    np.testing.assert_allclose(filtered(problem.model, chosen)(tf.constant(problem.images)), expected, atol=1e-4)


def test_the_autoencoder_is_a_filter_where_there_is_one(problem, smoothing):
    chosen = build_filter("reform+bit_depth", SETTINGS, smoothing)
    assert len(np.unique(chosen(problem.images))) <= 8
    with pytest.raises(InputError, match="input filter reform needs an autoencoder"):
        build_filter("reform", SETTINGS)


def test_an_unknown_filter_is_named():
    with pytest.raises(InputError, match=r"input filter must be one of median, dual_median, .* Received: 'mode'"):
        build_filter("median+mode", SETTINGS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"median": 4},
        {"median": 1},
        {"dual_median": (3, 2)},
        {"gaussian": 0},
        {"bit_depth": 9},
        {"jpeg": 0},
        {"mean": 3},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        InputFilters(**wrong)
