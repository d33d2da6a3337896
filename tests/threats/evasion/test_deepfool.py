import numpy as np
import pytest
import tensorflow as tf

from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.deepfool import EXCESS, DeepFool
from robust_distillation.threats.evasion.norms import length
from robust_distillation.threats.evasion.victim import Victim

NORMS = ("linf", "l2")


def distances(images, changed, norm):
    return length(changed - images, norm).numpy()


@pytest.fixture(scope="module")
def some(problem):
    return problem.images[:24], problem.labels[:24]


@pytest.fixture(scope="module")
def minimal(victim, some):
    return {norm: DeepFool(norm=norm).minimal(victim, *some) for norm in NORMS}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_one_step_reaches_the_nearest_boundary_of_a_linear_model(norm, n_classes):
    weights = np.random.default_rng(2).normal(size=(12, n_classes)).astype(np.float32)
    images = np.random.default_rng(3).uniform(0.45, 0.55, (30, 2, 2, 3)).astype(np.float32)

    def model(images):
        return tf.reshape(images - 0.5, (-1, 12)) @ weights

    logits = model(images).numpy()
    labels = logits.argmax(axis=1)
    expected = []
    for row, label in zip(logits, labels, strict=True):
        rivals = [other for other in range(n_classes) if other != label]
        duals = np.linalg.norm(weights[:, rivals] - weights[:, [label]], ord={"linf": 1, "l2": 2}[norm], axis=0)
        expected.append(np.min((row[label] - row[rivals]) / duals))
    found = DeepFool(norm=norm, steps=1).minimal(model, images, labels)
    assert Victim(model).fooled(found, labels).all()
    np.testing.assert_allclose(distances(images, found, norm), 1.02 * (np.array(expected) + EXCESS), rtol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_agrees_with_foolbox(problem, victim, some, minimal, norm):
    import foolbox

    images, labels = some
    attack = {"linf": foolbox.attacks.LinfDeepFoolAttack, "l2": foolbox.attacks.L2DeepFoolAttack}[norm]()
    model = foolbox.TensorFlowModel(problem.model, bounds=(0, 1))
    criterion = foolbox.criteria.Misclassification(tf.constant(labels))
    theirs = attack(model, tf.constant(images), criterion, epsilons=None)[0].numpy()
    right = ~victim.fooled(images, labels)
    expected = distances(images, theirs, norm)[right]
    np.testing.assert_allclose(distances(images, minimal[norm], norm)[right], expected, rtol=1e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_all_fall_inside_the_range(victim, some, minimal, norm):
    assert victim.fooled(minimal[norm], some[1]).all()
    assert minimal[norm].min() >= 0
    assert minimal[norm].max() <= 1


@pytest.mark.parametrize("norm", NORMS)
def test_within_epsilon_it_is_the_nearest_found_and_else_the_original(victim, some, minimal, norm):
    images, labels = some
    known = distances(images, minimal[norm], norm)
    shares = []
    for share in (0.2, 0.5, 0.8):
        epsilon = float(np.quantile(known, share))
        found = DeepFool(norm=norm)(victim, images, labels, epsilon=epsilon)
        near = (known <= epsilon)[:, None, None, None]
        np.testing.assert_array_equal(found, np.where(near, minimal[norm], images))
        shares.append(victim.fooled(found, labels).mean())
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_does_not_depend_on_order_or_company(problem, some, minimal):
    images, labels = some
    order = np.random.default_rng(0).permutation(len(images))
    apart = DeepFool().minimal(Victim(problem.model, batch_size=7), images[order], labels[order])
    expected = distances(images, minimal["linf"], "linf")[order]
    np.testing.assert_allclose(distances(images[order], apart, "linf"), expected, rtol=1e-3)


def test_more_candidates_are_no_farther(other_problem):
    victim, some = Victim(other_problem.model), (other_problem.images, other_problem.labels)
    many, one = (DeepFool(candidates=count).minimal(victim, *some) for count in (10, 2))
    assert distances(some[0], many, "linf").mean() <= distances(some[0], one, "linf").mean()


def test_averages_over_the_draws_of_a_random_model():
    weights = np.random.default_rng(2).normal(size=(12, 3)).astype(np.float32)
    images = np.random.default_rng(3).uniform(0.2, 0.8, (30, 2, 2, 3)).astype(np.float32)

    def model(images):
        return tf.reshape(images - 0.5, (-1, 12)) @ weights

    def noisy(images):
        return model(images) + tf.random.normal((tf.shape(images)[0], 3), stddev=0.05)

    labels = model(images).numpy().argmax(axis=1)
    expected = distances(images, DeepFool(norm="l2").minimal(model, images, labels), "l2")
    found = distances(images, DeepFool(norm="l2").minimal(Victim(noisy, draws=20), images, labels), "l2")
    assert np.abs(found - expected).mean() < 0.15 * expected.mean()


def test_leaves_alone_what_is_wrong_already(victim, some):
    wrong = (victim.predict_logits(*some).argmax(axis=1) + 1) % 4
    np.testing.assert_array_equal(DeepFool().minimal(victim, some[0], wrong), some[0])


def test_a_model_without_gradient_gives_the_original():
    images = np.full((3, 2, 2, 3), 0.5, np.float32)

    def sure(images):
        total = tf.reduce_sum(images, axis=(1, 2, 3))
        return tf.stack([2 + 0 * total, 0 * total], axis=1)

    np.testing.assert_array_equal(DeepFool().minimal(sure, images, np.zeros(3, int)), images)


def test_there_is_no_targeted_version(victim, some):
    with pytest.raises(InputError, match="targets"):
        DeepFool()(victim, *some, epsilon=0.1, targets=(some[1] + 1) % 4)


@pytest.mark.parametrize("settings", [{"steps": 0}, {"overshoot": 0.0}, {"candidates": 0}])
def test_settings_must_be_positive(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        DeepFool(**settings)
