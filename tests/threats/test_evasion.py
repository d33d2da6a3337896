import numpy as np
import pytest
import tensorflow as tf

from robust_distillation.threats.evasion import craft, fgsm, i_fgsm, pgd, predict_labels

ATTACKS = ["fgsm", "i_fgsm", "pgd"]


def run(kind, model, images, labels, epsilon, *, iterations=10, restarts=1, seed=0, temperature=1.0):
    return craft(
        kind,
        model,
        images,
        labels,
        epsilon=epsilon,
        alpha=2.5 * epsilon / iterations,
        iterations=iterations,
        restarts=restarts,
        seed=seed,
        temperature=temperature,
    )


def accuracy(problem, images):
    return np.mean(predict_labels(problem.model, images) == problem.labels)


@pytest.mark.parametrize("kind", ATTACKS)
@pytest.mark.parametrize("epsilon", [0.01, 8 / 255, 0.3])
def test_stays_inside_the_ball_and_the_pixel_range(problem, kind, epsilon):
    adversarial = run(kind, problem.model, problem.images, problem.labels, epsilon)
    assert adversarial.dtype == np.float32
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    change = np.abs(adversarial - problem.images).max()
    assert 0.99 * epsilon < change <= epsilon + 1e-6


@pytest.mark.parametrize("kind", ATTACKS)
def test_accuracy_falls_with_epsilon_and_to_nothing(problem, kind):
    assert accuracy(problem, problem.images) > 0.95
    left = [accuracy(problem, run(kind, problem.model, problem.images, problem.labels, e)) for e in (0.01, 0.1, 0.3)]
    assert left[0] >= left[1] >= left[2]
    assert left[2] < 0.3


def test_iterating_is_at_least_as_strong_as_one_step(problem):
    one = accuracy(problem, run("fgsm", problem.model, problem.images, problem.labels, 0.06))
    many = accuracy(problem, run("i_fgsm", problem.model, problem.images, problem.labels, 0.06))
    assert many <= one


def test_more_restarts_never_leave_more_standing(problem):
    once = accuracy(problem, run("pgd", problem.model, problem.images, problem.labels, 0.05, iterations=3))
    often = accuracy(problem, run("pgd", problem.model, problem.images, problem.labels, 0.05, iterations=3, restarts=4))
    assert often <= once


def test_a_later_restart_leaves_what_an_earlier_one_fooled(problem):
    first = run("pgd", problem.model, problem.images, problem.labels, 0.08, restarts=1, seed=3)
    second = run("pgd", problem.model, problem.images, problem.labels, 0.08, restarts=2, seed=3)
    fooled = predict_labels(problem.model, first) != problem.labels
    assert fooled.any()
    np.testing.assert_array_equal(first[fooled], second[fooled])


def test_fgsm_of_a_linear_model_is_exact():
    weights = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)

    def linear(batch):
        return tf.reshape(batch, (-1, 12)) @ weights

    images = np.full((5, 2, 2, 3), 0.5, dtype=np.float32)
    labels = np.array([0, 1, 2, 0, 1])
    probabilities = tf.nn.softmax(linear(images)).numpy()
    gradient = (probabilities - np.eye(3)[labels]) @ weights.T
    expected = 0.5 + 0.1 * np.sign(gradient).reshape(images.shape)
    np.testing.assert_allclose(fgsm(linear, images, labels, epsilon=0.1), expected, atol=1e-6)


def test_dividing_logits_by_the_temperature_brings_vanished_gradients_back(problem):
    def hot(batch):
        return 200 * problem.model(batch)

    blind = i_fgsm(hot, problem.images, problem.labels, epsilon=0.1, alpha=0.02, iterations=10)
    seeing = i_fgsm(hot, problem.images, problem.labels, epsilon=0.1, alpha=0.02, iterations=10, temperature=200.0)
    assert np.mean(np.all(blind == problem.images, axis=(1, 2, 3))) > 0.3
    assert accuracy(problem, seeing) < accuracy(problem, blind)


@pytest.mark.parametrize("kind", ATTACKS)
def test_an_image_alone_gets_what_it_gets_in_company(problem, kind):
    together = run(kind, problem.model, problem.images, problem.labels, 0.05, iterations=5)
    alone = run(kind, problem.model, problem.images[:1], problem.labels[:1], 0.05, iterations=5)
    # Batched sums differ in the last bits, which flips the sign of a gradient that is all but zero.
    assert np.mean(np.abs(together[:1] - alone) > 1e-6) < 0.02


@pytest.mark.parametrize("kind", ATTACKS)
def test_no_images_give_no_images(problem, kind):
    assert run(kind, problem.model, problem.images[:0], problem.labels[:0], 0.05).shape == (0, 12, 12, 3)


def test_agrees_with_foolbox(problem):
    foolbox = pytest.importorskip("foolbox", reason="foolbox, the independent implementation, is not installed")
    bounded = foolbox.TensorFlowModel(problem.model, bounds=(0, 1))
    images, labels = tf.constant(problem.images), tf.constant(problem.labels, tf.int32)

    theirs, _, _ = foolbox.attacks.FGSM(random_start=False)(bounded, images, labels, epsilons=0.05)
    ours = fgsm(problem.model, problem.images, problem.labels, epsilon=0.05)
    assert np.mean(np.abs(ours - theirs.numpy()) > 1e-6) < 1e-3

    iterated = foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=0.01, steps=10, random_start=False)
    theirs, _, _ = iterated(bounded, images, labels, epsilons=0.05)
    ours = i_fgsm(problem.model, problem.images, problem.labels, epsilon=0.05, alpha=0.01, iterations=10)
    assert accuracy(problem, ours) == pytest.approx(accuracy(problem, theirs.numpy()), abs=0.02)


def test_pgd_is_repeatable_and_its_seed_matters(problem):
    arguments = {"epsilon": 0.05, "alpha": 0.001, "iterations": 2, "restarts": 1}
    first, again = (pgd(problem.model, problem.images, problem.labels, seed=1, **arguments) for _ in range(2))
    other = pgd(problem.model, problem.images, problem.labels, seed=2, **arguments)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
