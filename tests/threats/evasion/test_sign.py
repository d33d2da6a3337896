import numpy as np
import pytest
import tensorflow as tf

from robust_distillation.threats.evasion.deepfool import DeepFool
from robust_distillation.threats.evasion.ensemble import craft
from robust_distillation.threats.evasion.noise import UniformNoise
from robust_distillation.threats.evasion.sign import FGSM, IFGSM, MIFGSM, PGD
from robust_distillation.threats.evasion.victim import UnreliableWarning, Victim, as_victim

ATTACKS = {
    "fgsm": FGSM(),
    "i_fgsm": IFGSM(),
    "i_fgsm margin": IFGSM(loss="margin"),
    "mi_fgsm": MIFGSM(),
    "pgd": PGD(steps=20, restarts=2),
    "pgd early": PGD(steps=20, early_stop=True),
}
RADII = {"linf": (0.01, 0.1, 0.3), "l2": (0.1, 1.5, 4.0)}


@pytest.fixture(params=ATTACKS)
def attack(request):
    return ATTACKS[request.param]


def with_norm(attack, norm):
    return attack.__class__(**{**vars(attack), "norm": norm})


def accuracy(problem, images):
    return 1 - as_victim(problem.model).fooled(images, problem.labels).mean()


def size(change, norm):
    return np.abs(change).max() if norm == "linf" else np.sqrt(np.square(change).sum(axis=(1, 2, 3))).max()


@pytest.mark.parametrize("norm", RADII)
def test_stays_inside_the_ball_and_the_pixel_range(problem, attack, norm):
    for epsilon in RADII[norm]:
        adversarial = with_norm(attack, norm)(problem.model, problem.images, problem.labels, epsilon=epsilon)
        assert adversarial.dtype == np.float32
        assert adversarial.min() >= 0
        assert adversarial.max() <= 1
        assert 0.5 * epsilon < size(adversarial - problem.images, norm) <= epsilon + 1e-6


@pytest.mark.parametrize("norm", RADII)
def test_accuracy_falls_with_epsilon_and_to_nothing(problem, attack, norm):
    assert accuracy(problem, problem.images) > 0.95
    left = [
        accuracy(problem, with_norm(attack, norm)(problem.model, problem.images, problem.labels, epsilon=epsilon))
        for epsilon in RADII[norm]
    ]
    assert left[0] >= left[1] >= left[2]
    assert left[2] < 0.3


@pytest.mark.parametrize("norm", RADII)
def test_targeted_reaches_targets(other_problem, attack, norm):
    targets = (other_problem.labels + 1) % 4
    found = with_norm(attack, norm)(
        other_problem.model, other_problem.images, other_problem.labels, epsilon=RADII[norm][2], targets=targets
    )
    assert as_victim(other_problem.model).fooled(found, other_problem.labels, targets).mean() > 0.75


def test_iterating_is_at_least_as_strong_as_one_step(problem):
    one = accuracy(problem, FGSM()(problem.model, problem.images, problem.labels, epsilon=0.12))
    many = accuracy(problem, IFGSM()(problem.model, problem.images, problem.labels, epsilon=0.12))
    assert many <= one


def test_more_restarts_never_leave_more_standing(problem):
    once, often = (
        accuracy(problem, PGD(steps=20, restarts=n)(problem.model, problem.images, problem.labels, epsilon=0.085))
        for n in (1, 4)
    )
    assert often <= once


def test_a_later_restart_leaves_what_an_earlier_one_fooled(problem):
    first, second = (
        PGD(steps=20, restarts=n, seed=3)(problem.model, problem.images, problem.labels, epsilon=0.09) for n in (1, 2)
    )
    fooled = as_victim(problem.model).fooled(first, problem.labels)
    assert fooled.any()
    np.testing.assert_array_equal(first[fooled], second[fooled])


def test_stopping_early_fools_no_fewer_and_leaves_what_it_found(problem):
    full, early = (
        IFGSM(steps=15, early_stop=stop)(problem.model, problem.images, problem.labels, epsilon=0.12)
        for stop in (False, True)
    )
    victim = as_victim(problem.model)
    assert victim.fooled(early, problem.labels).sum() >= victim.fooled(full, problem.labels).sum() > 0
    assert np.abs(early - problem.images).mean() < np.abs(full - problem.images).mean()


def test_early_stop_spends_no_gradient_on_fallen_images(problem):
    sizes = []

    def counted(batch):
        sizes.append(tf.py_function(lambda count: seen.append(int(count)), [tf.shape(batch)[0]], []))
        return problem.model(batch)

    seen: list[int] = []
    victim = Victim(counted)
    IFGSM(steps=10, early_stop=True)(victim, problem.images, problem.labels, epsilon=0.3)
    assert sum(seen) < 0.6 * 10 * len(problem.images)


def test_fgsm_of_a_linear_model_is_exact():
    weights = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)

    def linear(batch):
        return tf.reshape(batch, (-1, 12)) @ weights

    images = np.full((5, 2, 2, 3), 0.5, dtype=np.float32)
    labels = np.array([0, 1, 2, 0, 1])
    probabilities = tf.nn.softmax(linear(images)).numpy()
    gradient = ((probabilities - np.eye(3)[labels]) @ weights.T).reshape(images.shape)
    linf = FGSM()(linear, images, labels, epsilon=0.1)
    np.testing.assert_allclose(linf, 0.5 + 0.1 * np.sign(gradient), atol=1e-6)
    l2 = FGSM(norm="l2")(linear, images, labels, epsilon=0.1)
    length = np.sqrt(np.square(gradient).sum(axis=(1, 2, 3), keepdims=True))
    np.testing.assert_allclose(l2, 0.5 + 0.1 * gradient / length, atol=1e-6)


def test_dividing_logits_by_the_temperature_brings_vanished_gradients_back(problem):
    def hot(batch):
        return 200 * problem.model(batch)

    attack = IFGSM(step_size=0.02)
    blind = attack(hot, problem.images, problem.labels, epsilon=0.1)
    seeing = attack(Victim(hot, temperature=200), problem.images, problem.labels, epsilon=0.1)
    assert np.mean(np.all(blind == problem.images, axis=(1, 2, 3))) > 0.3
    assert accuracy(problem, seeing) < accuracy(problem, blind)


def test_an_image_alone_gets_what_it_gets_in_company(problem, attack):
    together = attack(problem.model, problem.images, problem.labels, epsilon=0.05)
    alone = attack(problem.model, problem.images[:1], problem.labels[:1], epsilon=0.05)
    # Batched sums differ in the last bits, which flips the sign of a gradient that is all but zero.
    assert np.mean(np.abs(together[:1] - alone) > 1e-6) < 0.02


def test_no_images_give_no_images(problem, attack):
    assert attack(problem.model, problem.images[:0], problem.labels[:0], epsilon=0.05).shape == (0, 12, 12, 3)


def test_agrees_with_foolbox(problem):
    import foolbox

    bounded = foolbox.TensorFlowModel(problem.model, bounds=(0, 1))
    images, labels = tf.constant(problem.images), tf.constant(problem.labels, tf.int32)
    pairs = [
        (FGSM(), foolbox.attacks.FGSM(random_start=False), 0.05),
        (FGSM(norm="l2"), foolbox.attacks.FGM(random_start=False), 0.5),
    ]
    for ours, theirs, epsilon in pairs:
        expected, _, _ = theirs(bounded, images, labels, epsilons=epsilon)
        found = ours(problem.model, problem.images, problem.labels, epsilon=epsilon)
        assert np.mean(np.abs(found - expected.numpy()) > 1e-5) < 1e-3
    pairs = [
        (IFGSM(step_size=0.02), foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=0.02, steps=10), 0.09),
        (IFGSM(step_size=0.3, norm="l2"), foolbox.attacks.L2BasicIterativeAttack(abs_stepsize=0.3, steps=10), 1.2),
    ]
    for ours, theirs, epsilon in pairs:
        theirs.random_start = False
        expected, _, _ = theirs(bounded, images, labels, epsilons=epsilon)
        found = ours(problem.model, problem.images, problem.labels, epsilon=epsilon)
        assert accuracy(problem, found) == pytest.approx(accuracy(problem, expected.numpy()), abs=0.02)


def test_pgd_is_repeatable_and_its_seed_matters(problem):
    def run(seed):
        return PGD(steps=20, step_size=0.003, seed=seed)(problem.model, problem.images, problem.labels, epsilon=0.05)

    np.testing.assert_array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))


@pytest.mark.parametrize(
    ("weak", "remedy"),
    [
        (IFGSM(steps=5, step_size=0.001), "steps=50"),
        (IFGSM(steps=9), "steps=10"),
        (IFGSM(step_size=0.2), r"step_size=0.0125\b"),
        (MIFGSM(steps=1), "steps=10"),
        (PGD(steps=5), "steps=20"),
        (PGD(step_size=0.001), "steps=50"),
        (UniformNoise(draws=1), "draws=100"),
        (DeepFool(steps=1), "steps=20"),
    ],
)
def test_a_small_budget_warns_with_the_number_that_would_do(problem, weak, remedy):
    with pytest.warns(UnreliableWarning, match=remedy):
        weak(problem.model, problem.images[:2], problem.labels[:2], epsilon=0.05)


@pytest.mark.parametrize("kind", ["fgsm", "i_fgsm", "mi_fgsm", "pgd"])
def test_craft_knows_attacks_by_name(problem, kind):
    found = craft(kind, problem.model, problem.images, problem.labels, epsilon=0.2, alpha=0.02, iterations=20)
    assert accuracy(problem, found) < 0.7
