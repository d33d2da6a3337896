import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.apgd import APGD, APGDT, checkpoints, dlr, targeted_dlr
from robust_distillation.threats.evasion.sign import PGD
from robust_distillation.threats.evasion.victim import UnreliableWarning, Victim

ATTACKS = {
    "ce": APGD(steps=50),
    "dlr": APGD(steps=50, loss="dlr"),
    "targeted": APGDT(steps=50),
}
EPSILONS = {"linf": 0.085, "l2": 1.25}


def linear(n_classes, seed=0, scale=1.0):
    """A linear model, 200 images well inside [0, 1], its answers, and their exact distances to the nearest boundary."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(48, n_classes)).astype(np.float32) * scale
    images = rng.uniform(0.4, 0.6, (200, 4, 4, 3)).astype(np.float32)
    bias = -0.5 * weights.sum(axis=0)

    def model(batch):
        return tf.reshape(batch, (tf.shape(batch)[0], 48)) @ weights + bias

    logits = model(images).numpy()
    labels = logits.argmax(axis=1)
    gaps = logits.max(axis=1, keepdims=True) - logits
    differences = weights[:, labels, None] - weights[:, None, :]
    distances = {}
    for norm, order in (("linf", 1), ("l2", 2)):
        lengths = np.linalg.norm(differences, ord=order, axis=0)
        with np.errstate(invalid="ignore"):
            distances[norm] = np.nanmin(gaps / lengths, axis=1)
    return model, images, labels, distances


def length(change, norm):
    flat = change.reshape(len(change), -1)
    return np.abs(flat).max(axis=1) if norm == "linf" else np.linalg.norm(flat, axis=1)


def with_norm(name, norm):
    return dataclasses.replace(ATTACKS[name], norm=norm)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ATTACKS)
def test_stays_in_the_ball_and_success_grows_with_epsilon(victim, problem, name, norm):
    attack = with_norm(name, norm)
    shares = []
    for epsilon in (EPSILONS[norm], 3 * EPSILONS[norm]):
        found = attack(victim, problem.images, problem.labels, epsilon=epsilon)
        assert found.dtype == np.float32
        assert 0 <= found.min() <= found.max() <= 1
        assert length(found - problem.images, norm).max() <= epsilon + 1e-6
        shares.append(victim.fooled(found, problem.labels).mean())
    assert 0 < shares[0] < shares[1]
    assert shares[1] > 0.95


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("name", ATTACKS)
def test_is_exact_on_a_linear_model(name, n_classes, norm):
    model, images, labels, distances = linear(n_classes)
    victim = Victim(model)
    epsilon = float(np.median(distances[norm]))
    found = with_norm(name, norm)(victim, images, labels, epsilon=epsilon)
    assert length(found - images, norm).max() <= epsilon + 1e-6
    fell = victim.fooled(found, labels)
    assert np.all(distances[norm][fell] < epsilon * 1.0001)
    # The highest cross-entropy need not lie across the nearest of several boundaries.
    share = 0.99 if name != "ce" or n_classes == 2 else 0.75
    assert fell[distances[norm] < share * epsilon].all()


def test_a_gradient_of_zero_gives_an_image_all_the_same():
    images, labels = np.full((3, 4, 4, 3), 0.5, np.float32), np.ones(3, int)
    for norm in ("linf", "l2"):
        found = APGD(norm=norm)(lambda batch: 0 * batch[:, 0, 0, :] + [-1.0, 2, 0], images, labels, epsilon=0.1)
        assert length(found - images, norm).max() <= 0.1 + 1e-6


def test_the_ratio_finds_what_a_saturated_cross_entropy_hides():
    model, images, labels, distances = linear(5, scale=1000.0)
    victim = Victim(model)
    epsilon = float(np.median(distances["linf"]))
    blind, seeing = (
        victim.fooled(APGD(loss=loss)(victim, images, labels, epsilon=epsilon), labels)
        for loss in ("cross_entropy", "dlr")
    )
    assert seeing.mean() > blind.mean() + 0.1


def test_targeted_reaches_targets_and_only_those_count(victim, problem):
    targets = (problem.labels + 1) % 4
    for loss in ("cross_entropy", "dlr"):
        found = APGD(steps=50, loss=loss)(victim, problem.images, problem.labels, epsilon=0.4, targets=targets)
        reached = victim.fooled(found, problem.labels, targets)
        assert reached.mean() > 0.9
    with pytest.raises(InputError, match="chooses its own targets"):
        APGDT(steps=50)(victim, problem.images, problem.labels, epsilon=0.4, targets=targets)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_is_at_least_as_strong_as_pgd(victim, problem, norm):
    pgd = PGD(steps=50, norm=norm)(victim, problem.images, problem.labels, epsilon=EPSILONS[norm])
    shares = [
        victim.fooled(attack(victim, problem.images, problem.labels, epsilon=EPSILONS[norm]), problem.labels).mean()
        for attack in (APGD(steps=50, norm=norm), APGDT(steps=50, norm=norm))
    ]
    assert min(shares) >= victim.fooled(pgd, problem.labels).mean()


@pytest.mark.parametrize("attack", [APGD, APGDT])
def test_more_restarts_leave_what_the_first_fooled(victim, problem, attack):
    once, often = (
        attack(steps=50, restarts=restarts)(victim, problem.images, problem.labels, epsilon=0.085)
        for restarts in (1, 2)
    )
    fell = victim.fooled(once, problem.labels)
    assert 0 < fell.sum() < len(fell)
    assert victim.fooled(often, problem.labels)[fell].all()
    if attack is APGD:
        np.testing.assert_array_equal(once[fell], often[fell])


@pytest.mark.parametrize("name", ["ce", "targeted"])
def test_company_does_not_matter_and_two_runs_are_the_same(victim, problem, name, monkeypatch):
    together, again = (ATTACKS[name](victim, problem.images, problem.labels, epsilon=0.085) for _ in range(2))
    monkeypatch.setattr(victim, "batch_size", 11)
    apart = ATTACKS[name](victim, problem.images, problem.labels, epsilon=0.085)
    np.testing.assert_array_equal(together, again)
    fell = victim.fooled(together, problem.labels)
    assert 0 < fell.sum() < len(fell)
    # Batched sums differ in the last bits, which flips the sign of a gradient that is all but zero.
    assert np.mean(fell == victim.fooled(apart, problem.labels)) > 0.96


def counted(model, rows):
    """Wrap a model such that it notes how many images each pass takes."""

    def wrapped(batch):
        tf.numpy_function(lambda count: rows.append(int(count)), [tf.shape(batch)[0]], [])
        return model(batch)

    return wrapped


def test_a_standing_image_costs_one_gradient_per_step_and_one_for_the_start():
    model, images, labels, distances = linear(3)
    rows = []
    APGD(steps=60)(counted(model, rows), images, labels, epsilon=float(distances["linf"].min()) / 2)
    gradients = rows[2:]  # one batch for the check, one for the clean answers
    assert gradients == [200] * 61


def test_fallen_images_cost_nothing():
    model, images, labels, distances = linear(3)
    rows = []
    APGD(steps=60)(counted(model, rows), images, labels, epsilon=float(distances["linf"].max()) * 2)
    assert max(rows[3:]) < 200
    assert len(rows) < 20


def test_images_that_are_wrong_already_come_back_unchanged(victim, problem):
    wrong = (problem.labels + 1) % 4
    for attack in ATTACKS.values():
        np.testing.assert_array_equal(attack(victim, problem.images, wrong, epsilon=0.05), problem.images)


def test_losses_are_the_papers():
    logits = tf.constant([[5.0, 3.0, 2.0, 0.0, -1.0], [1.0, 4.0, 2.0, 0.0, -1.0]])
    labels, targets = tf.constant([0, 0]), tf.constant([2, 1])
    np.testing.assert_allclose(dlr(logits, labels), [-2 / 3, 3 / 3], rtol=1e-6)
    np.testing.assert_allclose(targeted_dlr(logits, labels, targets), [-3 / 4, 3 / 3.5], rtol=1e-6)
    np.testing.assert_allclose(dlr(7 * logits + 3, labels), dlr(logits, labels), rtol=1e-5)
    np.testing.assert_allclose(targeted_dlr(logits[:, :3], labels, targets), [-3, 3], rtol=1e-6)
    np.testing.assert_allclose(dlr(logits[:, :2], labels), [-2, 3], rtol=1e-6)


def test_checkpoints_of_a_hundred_steps_are_the_papers():
    assert np.flatnonzero(checkpoints(100)).tolist() == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(100)[[22, 41, 99]].tolist() == [22, 19, 6]
    assert np.flatnonzero(checkpoints(3)).tolist() == [1, 2, 3]


def test_wrong_settings_are_named_and_small_budgets_warned_of(victim, problem):
    for make in (lambda: APGD(steps=0), lambda: APGDT(restarts=0), lambda: APGDT(n_targets=0), lambda: APGD(loss="l")):
        with pytest.raises(InputError, match="Received"):
            make()
    with pytest.warns(UnreliableWarning, match="steps=50"):
        APGD(steps=10)(victim, problem.images[:2], problem.labels[:2], epsilon=0.05)


def test_agrees_with_art(victim, problem):
    from art.attacks import evasion
    from art.estimators.classification import TensorFlowV2Classifier

    classifier = TensorFlowV2Classifier(
        problem.model,
        nb_classes=4,
        input_shape=(12, 12, 3),
        loss_object=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        clip_values=(0, 1),
    )
    attack = evasion.AutoProjectedGradientDescent(
        classifier,
        norm=np.inf,
        eps=0.085,
        eps_step=2 * 0.085,
        max_iter=50,
        nb_random_init=1,
        batch_size=60,
        loss_type="cross_entropy",
        verbose=False,
    )
    theirs = victim.fooled(attack.generate(problem.images, problem.labels), problem.labels).mean()
    ours = APGD(steps=50)(victim, problem.images, problem.labels, epsilon=0.085)
    assert victim.fooled(ours, problem.labels).mean() >= theirs - 0.02
