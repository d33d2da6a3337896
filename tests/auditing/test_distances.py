import numpy as np
import pytest
import tensorflow as tf

from robust_distillation.auditing.distances import nearest_distances, summary
from robust_distillation.threats.evasion.victim import Victim


@pytest.mark.parametrize(("norm", "expected"), [("linf", 0.1 / 12), ("l2", 0.1 / np.sqrt(12))])
def test_of_a_linear_model(norm, expected):
    """The sum of 12 pixels decides, and lies 0.1 below what changes the answer."""

    def model(images):
        total = tf.reduce_sum(images, axis=(1, 2, 3))
        return tf.stack([tf.zeros_like(total), total - 6.1], axis=1)

    images = np.full((2, 2, 2, 3), 0.5, np.float32)
    found = nearest_distances(Victim(model), images, np.array([0, 1]), norm=norm, steps=20, seed=0)
    assert found[0] == pytest.approx(expected, rel=0.01)
    assert found[1] == 0, "wrong already"


def test_none_is_found_where_there_is_none():
    """The constant answer has a gradient of zero almost everywhere."""

    def model(images):
        return tf.stack([1 + 0 * tf.reduce_sum(images, axis=(1, 2, 3)), tf.fill([len(images)], -1.0)], axis=1)

    found = nearest_distances(
        Victim(model), np.full((3, 2, 2, 3), 0.5, np.float32), np.zeros(3, int), norm="l2", steps=20, seed=0
    )
    assert np.isinf(found).all()
    assert summary(found) == {"p10": None, "median": None, "p90": None}


def test_summary_is_of_images_that_exist():
    assert summary(np.array([np.inf, 0.0, 0.3, 0.2, 0.1])) == {"p10": 0.0, "median": 0.2, "p90": None}
