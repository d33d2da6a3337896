from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.metrics import roc_auc_score

from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.detectors.detector import Models, load_detector, margin, save_detector
from robust_distillation.defences.detectors.residual import THRESHOLD, Residual, turned
from robust_distillation.defences.detectors.twins import altered, compressed, twins
from robust_distillation.defences.settings import Filter
from robust_distillation.defences.settings import Residual as Settings
from robust_distillation.threats.poisons.poison import poison
from robust_distillation.threats.settings import Poison

COUNT = 400


def smooth_images(count, seed):
    """Smooth squares with noise, four classes as in the problem, as uint8 images of tracks of four."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    images = rng.uniform(60, 130, (count, 1, 1, 3)) + rng.normal(0, 2, (count, 12, 12, 3))
    for image, label in zip(images, labels, strict=True):
        row, column = 6 * (label // 2), 6 * (label % 2)
        image[row : row + 6, column : column + 6] += 60
    return np.clip(images, 0, 255).astype(np.uint8), labels


def image_set(count, seed):
    features, labels = smooth_images(count, seed)
    ids = np.array([f"{seed}/{row}" for row in range(count)])
    tracks = 1000 * seed + np.arange(count) // 4
    return ImageSet(
        features=features,
        labels=labels,
        ids=ids,
        tracks=tracks,
        sizes=np.full((count, 2), 12),
        coords=np.tile([0, 0, 11, 11], (count, 1)),
    )


@pytest.fixture(scope="module")
def settings():
    residual = Settings(steps=[50, 50], batch_size=64)
    return Filter(
        detector="residual",
        inference_detector="same",
        threshold_start=0.02,
        keep_clean=0.95,
        reform="none",
        residual=residual,
    )


@pytest.fixture(scope="module")
def poisoned(problem, other_problem):
    """A training set of which a fifth was attacked through the attacker's model, and which rows those are."""
    clean = image_set(COUNT, seed=1)
    asked = Poison(kinds=["pgd"], epsilons=[6 / 255], alpha=2 / 255, iterations=5, fraction=0.2, seed=9)
    made = poison(clean.features, clean.labels, other_problem.model, asked)
    return replace(clean, features=made.features), made.kinds != ""


@pytest.fixture(scope="module")
def fitted(problem, poisoned, settings):
    models = Models(autoencoder=problem.model, probe=problem.model)
    return Residual.fit(poisoned[0], image_set(COUNT, seed=2), models, settings)


def test_poison_that_was_never_among_the_twins_is_found(fitted, poisoned):
    scores = fitted.scores
    assert roc_auc_score(poisoned[1], scores) > 0.9


def test_against_a_shuffled_truth_it_is_at_chance(fitted, poisoned):
    scores = fitted.scores
    shuffled = np.random.default_rng(3).permutation(poisoned[1])
    assert 0.4 < roc_auc_score(shuffled, scores) < 0.6


def test_the_promised_share_of_clean_images_is_kept(fitted):
    detector = fitted.detector
    clean = image_set(400, seed=4)
    assert (detector.score(clean.images) <= THRESHOLD).mean() == pytest.approx(0.95, abs=0.05)


def test_scores_depend_on_the_image_alone_and_survive_storage(fitted, poisoned, tmp_path, problem):
    detector = fitted.detector
    images = poisoned[0].images[:50]
    scores = detector.score(images)
    np.testing.assert_allclose(detector.score(images[::-1])[::-1], scores, rtol=1e-4)
    np.testing.assert_allclose(detector.score(images[:7]), scores[:7], rtol=1e-4)
    save_detector(detector, tmp_path / "detector")
    loaded = load_detector(tmp_path / "detector", problem.model)
    np.testing.assert_allclose(loaded.score(images), scores, rtol=1e-6)
    np.testing.assert_allclose(np.exp(margin(detector, tf.constant(images))) * THRESHOLD, scores, rtol=1e-3)


def test_no_image_is_scored_by_a_network_that_learned_from_its_track(fitted, poisoned, settings):
    detector, scores = fitted.detector, fitted.scores
    both = detector.score(poisoned[0].images)
    assert not np.allclose(both, scores, rtol=1e-3)


def test_the_same_seed_trains_the_same_networks(problem, poisoned, settings):
    few = poisoned[0].take(np.arange(80))
    short = replace(settings, residual=replace(settings.residual, steps=(3,)))
    models = Models(autoencoder=problem.model, probe=problem.model)
    first, again = (Residual.fit(few, image_set(20, seed=2), models, short).scores for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_the_reconstruction_may_be_what_a_residual_is_left_of(problem, poisoned, settings):
    image = keras.Input((12, 12, 3))
    halving = keras.Model(image, keras.layers.Dense(3, kernel_initializer=keras.initializers.Identity(0.5))(image))
    asked = replace(settings, residual=replace(settings.residual, steps=(3,), smooth="reconstruction"))
    train = poisoned[0].take(np.arange(80))
    fitted = Residual.fit(train, image_set(20, seed=2), Models(halving, problem.model), asked)
    (nested,) = (layer for layer in fitted.detector.networks["fold_0"].layers if layer.name == halving.name)
    assert not nested.trainable_weights
    np.testing.assert_array_equal(nested.get_weights()[0], halving.get_weights()[0])


def test_batches_are_turned_as_a_whole_and_by_the_seed_alone():
    batch = tf.random.stateless_uniform((5, 4, 4, 1), (1, 2))
    views = {turned(batch, (7, step)).numpy().tobytes() for step in range(60)}
    assert len(views) == 8
    np.testing.assert_array_equal(turned(batch, (7, 3)), turned(batch, (7, 3)))
    wide = tf.random.stateless_uniform((5, 4, 6, 1), (1, 2))
    assert {turned(wide, (7, step)).shape[1:3] for step in range(9)} == {(4, 6)}


def test_twins_are_near_and_mislead_the_probe(problem):
    clean = image_set(200, seed=5)
    made, _ = twins(clean.features, clean.labels, problem.model, seed=1)
    change = np.abs(made.astype(int) - clean.features).max(axis=(1, 2, 3))
    assert (change > 0).mean() > 0.9
    assert np.median(change) <= 10

    def right(features):
        answers = problem.model.predict(features.astype(np.float32) / 255, verbose=0).argmax(axis=1)
        return (answers == clean.labels).mean()

    assert right(made) < right(clean.features)


def test_about_half_of_the_twins_have_a_change_that_lasts_and_theirs_is_the_larger(problem):
    clean = image_set(200, seed=5)
    made, lasting = twins(clean.features, clean.labels, problem.model, seed=1)
    change = np.square(made.astype(float) - clean.features).sum(axis=(1, 2, 3))
    assert 0.45 < lasting.mean() < 0.7
    assert np.median(change[lasting]) > 4 * np.median(change[~lasting])


def test_a_half_is_altered_and_the_rest_is_as_it_was():
    features, every = image_set(300, seed=6).features, np.ones(300, bool)
    made = altered(features, every, seed=2)
    assert 0.4 < differing(made, features).mean() < 0.6
    np.testing.assert_array_equal(altered(features, every, seed=2), made)
    grey = altered(features[..., :1], every, seed=2)
    assert grey.shape == (300, 12, 12, 1)


@pytest.mark.parametrize(("count", "share"), [(200, 0.5), (90, 0.3)])
def test_who_is_altered_is_among_those_that_may_be(count, share):
    features, among = image_set(300, seed=6).features, np.arange(300) < count
    changed = differing(altered(features, among, seed=2), features)
    assert not (changed & ~among).any()
    assert changed.mean() == pytest.approx(share, abs=0.07)


def differing(images, others):
    return (images != others).any(axis=(1, 2, 3))


def test_jpeg_loses_more_at_a_lower_quality():
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    fine, coarse = (np.asarray(compressed(picture, quality)).astype(int) for quality in (95, 30))
    assert 0 < np.abs(fine - np.asarray(picture)).mean() < np.abs(coarse - np.asarray(picture)).mean()
