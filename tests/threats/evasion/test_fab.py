import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import LinearConstraint, linprog, minimize

from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.deepfool import DeepFool
from robust_distillation.threats.evasion.fab import FABT, pull_back, start_around, to_hyperplane
from robust_distillation.threats.evasion.norms import length
from robust_distillation.threats.evasion.victim import UnreliableWarning, Victim

SHAPE = (2, 2, 3)
NORMS = ("linf", "l2")
STEPS = 40


def linear(n_classes, seed):
    """A linear model whose classes all hold some of the images around grey."""
    weights = np.random.default_rng(seed).normal(size=(12, n_classes)).astype(np.float32)
    offset = -0.5 * weights.sum(axis=0)
    return weights, lambda images: tf.reshape(images, (-1, 12)) @ weights + offset


def distances(images, changed, norm):
    return length(changed - images, norm).numpy()


def boxed_linf_distance(point, normal, gap):
    """Solve: minimise t subject to |d| <= t, normal . d = gap, point + d in [0, 1]."""
    size = len(point)
    ones = np.ones((size, 1))
    found = linprog(
        c=[0.0] * size + [1.0],
        A_ub=np.block([[np.eye(size), -ones], [-np.eye(size), -ones]]),
        b_ub=np.zeros(2 * size),
        A_eq=[[*normal, 0.0]],
        b_eq=[gap],
        bounds=[*zip(-point, 1 - point, strict=True), (0, None)],
    )
    return found.fun if found.success else np.inf


def boxed_l2_distance(point, normal, gap):
    found = minimize(
        lambda change: change @ change,
        np.zeros(len(point)),
        jac=lambda change: 2 * change,
        bounds=list(zip(-point, 1 - point, strict=True)),
        constraints=LinearConstraint(normal[None], gap, gap),
        method="trust-constr",
        options={"gtol": 1e-10, "xtol": 1e-12},
    )
    return np.sqrt(found.fun)


def nearest_boundary(weights, logits, label, norm, point=None):
    """The distance to the nearest boundary of the linear model, within the box where the point is given."""
    distances = []
    for other in range(weights.shape[1]):
        if other == label:
            continue
        normal, gap = (weights[:, other] - weights[:, label]).astype(float), float(logits[label] - logits[other])
        if point is not None:
            distances.append(BOXED[norm](point.astype(float).ravel(), normal, gap))
        else:
            distances.append(gap / np.linalg.norm(normal, ord={"linf": 1, "l2": 2}[norm]))
    return min(distances)


BOXED = {"linf": boxed_linf_distance, "l2": boxed_l2_distance}


@pytest.fixture(scope="module")
def some(problem):
    return problem.images[:24], problem.labels[:24]


@pytest.fixture(scope="module")
def minimal(victim, some):
    return {norm: FABT(norm=norm, steps=STEPS).minimal(victim, *some) for norm in NORMS}


@pytest.mark.parametrize("norm", NORMS)
def test_projection_is_the_nearest_point_of_the_hyperplane_in_the_box(norm):
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (12, *SHAPE)).astype(np.float32)
    points[:4] = points[:4].round()
    normals = rng.normal(size=points.shape).astype(np.float32)
    normals[0, 0] = 0
    gaps = rng.uniform(0.3, 1, 12).astype(np.float32) * rng.choice([-1, 1], 12).astype(np.float32)
    changes = to_hyperplane(points, normals, gaps, norm).numpy()
    np.testing.assert_allclose((normals * changes).sum(axis=(1, 2, 3)), gaps, atol=2e-6)
    assert (points + changes).min() >= 0
    assert (points + changes).max() <= 1
    expected = [
        BOXED[norm](point.astype(float).ravel(), normal.astype(float).ravel(), float(gap))
        for point, normal, gap in zip(points, normals, gaps, strict=True)
    ]
    np.testing.assert_allclose(distances(0, changes, norm), expected, rtol=2e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_projection_copes_with_extremes(norm):
    points = np.full((5, *SHAPE), 0.25, np.float32)
    normals = np.ones_like(points)
    normals[1] = 0
    normals[2] = 1e-30
    normals[3, 0, 0] = 1e-30
    gaps = np.array([100, 1, 3e-30, -1, 0], np.float32)
    changes = to_hyperplane(points, normals, gaps, norm).numpy()
    np.testing.assert_allclose(points[0] + changes[0], 1)  # out of reach: the corner
    assert not changes[1].any()
    np.testing.assert_allclose(changes[2], 0.25, rtol=1e-5)
    np.testing.assert_allclose((normals * changes)[3].sum(), -1, rtol=1e-5)
    assert not changes[4].any()


@pytest.mark.parametrize("norm", NORMS)
def test_projection_closes_gaps_up_to_the_last_corner(norm):
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 1, (50, 32, 32, 3)).astype(np.float32)
    normals = rng.standard_cauchy(points.shape).astype(np.float32)
    reach = np.where(normals > 0, normals * (1 - points), -normals * points).sum(axis=(1, 2, 3))
    gaps = reach * np.linspace(0.001, 0.999, 50, dtype=np.float32)
    closed = (normals * to_hyperplane(points, normals, gaps, norm)).numpy().sum(axis=(1, 2, 3))
    np.testing.assert_allclose(closed, gaps, rtol=2e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_finds_the_exact_distance_of_a_linear_model(norm, n_classes):
    weights, model = linear(n_classes, seed=2)
    images = np.random.default_rng(3).uniform(0.45, 0.55, (30, *SHAPE)).astype(np.float32)
    logits = model(images).numpy()
    labels = logits.argmax(axis=1)
    expected = [nearest_boundary(weights, *row, norm) for row in zip(logits, labels, strict=True)]
    found = FABT(norm=norm, steps=STEPS).minimal(model, images, labels)
    assert Victim(model).fooled(found, labels).all()
    np.testing.assert_allclose(distances(images, found, norm), expected, rtol=0.01)
    assert np.all(distances(images, found, norm) >= 0.9999 * np.array(expected))


def test_finds_the_exact_distance_where_the_box_is_in_the_way():
    weights, model = linear(4, seed=4)
    images = np.random.default_rng(5).integers(0, 2, (30, *SHAPE)).astype(np.float32)
    logits = model(images).numpy()
    labels = logits.argmax(axis=1)
    free = [nearest_boundary(weights, *row, "linf") for row in zip(logits, labels, strict=True)]
    expected = [nearest_boundary(weights, *row[:2], "linf", row[2]) for row in zip(logits, labels, images, strict=True)]
    assert np.mean(np.isclose(free, expected)) < 0.5
    found = FABT().minimal(model, images, labels)
    fell = Victim(model).fooled(found, labels)
    np.testing.assert_array_equal(fell, np.isfinite(expected))
    np.testing.assert_allclose(distances(images, found, "linf")[fell], np.array(expected)[fell], rtol=0.01)


@pytest.mark.parametrize("norm", NORMS)
def test_stays_in_the_ball_and_falls_as_its_minimal_distance_says(victim, some, minimal, norm):
    images, labels = some
    known = distances(images, minimal[norm], norm)
    shares = []
    for share in (0.2, 0.5, 0.8):
        epsilon = float(np.quantile(known, share))
        found = FABT(norm=norm, steps=STEPS)(victim, images, labels, epsilon=epsilon)
        assert distances(images, found, norm).max() <= epsilon + 1e-6
        assert found.min() >= 0
        assert found.max() <= 1
        fell = victim.fooled(found, labels)
        assert abs(fell.sum() - (known <= epsilon).sum()) <= 1  # stopping early changes no verdict
        shares.append(fell.mean())
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


@pytest.mark.parametrize("norm", NORMS)
def test_is_no_farther_than_deepfool(victim, some, minimal, norm):
    deepfool = DeepFool(norm=norm).minimal(victim, *some)
    ours, theirs = (distances(some[0], found, norm) for found in (minimal[norm], deepfool))
    assert victim.fooled(minimal[norm], some[1]).all()
    assert ours.mean() < theirs.mean()
    assert np.all(ours <= 1.05 * theirs + 1e-4)


def test_does_not_depend_on_order_or_company(problem, some, minimal):
    images, labels = some
    order = np.random.default_rng(0).permutation(len(images))
    apart = FABT(steps=STEPS).minimal(Victim(problem.model, batch_size=7), images[order], labels[order])
    expected = distances(images, minimal["linf"], "linf")[order]
    np.testing.assert_allclose(distances(images[order], apart, "linf"), expected, rtol=0.02, atol=1e-4)


def test_targets_are_reached(victim, some, minimal):
    images, labels = some
    targets = (labels + 1) % 4
    found = FABT(steps=STEPS).minimal(victim, images, labels, targets=targets)
    assert victim.fooled(found, labels, targets).mean() > 0.9
    assert distances(images, found, "linf").mean() > distances(images, minimal["linf"], "linf").mean()


def test_restarts_find_no_less_and_repeat(victim, some):
    images, labels = some[0][:8], some[1][:8]
    once, twice, again = (
        FABT(norm="l2", steps=20, restarts=restarts, seed=3).minimal(victim, images, labels) for restarts in (1, 2, 2)
    )
    np.testing.assert_array_equal(twice, again)
    # The final search may land 1 % apart from two starting points.
    assert np.all(distances(images, twice, "l2") <= 1.01 * distances(images, once, "l2") + 1e-5)


def test_leaves_alone_what_is_wrong_already(victim, some):
    wrong = (victim.predict_logits(*some).argmax(axis=1) + 1) % 4
    np.testing.assert_array_equal(FABT().minimal(victim, some[0], wrong), some[0])


def test_where_nothing_can_be_found_the_original_comes_back():
    images = np.full((3, *SHAPE), 0.5, np.float32)
    labels = np.zeros(3, int)

    def sure(images):
        total = tf.reduce_sum(images, axis=(1, 2, 3))
        return tf.stack([100 + 0 * total, total], axis=1)

    np.testing.assert_array_equal(FABT().minimal(sure, images, labels), images)


@pytest.mark.parametrize("norm", NORMS)
def test_random_starts_lie_at_their_radius(norm):
    images = np.full((4, *SHAPE), 0.5, np.float32)
    draws = [np.random.default_rng(seed) for seed in range(4)]
    radii = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    start = start_around(images, draws, radii, norm)
    np.testing.assert_allclose(distances(images, start, norm), radii, rtol=1e-5)


def test_the_final_search_shortens_and_stays_adversarial(victim, some):
    far = DeepFool(norm="l2", overshoot=0.5).minimal(victim, *some)
    fell = victim.fooled(far, some[1]) & (far != some[0]).any(axis=(1, 2, 3))
    images, far, labels = some[0][fell], far[fell], some[1][fell].astype(np.int32)
    pulled = pull_back(victim, images, far, labels, None)
    assert victim.fooled(pulled, labels).all()
    assert np.all(distances(images, pulled, "l2") <= distances(images, far, "l2") + 1e-6)
    assert distances(images, pulled, "l2").mean() < 0.9 * distances(images, far, "l2").mean()


@pytest.mark.parametrize("settings", [{"steps": 0}, {"restarts": 0}, {"n_targets": 0}, {"beta": -1.0}])
def test_settings_must_be_positive(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        FABT(**settings)


def test_few_steps_are_called_unreliable(victim, some):
    with pytest.warns(UnreliableWarning, match="steps=20"):
        FABT(steps=5)(victim, *some, epsilon=0.01)
