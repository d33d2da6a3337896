"""Randomized smoothing against what is known of linear models, SciPy, and attacks."""

import keras
import numpy as np
import pytest
from scipy.stats import binomtest, norm

from robust_distillation.defences.smoothing import ABSTAIN, BLOCK, Smoothed, linf_radius, lower_bound, radius
from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.sign import PGD

SIGMA = 0.25


@pytest.fixture(scope="module")
def halves():
    """A model that tells whether the mean of 4x4 pixels is above a half, along a direction of length 1."""
    image = keras.Input((4, 4, 1))
    dense = keras.layers.Dense(2)
    model = keras.Model(image, dense(keras.layers.Flatten()(image)))
    dense.set_weights([np.stack([np.zeros(16), np.full(16, 1 / 4)], axis=1), np.array([0, -2.0])])
    return model


def plain(values):
    return np.ones((len(values), 4, 4, 1), np.float32) * np.array(values, np.float32)[:, None, None, None]


def test_counts_are_those_of_the_normal_distribution(halves):
    values = np.array([0.35, 0.45, 0.5, 0.6])
    counts = Smoothed(halves, sigma=SIGMA).count(plain(values), 5000, first=0, stream=0)
    assert (counts.sum(axis=1) == 5000).all()
    expected = norm.cdf(4 * (values - 0.5) / SIGMA)  # the distance to the boundary is 16 * |v - 0.5| / 4
    np.testing.assert_allclose(counts[:, 1] / 5000, expected, atol=4 * 0.5 / np.sqrt(5000))


def test_batch_normalisation_counts(halves):
    norm_of_logits = keras.layers.BatchNormalization(epsilon=0)
    model = keras.Model(halves.input, norm_of_logits(halves.output))
    moved = 0.4  # how far up it moves the boundary, in terms of the logits
    norm_of_logits.set_weights([np.ones(2), np.zeros(2), np.array([0, moved]), np.ones(2)])
    values = np.array([0.5, 0.55, 0.6, 0.7])
    counts = Smoothed(model, sigma=SIGMA).count(plain(values), 5000, first=0, stream=0)
    expected = norm.cdf((4 * (values - 0.5) - moved) / SIGMA)
    np.testing.assert_allclose(counts[:, 1] / 5000, expected, atol=4 * 0.5 / np.sqrt(5000))


def test_no_certificate_exceeds_the_distance_to_the_boundary(halves):
    values = np.linspace(0.2, 0.8, 61)
    distances = 4 * np.abs(values - 0.5)
    found = Smoothed(halves, sigma=SIGMA).certify(plain(values), n=2000)
    known = found.labels != ABSTAIN
    np.testing.assert_array_equal(found.labels[known], (values > 0.5)[known])
    assert (found.radii[known] <= distances[known]).all()
    assert (found.radii[~known] == 0).all()
    near = (distances > 0.1) & (distances < 0.5)
    assert (found.radii[near] > distances[near] - 0.1).all()


def test_draws_depend_on_seed_and_number_alone(halves):
    images = plain([0.4, 0.5, 0.52, 0.45])
    whole = Smoothed(halves, sigma=SIGMA, seed=3).count(images, 1234, first=0, stream=1)
    part = Smoothed(halves, sigma=SIGMA, seed=3).count(images[2:], 1234, first=2, stream=1)
    np.testing.assert_array_equal(whole[2:], part)
    fewer = Smoothed(halves, sigma=SIGMA, seed=3).count(images, BLOCK, first=0, stream=1)
    assert (fewer <= whole).all()
    for other in (
        Smoothed(halves, sigma=SIGMA, seed=4).count(images, 1234, first=0, stream=1),
        Smoothed(halves, sigma=SIGMA, seed=3).count(images, 1234, first=0, stream=2),
    ):
        assert (whole != other).any()


def test_the_bound_is_clopper_and_pearsons():
    counts = np.array([0, 1, 70, 99, 100])
    expected = [binomtest(int(count), 100, alternative="greater").proportion_ci(0.999, "exact").low for count in counts]
    np.testing.assert_allclose(lower_bound(counts, 100, 0.001), expected, rtol=1e-9)


def test_radii_by_hand():
    found = radius(np.array([0.2, 0.5, 0.8413447, 0.9772499]), SIGMA)
    np.testing.assert_allclose(found, [0, 0, SIGMA, 2 * SIGMA], atol=1e-6)
    np.testing.assert_allclose(linf_radius(np.array([0.8]), (4, 4, 1)), [0.2])


def test_answers_are_those_of_the_base_where_it_is_sure(halves):
    smoothed = Smoothed(halves, sigma=SIGMA)
    assert smoothed.predict(plain([0.3, 0.7, 0.5]), n=500).tolist() == [0, 1, ABSTAIN]


def test_what_is_certified_is_not_broken(problem):
    smoothed = Smoothed(problem.model, sigma=0.1)
    images, labels = problem.images[:20], problem.labels[:20]
    found = smoothed.certify(images, n=1000)
    certified = found.standing(labels, 0.01)
    assert certified.sum() > 5
    attack = PGD(norm="l2", steps=20)
    for image, label, within in zip(images[certified], labels[certified], found.radii[certified], strict=True):
        moved = attack(problem.model, image[None], np.array([label]), epsilon=float(within) * 0.999)
        assert smoothed.predict(moved, n=1000)[0] in (label, ABSTAIN)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda model: Smoothed(model, sigma=0), "sigma must be above 0. Received: 0"),
        (lambda model: Smoothed(model, sigma=1).certify(plain([0.5]), n=0), "n must be at least 1"),
        (lambda model: Smoothed(model, sigma=1).certify(plain([0.5]), alpha=1), r"alpha must lie in \(0, 1\)"),
        (lambda model: Smoothed(model, sigma=1).predict(plain([0.5]), alpha=0), r"alpha must lie in \(0, 1\)"),
    ],
)
def test_what_is_out_of_range_is_refused(halves, call, words):
    with pytest.raises(InputError, match=words):
        call(halves)
