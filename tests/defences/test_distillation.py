import keras
import numpy as np
import pytest
from keras import layers

from robust_distillation.classifiers import ARCHITECTURES
from robust_distillation.classifiers.settings import Training
from robust_distillation.classifiers.training import one_hot, predict_logits, train_classifier
from robust_distillation.defences import distillation
from robust_distillation.defences.distillation import (
    distil,
    dropout_uncertainty,
    outlier_labels,
    soft_labels,
    soften,
    without_outlier,
)
from robust_distillation.defences.dropout import DropoutSampler
from robust_distillation.defences.settings import Student
from robust_distillation.errors import InputError


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


def test_uncertainty_is_the_mean_squared_distance_of_the_passes_from_their_mean(problem):
    found = dropout_uncertainty(problem.model, problem.images, passes=6, seed=1)
    passes = DropoutSampler(problem.model, passes=6, seed=1).predict_logits(problem.images)[1]
    mean = sum(passes) / 6
    expected = sum(np.linalg.norm(logits - mean, axis=1) ** 2 for logits in passes) / 6
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found.std() > 0


def test_uncertainty_by_hand():
    """One feature, kept at twice its size or dropped: a variance of 4 times share kept times share dropped."""
    image = keras.Input((1, 1, 1))
    head = layers.Dense(2, kernel_initializer="ones")
    model = keras.Model(image, head(layers.Dropout(0.5)(layers.Flatten()(image))))
    images = np.array([0, 1, 3], np.float32).reshape(3, 1, 1, 1)
    kept = (DropoutSampler(model, passes=8, seed=2).predict_logits(images)[1][:, 1, 0] > 0).mean()
    assert 0 < kept < 1
    found = dropout_uncertainty(model, images, passes=8, seed=2)
    np.testing.assert_allclose(found, 2 * 4 * kept * (1 - kept) * np.array([0, 1, 9]), rtol=1e-5)


def test_outlier_labels_by_hand():
    found = outlier_labels(np.array([0, 1, 0]), np.array([0, 2, 4], np.float32), 2)
    np.testing.assert_allclose(found, [[1, 0, 0], [0, 0.55, 0.45], [0.1, 0, 0.9]], rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9, 1.0])
def test_outlier_labels_sum_to_one_and_the_most_uncertain_image_keeps_the_least_of_its_class(alpha):
    rng = np.random.default_rng(0)
    labels, uncertainty = rng.integers(0, 5, 50), rng.random(50, dtype=np.float32)
    found = outlier_labels(labels, uncertainty, 5, alpha)
    assert found.shape == (50, 6)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(found[:, 5], alpha * uncertainty / uncertainty.max(), rtol=1e-6)
    assert found[uncertainty.argmax(), labels[uncertainty.argmax()]] == pytest.approx(1 - alpha, abs=1e-6)
    assert ((found > 0).sum(axis=1) <= 2).all()


def test_a_teacher_that_is_never_uncertain_gives_no_outlier_class():
    with pytest.raises(InputError, match="labels outlier need a teacher with dropout"):
        outlier_labels(np.zeros(3, int), np.zeros(3, np.float32), 2)


def test_a_student_learns_the_classes_and_which_images_the_teacher_is_uncertain_of(problem, lesson):
    def brightened(images):
        return np.concatenate([np.clip(1.5 * images[: len(images) // 2], 0, 1), images[len(images) // 2 :]])

    images, labels = brightened(lesson[0]), lesson[1]
    passes = {"passes": 10, "seed": 3}
    settings = Student(labels="outlier", architecture="cnn", epochs=12, batch_size=16, learning_rate=0.003, seed=2)
    network, _ = distil(problem.model, images, labels, settings, temperature=1.0, **passes, validation=(images, labels))
    unseen = brightened(problem.images)
    logits = predict_logits(network, unseen)
    assert np.mean(logits[:, :-1].argmax(axis=1) == problem.labels) > 0.95
    largest = dropout_uncertainty(problem.model, images, **passes).max()
    uncertain = 0.9 * dropout_uncertainty(problem.model, unseen, **passes) / largest > 0.5
    outlier = logits.argmax(axis=1) == 4
    assert outlier[uncertain].mean() > outlier[~uncertain].mean() + 0.3


@pytest.mark.parametrize(("labels", "outputs", "asked"), [("soft", 4, True), ("outlier", 5, False)])
def test_an_outlier_class_is_one_more_in_all_that_training_is_given(problem, monkeypatch, labels, outputs, asked):
    monkeypatch.setattr(distillation, "train_classifier", lambda *given, **named: (given, named))
    settings = Student(labels=labels, architecture="lenet", epochs=1, batch_size=16, learning_rate=0.003, seed=2)
    data, pairs = (problem.images, problem.labels), [1, 0, -1, -1]
    given = {"temperature": 1.0, "passes": 3, "seed": 3, "validation": data}
    (_, targets, _), named = distil(problem.model, *data, settings, **given, becomes=pairs)
    truth = one_hot(problem.labels, outputs)
    assert targets.shape == truth.shape
    np.testing.assert_array_equal(named["labels"], truth)
    np.testing.assert_array_equal(named["validation"][1], truth)
    assert named["becomes"] == [*pairs, -1][:outputs]
    assert (named["teacher"] is problem.model) == asked
    assert not distil(problem.model, *data, settings, **given)[1]["becomes"]


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize("n_classes", [2, 5, 43])
def test_without_the_outlier_class_the_other_logits_are_the_same_bit_by_bit(architecture, n_classes):
    network = ARCHITECTURES[architecture]((28, 28, 3), n_classes + 1)
    student = without_outlier(network)
    images = np.random.default_rng(0).random((9, 28, 28, 3), dtype=np.float32)
    np.testing.assert_array_equal(predict_logits(student, images), predict_logits(network, images)[:, :-1])
    assert student.name == network.name
    assert {type(layer).__module__.split(".")[0] for layer in student.layers} == {"keras"}


def test_a_network_that_does_not_end_in_its_logits_is_named():
    image = keras.Input((4, 4, 1))
    network = keras.Model(image, layers.Rescaling(2.0)(layers.Dense(3)(layers.Flatten()(image))))
    with pytest.raises(InputError, match=r"ends in a Dense layer, the logits\. Received: Rescaling"):
        without_outlier(network)
