import numpy as np
import pytest

from robust_distillation.classifiers.training import predict_logits
from robust_distillation.defences.abstention import (
    Abstention,
    class_distributions,
    divergence_from_mean,
    divergence_from_nearest,
    infer_threshold,
)
from robust_distillation.defences.distillation import soften


def test_divergence_from_the_mean_by_hand():
    passes = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert divergence_from_mean(passes).numpy()[0] == pytest.approx(np.log(2))
    assert divergence_from_mean(np.array([[[0.3, 0.7]]] * 4)).numpy()[0] == pytest.approx(0, abs=1e-12)


def test_divergence_from_the_nearest_class_by_hand():
    distributions = np.array([[0.9, 0.1], [0.1, 0.9]])
    predictions = np.array([[0.9, 0.1], [0.5, 0.5]])
    far = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    np.testing.assert_allclose(divergence_from_nearest(predictions, distributions), [0, far], atol=1e-12)


@pytest.mark.parametrize("coverage", [0.5, 0.95, 1.0])
def test_the_threshold_answers_the_share_asked_for(coverage):
    uncertainty = np.random.default_rng(0).random(200)
    answered = uncertainty <= infer_threshold(uncertainty, coverage)
    assert answered.mean() == pytest.approx(coverage, abs=1 / 200)
    assert answered.mean() >= coverage


@pytest.mark.parametrize("measure", ["passes", "nearest_class"])
def test_noise_is_less_certain_than_signs(problem, measure):
    distributions = class_distributions(problem.model, problem.images, problem.labels)
    abstention = Abstention(
        problem.model, measure=measure, passes=20, seed=0, class_distributions=distributions.tolist()
    )
    blank = np.full((10, 12, 12, 3), 0.45, dtype=np.float32)
    assert abstention.uncertainty(problem.images).mean() < abstention.uncertainty(blank).mean()


def test_class_distributions_are_class_means(problem):
    found = class_distributions(problem.model, problem.images, problem.labels)
    probabilities = soften(predict_logits(problem.model, problem.images), 1.0)
    np.testing.assert_allclose(found[2], probabilities[problem.labels == 2].mean(axis=0))
    with pytest.raises(ValueError, match=r"\[3\]"):
        class_distributions(problem.model, problem.images[problem.labels < 3], problem.labels[problem.labels < 3])
