import dataclasses
import warnings

import numpy as np
import pytest
import tensorflow as tf

from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.hop_skip_jump import HopSkipJump
from robust_distillation.threats.evasion.victim import UnreliableWarning, Victim

NORMS = {"linf": np.inf, "l2": 2}


def distance(images, originals, norm):
    return np.linalg.norm((images - originals).reshape(len(images), -1), axis=1, ord=NORMS[norm])


def linear(side=4, count=20, seed=0):
    """A linear model, images well inside [0, 1], its answers, and their exact distances to the boundary."""
    rng = np.random.default_rng(seed)
    size = side * side * 3
    weights = rng.normal(size=(size, 4)).astype(np.float32) / np.float32(np.sqrt(size))
    images = rng.uniform(0.3, 0.7, (count, side, side, 3)).astype(np.float32)
    bias = -0.5 * weights.sum(axis=0)

    def model(batch):
        return tf.reshape(batch, (tf.shape(batch)[0], size)) @ weights + bias

    logits = model(images).numpy()
    labels = logits.argmax(axis=1)
    gaps = logits.max(axis=1, keepdims=True) - logits
    differences = weights[:, labels, None] - weights[:, None, :]
    distances = {}
    for norm, dual in (("linf", 1), ("l2", 2)):
        with np.errstate(invalid="ignore"):
            distances[norm] = np.nanmin(gaps / np.linalg.norm(differences, ord=dual, axis=0), axis=1)
    return model, images, labels, distances


class Counted:
    """A model that counts how often it is asked about images in all, and refuses to be differentiated."""

    def __init__(self, model):
        self.seen = tf.Variable(0)

        @tf.custom_gradient
        def opaque(batch):
            def refuse(_):
                raise AssertionError("HopSkipJump asked for a gradient")

            return model(batch), refuse

        self.opaque = opaque

    def __call__(self, batch):
        self.seen.assign_add(tf.shape(batch)[0])
        return self.opaque(batch)


@pytest.mark.parametrize(("norm", "excess"), [("l2", 1.1), ("linf", 1.2)])
def test_comes_near_the_exact_distance_of_a_linear_model(norm, excess):
    model, images, labels, distances = linear()
    found = HopSkipJump(norm=norm, queries=5000).minimal(model, images, labels)
    assert Victim(model).fooled(found, labels).all()
    ratio = distance(found, images, norm) / distances[norm]
    assert np.median(ratio) < excess
    assert ratio.min() > 0.999


@pytest.mark.parametrize("norm", NORMS)
def test_comes_nearer_with_more_queries(norm):
    model, images, labels, _ = linear(side=8)
    medians = [
        np.median(distance(HopSkipJump(norm=norm, queries=queries).minimal(model, images, labels), images, norm))
        for queries in (1000, 3000, 6000)
    ]
    assert medians[0] > 1.05 * medians[1]
    assert medians[1] > 1.02 * medians[2]


def test_float32_does_not_blind_it_in_the_linf_norm_of_images_of_usual_size():
    model, images, labels, distances = linear(side=32, count=5)
    found = HopSkipJump(queries=5000).minimal(model, images, labels)
    assert np.median(distance(found, images, "linf") / distances["linf"]) < 2.4


@pytest.mark.parametrize("queries", [1, 15, 60, 150, 1000, 1234])
def test_keeps_to_its_budget(queries):
    model, images, labels, _ = linear(count=3)
    counted = Counted(model)
    victim = Victim(counted)
    victim.check(images, labels)
    for row in range(len(images)):
        counted.seen.assign(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnreliableWarning)
            HopSkipJump(norm="l2", queries=queries).minimal(victim, images[row : row + 1], labels[row : row + 1])
        assert counted.seen.numpy() <= queries
        assert counted.seen.numpy() >= 0.8 * queries or queries < 1000


@pytest.mark.parametrize("norm", NORMS)
def test_stays_in_the_ball_and_success_grows_with_epsilon(problem, norm):
    victim = Victim(problem.model)
    attack = HopSkipJump(norm=norm, queries=1000)
    images, labels = problem.images[:10], problem.labels[:10]
    nearest = distance(attack.minimal(victim, images, labels), images, norm)
    shares = []
    for epsilon in np.quantile(nearest, [0.2, 0.6, 1]) * 1.001:
        found = attack(victim, images, labels, epsilon=float(epsilon))
        assert found.dtype == np.float32
        assert 0 <= found.min() <= found.max() <= 1
        assert distance(found, images, norm).max() <= epsilon + 1e-6
        fell = victim.fooled(found, labels)
        np.testing.assert_array_equal(found[~fell], images[~fell])
        assert fell[nearest <= epsilon].mean() > 0.9
        shares.append(fell.mean())
    assert shares[0] < shares[1] < shares[2]


def test_an_image_within_epsilon_costs_no_more_queries():
    model, images, labels, distances = linear(count=5)
    counted = Counted(model)
    victim = Victim(counted)
    found = HopSkipJump(norm="l2", queries=5000)(victim, images, labels, epsilon=float(2 * distances["l2"].max()))
    assert victim.fooled(found, labels).all()
    assert counted.seen.numpy() < 2000 * len(images)


def test_company_and_batch_size_do_not_matter():
    model, images, labels, _ = linear()
    attack = HopSkipJump(norm="l2", queries=1000, seed=3)
    together = distance(attack.minimal(model, images, labels), images, "l2")
    rows = np.array([7, 2])
    apart = distance(attack.minimal(Victim(model, batch_size=64), images[rows], labels[rows]), images[rows], "l2")
    np.testing.assert_allclose(apart, together[rows], rtol=0.05)


def test_targets_start_from_images_that_the_attacker_owns(problem):
    victim = Victim(problem.model)
    images, labels, owned = problem.images[:8], problem.labels[:8], problem.images[8:16]
    targets = (labels + 1) % 4
    attack = HopSkipJump(norm="l2", queries=1500, starts=owned, draws=0)
    found = attack.minimal(victim, images, labels, targets=targets)
    assert victim.fooled(found, labels, targets).all()
    start = np.stack([owned[problem.labels[8:16] == target][0] for target in targets])
    assert np.all(distance(found, images, "l2") < 0.8 * distance(start, images, "l2"))
    assert attack != dataclasses.replace(attack)
    with pytest.raises(InputError, match="starts must be float32"):
        dataclasses.replace(attack, starts=owned[:, :4]).minimal(victim, images, labels)


def test_says_what_it_could_not_start_on_and_what_is_too_few():
    images, labels = np.full((2, 4, 4, 3), 0.5, np.float32), np.array([1, 0])

    def stubborn(batch):
        return tf.zeros((tf.shape(batch)[0], 2)) + tf.constant([2.0, 0.0])

    with pytest.warns(UnreliableWarning, match="1 of 1 images have no starting point"):
        found = HopSkipJump(draws=3).minimal(stubborn, images, labels)
    np.testing.assert_array_equal(found, images)
    model, images, labels, _ = linear(count=2)
    with pytest.warns(UnreliableWarning, match="queries=1000 at least"):
        HopSkipJump(queries=200)(model, images, labels, epsilon=0.1)
    with pytest.raises(InputError, match="queries must be above 0"):
        HopSkipJump(queries=0)


def test_corners_help_where_noise_fails():
    def shade(batch):
        mean = tf.reduce_mean(batch, (1, 2))
        return tf.stack([0 * mean[:, 0], mean[:, 0] - mean[:, 1] - 0.5], axis=1)

    images, labels = np.full((2, 8, 8, 3), 0.5, np.float32), np.zeros(2, int)
    found = HopSkipJump(norm="l2", queries=1500, draws=5).minimal(shade, images, labels)
    assert Victim(shade).fooled(found, labels).all()
    exact = 0.25 * np.sqrt(2 * 64)
    assert np.all(distance(found, images, "l2") < 1.3 * exact)


class Peer:
    """The model as other libraries take it, with a count of what it answers."""

    def __init__(self, model):
        self.seen = 0
        self.graph = tf.function(model, reduce_retracing=True)

    def __call__(self, batch):
        self.seen += len(batch)
        return self.graph(tf.cast(batch, tf.float32))


def to_boundary(victim, images, originals, labels, norm):
    low, high = np.zeros((len(images), 1, 1, 1), np.float32), np.ones((len(images), 1, 1, 1), np.float32)
    change, reach = images - originals, distance(images, originals, norm).reshape(-1, 1, 1, 1)

    def at(share):
        return originals + (change * share if norm == "l2" else np.clip(change, -reach * share, reach * share))

    for _ in range(16):
        middle = (low + high) / 2
        fooled = victim.fooled(at(middle), labels).reshape(-1, 1, 1, 1)
        low, high = np.where(fooled, low, middle), np.where(fooled, middle, high)
    return at(high)


@pytest.mark.parametrize("norm", NORMS)
def test_agrees_with_art_at_an_equal_budget(problem, norm):
    from art.attacks import evasion
    from art.estimators.classification import BlackBoxClassifier

    images, labels = problem.images[:12], problem.labels[:12]
    peer = Peer(problem.model)
    classifier = BlackBoxClassifier(lambda batch: peer(batch).numpy(), images.shape[1:], 4, clip_values=(0, 1))
    attack = evasion.HopSkipJump(classifier, batch_size=250, norm=NORMS[norm], max_iter=5, init_eval=100, verbose=False)
    np.random.seed(0)  # noqa: NPY002 - ART draws from it
    victim = Victim(problem.model)
    # ART returns the point of its last step as it is, up to a quarter farther out than the boundary behind it.
    theirs = to_boundary(victim, attack.generate(images), images, labels, norm)
    # ART's tolerances are those of gamma = d / 100.
    mine = HopSkipJump(norm=norm, queries=peer.seen // len(images), gamma=images[0].size / 100)
    found = mine.minimal(victim, images, labels)
    medians = [np.median(distance(changed, images, norm)) for changed in (found, theirs)]
    assert medians[0] == pytest.approx(medians[1], rel=0.25)


def test_agrees_with_foolbox_at_an_equal_budget(problem):
    import foolbox

    images, labels = problem.images[:12], problem.labels[:12]
    peer = Peer(problem.model)
    # Its L2 version divides each image's direction by the norm over the whole batch, so only the other one compares.
    attack = foolbox.attacks.HopSkipJumpAttack(steps=5, constraint="linf")
    tf.random.set_seed(0)
    model = foolbox.TensorFlowModel(peer, bounds=(0, 1))
    theirs, _, _ = attack(model, tf.constant(images), tf.constant(labels), epsilons=None)
    found = HopSkipJump(queries=peer.seen // len(images)).minimal(problem.model, images, labels)
    medians = [np.median(distance(np.asarray(changed), images, "linf")) for changed in (found, theirs)]
    assert medians[0] == pytest.approx(medians[1], rel=0.25)
