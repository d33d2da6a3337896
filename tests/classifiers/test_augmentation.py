import keras
import numpy as np
import pytest
import tensorflow as tf

from robust_distillation.classifiers.augmentation import augment, mirror
from robust_distillation.classifiers.settings import Augmentation

SEED = tf.constant([3, 4])


@pytest.fixture
def images():
    return np.random.default_rng(0).random((16, 12, 10, 3), dtype=np.float32)


def varied(images, **settings):
    return augment(tf.constant(images), Augmentation(**settings), SEED).numpy()


def test_nothing_is_changed_where_nothing_is_asked(images):
    np.testing.assert_array_equal(varied(images), images)


EACH = [
    {"rotation": 0.3},
    {"scale": 0.2},
    {"shear": 0.2},
    {"shift": 3.0},
    {"brightness": 0.3},
    {"contrast": 0.4},
    {"saturation": 0.5},
    {"blur": 1.0},
    {"cut_out": 4},
]


@pytest.mark.parametrize("settings", EACH, ids=lambda settings: next(iter(settings)))
def test_each_variation_keeps_shape_and_range_and_depends_on_the_seed_alone(images, settings):
    found = varied(images, **settings)
    assert found.shape == images.shape
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found != images).any(axis=(1, 2, 3)).mean() > 0.9
    np.testing.assert_array_equal(varied(images, **settings), found)
    other = augment(tf.constant(images), Augmentation(**settings), SEED + 1).numpy()
    assert settings == {"blur": 1.0} or (other != found).any()


def test_each_image_has_draws_of_its_own(images):
    same = np.repeat(images[:1], 16, axis=0)
    for settings in EACH:
        found = varied(same, **settings)
        assert settings == {"blur": 1.0} or (found[0] != found[1:]).any()


def test_a_shift_moves_by_at_most_what_is_asked_for():
    image = np.zeros((200, 21, 21, 1), np.float32)
    image[:, 10, 10] = 1
    found = varied(image, shift=3.0)[..., 0]
    mass, places = found.sum(axis=(1, 2)), np.arange(21)
    away = np.abs([found.sum(axis=axis) @ places / mass - 10 for axis in (2, 1)])
    assert away.max() <= 3 + 1e-3
    assert away.max() > 2.5


def test_a_rotation_is_about_the_middle_as_keras_does_it():
    image = np.zeros((1, 21, 21, 1), np.float32)
    image[0, 4:17, 10] = 1
    angles = np.linspace(-0.5, 0.5, 1001)
    found = varied(image, rotation=0.5)
    ours = min(np.abs(found - keras.ops.image.affine_transform(image, matrix(angle)).numpy()).max() for angle in angles)
    assert ours < 0.02


def matrix(angle):
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 10 - 10 * cos + 10 * sin, sin, cos, 10 - 10 * sin - 10 * cos, 0, 0]], np.float32)


def test_a_grey_image_has_no_saturation_to_change(images):
    grey = images[..., :1]
    np.testing.assert_allclose(varied(grey, saturation=0.5), grey, atol=1e-6)
    coloured = np.repeat(grey, 3, axis=-1)
    np.testing.assert_allclose(varied(coloured, saturation=0.5), coloured, atol=1e-5)


def test_contrast_keeps_the_mean(images):
    narrow = 0.5 + 0.2 * (images - 0.5)
    found = varied(narrow, contrast=0.3)
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), narrow.mean(axis=(1, 2, 3)), atol=1e-5)
    ratio = found.std(axis=(1, 2, 3)) / narrow.std(axis=(1, 2, 3))
    assert 0.7 <= ratio.min() < 0.9
    assert 1.1 < ratio.max() <= 1.3 + 1e-5


def test_a_cut_is_one_grey_square(images):
    found = varied(0.4 * images, cut_out=4)
    cut = (found == 0.5).all(axis=-1)
    assert (cut.sum(axis=(1, 2)) <= 16).all()
    assert cut.any(axis=(1, 2)).mean() > 0.5
    np.testing.assert_array_equal(found[~cut], 0.4 * images[~cut])


def test_a_mirror_is_used_where_what_it_shows_is_a_class_and_labels_follow(images):
    becomes = tf.constant([1, 0, -1, 3])
    labels = np.arange(16) % 4
    targets = np.eye(4, dtype=np.float32)[labels] * 0.9 + 0.025
    hard = tf.constant(np.eye(4, dtype=np.float32)[labels])
    found, given, relabelled = mirror(tf.constant(images), tf.constant(targets), hard, becomes, 1.0, SEED)
    expected = np.where((labels == 2)[:, None, None, None], images, images[:, :, ::-1])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(given.numpy().argmax(axis=1), np.array([1, 0, 2, 3])[labels])
    np.testing.assert_allclose(given.numpy().sum(axis=1), targets.sum(axis=1))
    np.testing.assert_array_equal(relabelled.numpy().argmax(axis=1), given.numpy().argmax(axis=1))
    some, *_ = mirror(tf.constant(images), tf.constant(targets), hard, becomes, 0.5, SEED)
    assert 0 < (some.numpy() != images).any(axis=(1, 2, 3)).sum() < 12
    none, *_ = mirror(tf.constant(images), tf.constant(targets), hard, becomes, 0.0, SEED)
    np.testing.assert_array_equal(none, images)
