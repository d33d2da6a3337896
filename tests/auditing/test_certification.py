import keras
import numpy as np
import pytest

from robust_distillation.auditing.certification import Certification, certification_figure, certify_in_shards
from robust_distillation.auditing.robustness import SHARD
from robust_distillation.defences.smoothing import ABSTAIN, Certificates, Smoothed


@pytest.fixture
def found():
    certificates = Certificates(np.array([0, 1, 1, ABSTAIN, 2]), np.array([0.3, 0.6, 0.9, 0.0, 0.1]))
    return Certification(certificates=certificates, labels=np.array([0, 1, 2, 0, 2]), sigma=0.25, shape=(4, 4, 1))


def test_what_is_wrong_or_abstained_is_not_certified(found):
    assert [found.accuracy(radius) for radius in (0.0, 0.1, 0.2, 0.5, 0.7)] == [0.6, 0.6, 0.4, 0.2, 0.0]
    values = found.to_dict([0.2, 0.8])
    assert values["certified"] == {"0.2": 0.4, "0.8": 0.0}
    assert values["linf_that_follows"] == {"0.2": pytest.approx(0.05), "0.8": pytest.approx(0.2)}
    assert (values["accuracy"], values["abstained"]) == (0.6, 0.2)
    assert values["mean_radius"] == pytest.approx((0.3 + 0.6 + 0.1) / 5)
    assert values["certified_interval"]["0.2"]["low"] < 0.4 < values["certified_interval"]["0.2"]["high"]


def test_the_curve_falls_from_the_accuracy_to_nothing(found):
    (axes,) = certification_figure({"ours": found}).axes
    steps = axes.lines[0].get_xydata()
    np.testing.assert_allclose(steps, [[0, 0.6], [0.1, 0.4], [0.3, 0.2], [0.6, 0.0]])


def test_shards_change_nothing_and_outlive_an_interruption(monkeypatch):
    image = keras.Input((2, 2, 1))
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(image)))
    images = np.random.default_rng(0).random((SHARD + 5, 2, 2, 1)).astype(np.float32)
    smoothed, done = Smoothed(model, sigma=0.25), {}
    asked = {"n0": 10, "n": 20, "alpha": 0.1}
    split = certify_in_shards(smoothed, images, **asked, done=done)
    whole = smoothed.certify(images, **asked)
    np.testing.assert_array_equal(split.labels, whole.labels)
    np.testing.assert_array_equal(split.radii, whole.radii)
    monkeypatch.setattr(Smoothed, "certify", None)
    again = certify_in_shards(smoothed, images, **asked, done=done)
    np.testing.assert_array_equal(again.radii, whole.radii)
