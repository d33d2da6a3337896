from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from robust_distillation.classifiers.training import predict_logits
from robust_distillation.defences.abstention import (
    Abstention,
    class_distributions,
    closeness,
    divergence_from_mean,
    divergence_from_nearest,
    infer_threshold,
)
from robust_distillation.defences.distillation import soften
from robust_distillation.defences.dropout import DropoutSampler


def test_divergence_from_the_mean_by_hand():
    passes = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert divergence_from_mean(passes).numpy()[0] == pytest.approx(np.log(2))
    assert divergence_from_mean(np.array([[[0.3, 0.7]]] * 4)).numpy()[0] == pytest.approx(0, abs=1e-12)


def test_divergence_from_the_nearest_class_by_hand():
    distributions = np.array([[0.9, 0.1], [0.1, 0.9]])
    predictions = np.array([[0.9, 0.1], [0.5, 0.5]])
    far = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    np.testing.assert_allclose(divergence_from_nearest(predictions, distributions), [0, far], atol=1e-12)


def test_a_close_second_by_hand():
    predictions = np.array([[0.2, 0.7, 0.1], [0.0, 0.0, 1.0], [0.4, 0.2, 0.4]])
    np.testing.assert_allclose(closeness(predictions), [0.5, 0, 1], atol=1e-12)


@pytest.mark.parametrize("coverage", [0.5, 0.95, 1.0])
def test_the_threshold_answers_the_share_asked_for(coverage):
    uncertainty = np.random.default_rng(0).random(200)
    answered = uncertainty <= infer_threshold(uncertainty, coverage)
    assert answered.mean() == pytest.approx(coverage, abs=1 / 200)
    assert answered.mean() >= coverage


@pytest.mark.parametrize("measure", ["passes", "nearest_class", "margin"])
def test_noise_is_less_certain_than_signs(problem, measure):
    distributions = class_distributions(problem.model, problem.images, problem.labels)
    abstention = Abstention(
        problem.model, measure=measure, passes=20, seed=0, class_distributions=distributions.tolist()
    )
    blank = np.full((10, 12, 12, 3), 0.45, dtype=np.float32)
    assert abstention.uncertainty(problem.images).mean() < abstention.uncertainty(blank).mean()


@pytest.mark.parametrize("measure", ["passes", "nearest_class", "margin"])
def test_predictions_are_compared_at_the_temperature_and_the_attacker_judges_so_too(problem, measure):
    distributions = class_distributions(problem.model, problem.images, problem.labels, 20.0)
    logits = predict_logits(problem.model, problem.images)
    expected = soften(logits, 20.0)[problem.labels == 2].mean(axis=0)
    np.testing.assert_allclose(distributions[2], expected, rtol=1e-6)
    given = {"passes": 6, "seed": 1, "class_distributions": distributions.tolist(), "temperature": 20.0}
    unsure = Abstention(problem.model, measure, **given)
    passes = tf.nn.softmax(DropoutSampler(problem.model, passes=6, seed=1).predict_logits(problem.images)[1] / 20)
    by_hand = {
        "passes": divergence_from_mean(passes),
        "nearest_class": divergence_from_nearest(tf.reduce_mean(passes, axis=0), distributions),
        "margin": closeness(soften(predict_logits(problem.model, problem.images), 20.0)),
    }
    uncertainty = unsure.uncertainty(problem.images)
    np.testing.assert_allclose(uncertainty, by_hand[measure], rtol=1e-4, atol=1e-7)
    deployed = replace(unsure, threshold=float(np.median(uncertainty)) * 1.001)
    logits, margin = deployed.judge(tf.constant(problem.images), temperature=5.0)
    np.testing.assert_allclose(logits, predict_logits(problem.model, problem.images), atol=1e-4)
    np.testing.assert_array_equal(margin.numpy() > 0, uncertainty > deployed.threshold)


def test_a_margin_has_a_gradient_however_sure_the_student_is(problem):
    given = {"passes": 2, "seed": 0, "class_distributions": np.eye(4).tolist(), "temperature": 1e-3}
    images = tf.constant(problem.images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        _, margin = Abstention(problem.model, "margin", threshold=0.5, **given).judge(images, temperature=1.0)
    assert (Abstention(problem.model, "margin", **given).uncertainty(problem.images) == 0).any()
    assert np.abs(tape.gradient(margin, images)).max(axis=(1, 2, 3)).min() > 1e-4


@pytest.fixture
def outlier(problem):
    """An abstention by the last of the problem's logits, as if it were an outlier class."""
    distributions = np.eye(3).tolist()
    return Abstention(problem.model, "outlier", passes=2, seed=0, class_distributions=distributions, threshold=0.3)


def test_an_outlier_class_tells_by_its_probability(problem, outlier):
    expected = soften(predict_logits(problem.model, problem.images), 1.0)[:, 3]
    np.testing.assert_array_equal(outlier.uncertainty(problem.images), expected)
    assert outlier.networks == {"outlier": problem.model}


def test_an_outlier_class_has_an_exact_margin_with_a_gradient_however_sure_the_student_is(problem, outlier):
    share = np.linspace(0, 1, 60, dtype=np.float32)[:, None, None, None]
    images = tf.constant(share * problem.images[3] + (1 - share) * problem.images[0])  # from class 0 to the last
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits, margin = outlier.judge(images, temperature=1.0)
    assert logits.shape == (60, 3)
    probability = outlier.uncertainty(images.numpy()).astype(np.float64)
    np.testing.assert_array_equal(margin > 0, probability > 0.3)
    odds = np.log(probability) - np.log1p(-probability) - np.log(0.3 / 0.7)
    between = (probability > 1e-4) & (probability < 1 - 1e-4)
    assert between.any()
    np.testing.assert_allclose(margin.numpy()[between], odds[between], rtol=1e-2, atol=1e-3)
    sure = (probability < 1e-6) | (probability > 1 - 1e-6)
    assert sure.any()
    assert np.abs(tape.gradient(margin, images)).max(axis=(1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize(("threshold", "refused"), [(0.0, True), (1.0, False)])
def test_the_ends_of_an_outlier_classs_threshold_refuse_all_and_none(problem, outlier, threshold, refused):
    margin = replace(outlier, threshold=threshold).judge(problem.images[:1], temperature=1.0)[1].numpy()
    assert np.isfinite(margin).all()
    assert (margin > 0).all() == refused


def test_class_distributions_are_class_means(problem):
    found = class_distributions(problem.model, problem.images, problem.labels)
    probabilities = soften(predict_logits(problem.model, problem.images), 1.0)
    np.testing.assert_allclose(found[2], probabilities[problem.labels == 2].mean(axis=0))
    with pytest.raises(ValueError, match=r"\[3\]"):
        class_distributions(problem.model, problem.images[problem.labels < 3], problem.labels[problem.labels < 3])
