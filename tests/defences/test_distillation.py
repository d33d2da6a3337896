import numpy as np
import pytest

from robust_distillation.classifiers.settings import Training
from robust_distillation.classifiers.training import one_hot, predict_logits, train_classifier
from robust_distillation.defences.distillation import soft_labels, soften


def test_soften_is_the_softmax_of_logits_over_the_temperature():
    logits = np.array([[2.0, 0.0, -2.0], [1000.0, 0.0, 0.0]])
    expected = np.exp([0.5, 0.0, -0.5]) / np.exp([0.5, 0.0, -0.5]).sum()
    np.testing.assert_allclose(soften(logits, 4.0)[0], expected)
    np.testing.assert_allclose(soften(logits, 1.0)[1], [1, 0, 0], atol=1e-12)


def test_soft_labels_belong_to_rows_not_to_batch_positions(problem):
    labels = soft_labels(problem.model, problem.images, 5.0)
    order = np.random.default_rng(0).permutation(60)
    np.testing.assert_allclose(soft_labels(problem.model, problem.images[order], 5.0), labels[order], atol=1e-6)
    np.testing.assert_allclose(soft_labels(problem.model, problem.images[7:8], 5.0), labels[7:8], atol=1e-6)


@pytest.mark.parametrize(("aligned", "least", "most"), [(True, 0.9, 1.0), (False, 0.0, 0.6)])
def test_a_student_learns_from_aligned_soft_labels_and_not_from_shuffled_ones(problem, aligned, least, most):
    labels = soft_labels(problem.model, problem.images, 5.0)
    if not aligned:
        labels = labels[np.random.default_rng(0).permutation(60)]
    settings = Training(architecture="lenet", epochs=15, batch_size=16, learning_rate=0.003, seed=2)
    truth = one_hot(problem.labels, 4)
    student, _ = train_classifier(problem.images, labels, settings, temperature=5.0, validation=(problem.images, truth))
    accuracy = np.mean(predict_logits(student, problem.images).argmax(axis=1) == problem.labels)
    assert least <= accuracy <= most
