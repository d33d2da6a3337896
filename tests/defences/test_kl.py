import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from robust_distillation.defences.detectors.detector import Models, load_detector, margin, save_detector
from robust_distillation.defences.detectors.kl import PredictionChange
from robust_distillation.defences.settings import Filter
from robust_distillation.threats.evasion.sign import PGD


@pytest.fixture(scope="module")
def fitted(problem, problem_set, smoothing):
    settings = Filter(detector="kl", inference_detector="same", threshold_start=0.02, keep_clean=0.9, reform="none")
    return PredictionChange.fit(problem_set, problem_set, Models(smoothing, problem.model), settings)


def test_scores_are_those_of_alibi_detect(problem, fitted, smoothing):
    from alibi_detect.ad import AdversarialAE

    scores = fitted.scores
    peer = AdversarialAE(threshold=1.0, ae=smoothing, model=keras.Sequential([problem.model, keras.layers.Softmax()]))
    np.testing.assert_allclose(scores, peer.score(detector_images(problem)), rtol=1e-4, atol=1e-6)


def detector_images(problem):
    return np.rint(255 * problem.images).astype(np.float32) / 255


def test_the_share_of_trusted_images_is_kept(fitted):
    detector, scores = fitted.detector, fitted.scores
    assert (scores <= detector.threshold).mean() == pytest.approx(0.9, abs=0.02)


def test_images_that_mislead_the_classifier_by_little_score_higher(problem, fitted):
    detector, scores = fitted.detector, fitted.scores
    attacked = PGD(steps=10)(problem.model, problem.images, problem.labels, epsilon=0.06)
    both = np.concatenate([scores, detector.score(attacked)])
    assert roc_auc_score(np.repeat([0, 1], len(scores)), both) > 0.6


def test_it_survives_storage_and_shows_attackers_its_slope(problem, fitted, smoothing, tmp_path):
    detector, scores = fitted.detector, fitted.scores
    save_detector(detector, tmp_path / "detector")
    loaded = load_detector(tmp_path / "detector", smoothing)
    images = detector_images(problem)
    np.testing.assert_allclose(loaded.score(images), scores, rtol=1e-5, atol=1e-7)
    batch = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(batch)
        margins = margin(detector, batch)
    np.testing.assert_array_equal(margins.numpy() > 0, scores > detector.threshold)
    assert np.abs(tape.gradient(margins, batch)).max() > 0
