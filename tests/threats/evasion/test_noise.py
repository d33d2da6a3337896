import numpy as np
import pytest
import tensorflow as tf

from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.noise import UniformNoise
from robust_distillation.threats.evasion.sign import FGSM, IFGSM, PGD
from robust_distillation.threats.evasion.victim import Victim

EPSILONS = {"linf": 0.4, "l2": 5.0}


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_stays_in_the_ball_and_falls_short_of_pgd(victim, problem, norm):
    found = UniformNoise(draws=30, norm=norm)(victim, problem.images, problem.labels, epsilon=EPSILONS[norm])
    assert found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 1
    change = (found - problem.images).reshape(len(found), -1)
    lengths = np.linalg.norm(change, axis=1, ord=np.inf if norm == "linf" else 2)
    assert 0.5 * EPSILONS[norm] < lengths.max() <= EPSILONS[norm] + 1e-6
    pgd = PGD(norm=norm, steps=20)(victim, problem.images, problem.labels, epsilon=EPSILONS[norm])
    assert victim.fooled(found, problem.labels).mean() < victim.fooled(pgd, problem.labels).mean()


def test_finds_more_with_more_draws_and_leaves_what_fell(victim, problem):
    few, many = (UniformNoise(draws=draws)(victim, problem.images, problem.labels, epsilon=0.6) for draws in (3, 30))
    fell = victim.fooled(few, problem.labels)
    assert 0 < fell.sum() < victim.fooled(many, problem.labels).sum()
    np.testing.assert_array_equal(few[fell], many[fell])


def test_beats_a_gradient_that_is_masked():
    weights = np.random.default_rng(0).normal(size=(48, 2)).astype(np.float32)

    @tf.custom_gradient
    def misled(logits):
        return logits, lambda gradient: -gradient

    def model(batch):
        return misled(tf.reshape(batch - 0.5, (-1, 48)) @ weights)

    images = np.random.default_rng(1).uniform(0.45, 0.55, (50, 4, 4, 3)).astype(np.float32)
    labels = model(images).numpy().argmax(axis=1)
    victim = Victim(model)
    by_noise, by_gradient = (
        victim.fooled(attack(victim, images, labels, epsilon=0.1), labels).mean()
        for attack in (UniformNoise(draws=30), IFGSM())
    )
    assert by_noise > by_gradient + 0.2


def test_asks_for_no_gradient(problem):
    @tf.custom_gradient
    def opaque(batch):
        def refuse(_):
            raise AssertionError("UniformNoise asked for a gradient")

        return tf.identity(batch), refuse

    def model(batch):
        return problem.model(opaque(batch))

    UniformNoise(draws=3)(model, problem.images, problem.labels, epsilon=0.1)
    with pytest.raises(AssertionError, match="asked for a gradient"):
        FGSM()(model, problem.images, problem.labels, epsilon=0.1)


def test_company_and_order_do_not_matter(problem):
    attack = UniformNoise(draws=10, seed=3)
    together = attack(problem.model, problem.images, problem.labels, epsilon=0.6)
    rows = np.array([17, 3, 40])
    apart = attack(Victim(problem.model, batch_size=2), problem.images[rows], problem.labels[rows], epsilon=0.6)
    np.testing.assert_array_equal(together[rows], apart)
    other = UniformNoise(draws=10, seed=4)(problem.model, problem.images, problem.labels, epsilon=0.6)
    assert not np.array_equal(together, other)


def test_refuses_targets_and_no_draws(problem):
    with pytest.raises(InputError, match="leave targets out"):
        UniformNoise()(problem.model, problem.images, problem.labels, epsilon=0.1, targets=(problem.labels + 1) % 4)
    with pytest.raises(InputError, match="draws must be above 0"):
        UniformNoise(draws=0)
