import numpy as np
import pytest
import tensorflow as tf

from robust_distillation.errors import InputError
from robust_distillation.threats.evasion import square
from robust_distillation.threats.evasion.attack import generators
from robust_distillation.threats.evasion.square import Square, bump, window_sides
from robust_distillation.threats.evasion.victim import UnreliableWarning, Victim

pytestmark = pytest.mark.filterwarnings("ignore:.*too few to trust")

EPSILONS = {"linf": 0.11, "l2": 2.2}


def length(change, norm):
    flat = change.reshape(len(change), -1)
    return np.abs(flat).max(axis=1) if norm == "linf" else np.linalg.norm(flat, axis=1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_stays_in_the_ball_and_success_grows_with_epsilon(victim, problem, norm):
    shares = []
    for epsilon in (EPSILONS[norm], 2 * EPSILONS[norm]):
        found = Square(queries=500, norm=norm)(victim, problem.images, problem.labels, epsilon=epsilon)
        assert found.dtype == np.float32
        assert 0 <= found.min() <= found.max() <= 1
        assert length(found - problem.images, norm).max() <= epsilon + 1e-6
        shares.append(victim.fooled(found, problem.labels).mean())
    assert 0 < shares[0] < shares[1]
    assert shares[1] > 0.95


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_queries_and_restarts_leave_what_fewer_fooled(victim, problem, norm):
    fell = [
        victim.fooled(
            Square(queries=queries, restarts=restarts, norm=norm, rescale_schedule=False)(
                victim, problem.images, problem.labels, epsilon=EPSILONS[norm]
            ),
            problem.labels,
        )
        for queries, restarts in ((150, 1), (530, 1), (150, 3))
    ]
    assert fell[1][fell[0]].all()
    assert fell[2][fell[0]].all()
    assert fell[1].sum() > fell[0].sum()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_company_and_the_number_of_queries_per_call_do_not_matter(victim, problem, norm, monkeypatch):
    attack = Square(queries=300, norm=norm)
    arguments = victim, problem.images, problem.labels
    together, again = (attack(*arguments, epsilon=1.5 * EPSILONS[norm]) for _ in range(2))
    np.testing.assert_array_equal(together, again)
    fell = victim.fooled(together, problem.labels)
    assert 0 < fell.sum() < len(fell)
    monkeypatch.setattr(victim, "batch_size", 13)
    monkeypatch.setattr(square, "QUERIES_AT_ONCE", 37)
    apart = attack(*arguments, epsilon=1.5 * EPSILONS[norm])
    assert np.mean(fell == victim.fooled(apart, problem.labels)) > 0.96
    other = Square(queries=300, norm=norm, seed=1)(*arguments, epsilon=1.5 * EPSILONS[norm])
    assert not np.array_equal(together, other)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_uses_no_gradient_and_no_query_beyond_the_budget_or_the_first_success(victim, problem, norm, monkeypatch):
    def refuse(*_):
        raise AssertionError("a black box has no gradient")

    monkeypatch.setattr(Victim, "gradient", refuse)
    monkeypatch.setattr(tf, "GradientTape", refuse)
    rows = []

    def counted(batch):
        tf.numpy_function(lambda count: rows.append(int(count)), [tf.shape(batch)[0]], [])
        return problem.model(batch)

    Square(queries=230, norm=norm)(counted, problem.images, problem.labels, epsilon=0.01)
    assert rows[2:] == [60] * 230  # after the check and the clean answers
    rows.clear()
    Square(queries=230, norm=norm)(counted, problem.images, problem.labels, epsilon=2 * EPSILONS[norm])
    assert rows[-1] < 60
    assert rows[1:] == sorted(rows[1:], reverse=True)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_targeted_reaches_targets(victim, problem, norm):
    targets = (problem.labels + 1) % 4
    attack = Square(queries=800, norm=norm)
    found = attack(victim, problem.images, problem.labels, epsilon=3 * EPSILONS[norm], targets=targets)
    assert victim.fooled(found, problem.labels, targets).mean() > 0.9


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_linear_model_falls_where_it_can(n_classes, norm):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(90, n_classes)).astype(np.float32)
    images = rng.uniform(0.4, 0.6, (80, 6, 5, 3)).astype(np.float32)

    def model(batch):
        return tf.reshape(batch - 0.5, (tf.shape(batch)[0], 90)) @ weights

    logits = model(images).numpy()
    labels = logits.argmax(axis=1)
    lengths = np.linalg.norm(weights[:, labels, None] - weights[:, None, :], ord=1 if norm == "linf" else 2, axis=0)
    distances = np.nanmin((logits.max(axis=1, keepdims=True) - logits) / np.where(lengths, lengths, np.nan), axis=1)
    victim = Victim(model)
    epsilon = float(np.median(distances))
    fell = victim.fooled(Square(queries=1500, norm=norm)(victim, images, labels, epsilon=epsilon), labels)
    assert np.all(distances[fell] < epsilon * 1.0001)
    assert fell[distances < 0.6 * epsilon].all()


def test_linf_proposals_are_squares_of_one_sign_per_channel():
    rng = np.random.default_rng(3)
    centres, best = (tf.constant(rng.uniform(0, 1, (4, 9, 7, 3)), tf.float32) for _ in range(2))
    moves = square.draw_moves(generators(centres.numpy(), 0, ""), square.move_ranges(np.array([3]), 9, 7, 3, "linf"))
    tried = square.propose_linf(centres, best, moves, 3, tf.zeros(0), 0.1).numpy()
    for centre, old, new, (top, left, *bits) in zip(centres.numpy(), best.numpy(), tried, moves, strict=True):
        expected = old.copy()
        window = np.s_[top : top + 3, left : left + 3]
        expected[window] = np.clip(centre[window] + 0.1 * (2 * np.array(bits) - 1), 0, 1)
        np.testing.assert_allclose(new, expected, atol=1e-6)


def test_l2_proposals_are_algorithm_3():
    rng = np.random.default_rng(4)
    side, epsilon = 5, 0.8
    centres = rng.uniform(0.3, 0.7, (6, 9, 7, 3)).astype(np.float32)
    best = square.tiles(centres, generators(centres, 0, ""), 0.5)
    moves = square.draw_moves(generators(centres, 1, ""), square.move_ranges(np.array([side]), 9, 7, 3, "l2"))
    assert len(set(moves[:, 4])) == 2
    bumps = square.placed_bumps(np.array([side]), 9, 7)[0]
    tried = square.propose_l2(*map(tf.constant, (centres, best, moves, side, bumps, epsilon))).numpy()
    for centre, old, new, (top, left, top2, left2, turned, *bits) in zip(centres, best, tried, moves, strict=True):
        change = (old - centre).astype(np.float64)
        unused = epsilon**2 - np.sum(change**2)
        window = np.s_[top : top + side, left : left + side]
        either = np.zeros((9, 7), bool)
        either[window] = either[top2 : top2 + side, left2 : left2 + side] = True
        available = np.sum(change[either] ** 2, axis=0) + unused / 3
        shape = bump(side).T if turned else bump(side)
        change_of_window = change[window].copy()
        change[either] = 0
        for channel in range(3):
            kept = change_of_window[..., channel]
            update = shape * (2 * bits[channel] - 1) + kept / np.linalg.norm(kept)
            change[window][..., channel] = update / np.linalg.norm(update) * np.sqrt(available[channel])
        expected = np.clip(centre + epsilon * change / np.linalg.norm(change), 0, 1)
        np.testing.assert_allclose(new, expected, atol=1e-5)


def test_the_bump_is_half_up_half_down_and_of_unit_length():
    for side in (1, 2, 3, 6, 13):
        assert bump(side).shape == (side, side)
        assert np.linalg.norm(bump(side)) == pytest.approx(1)
        assert (bump(side)[: side // 2] > 0).all()
        assert (bump(side)[side // 2 :] < 0).all()
    # The lower half of 3 x 3 has two rows, centred on its second row and column: tails 1 + 1/4 and 1/4.
    row = bump(3)[1] / bump(3)[2, 1]
    np.testing.assert_allclose(row, 0.25 / 1.25, rtol=1e-5)


def test_starts_are_stripes_and_tiles():
    images = np.full((3, 12, 11, 3), 0.5, np.float32)
    striped = square.stripes(images, generators(images, 0, ""), 0.1) - images
    np.testing.assert_allclose(np.abs(striped), 0.1, atol=1e-6)
    np.testing.assert_array_equal(striped, np.broadcast_to(striped[:, :1], striped.shape))
    assert 0.3 < np.mean(striped > 0) < 0.7
    for shape in ((12, 11), (32, 32), (7, 4)):
        images = np.full((3, *shape, 3), 0.5, np.float32)
        tiled = square.tiles(images, generators(images, 0, ""), 0.4) - images
        np.testing.assert_allclose(length(tiled, "l2"), 0.4, rtol=1e-5)


def test_the_schedule_is_the_published_one():
    sides = window_sides(10_000, 0.8, 32, 32, norm="linf", rescale_schedule=False)
    areas = {10: 0.8, 11: 0.4, 50: 0.4, 51: 0.2, 201: 0.1, 501: 0.05, 1001: 0.025, 2001: 0.0125, 8001: 0.8 / 512}
    assert {query: int(sides[query]) for query in areas} == {
        query: round((area * 1024) ** 0.5) for query, area in areas.items()
    }
    rescaled = window_sides(1000, 0.8, 32, 32, norm="linf", rescale_schedule=True)
    np.testing.assert_array_equal(rescaled, sides[::10])
    odd = window_sides(5000, 0.8, 32, 20, norm="l2", rescale_schedule=True)
    assert set(odd % 2) == {1}
    assert odd.min() == 3
    assert odd.max() == 19


def test_images_that_are_wrong_already_come_back_unchanged(victim, problem):
    wrong = (problem.labels + 1) % 4
    found = Square(queries=100)(victim, problem.images, wrong, epsilon=0.05)
    np.testing.assert_array_equal(found, problem.images)


def test_wrong_settings_are_named_and_small_budgets_warned_of(victim, problem):
    for settings in ({"queries": 0}, {"restarts": 0}, {"p_init": 1.2}):
        with pytest.raises(InputError, match="Received"):
            Square(**settings)
    with pytest.warns(UnreliableWarning, match="queries=1000"):
        Square(queries=1)(victim, problem.images[:2], problem.labels[:2], epsilon=0.05)


def test_agrees_with_art(victim, problem):
    from art.attacks import evasion
    from art.estimators.classification import TensorFlowV2Classifier

    classifier = TensorFlowV2Classifier(problem.model, nb_classes=4, input_shape=(12, 12, 3), clip_values=(0, 1))
    epsilon = 1.6 * EPSILONS["linf"]
    attack = evasion.SquareAttack(
        classifier,
        norm=np.inf,
        eps=epsilon,
        max_iter=100,
        p_init=0.8,
        batch_size=60,
        verbose=False,
    )
    theirs, ours = [], []
    for seed in range(3):
        np.random.seed(seed)  # noqa: NPY002 - ART draws from the global generator.
        theirs.append(victim.fooled(attack.generate(problem.images, problem.labels), problem.labels).mean())
        found = Square(queries=100, seed=seed)(victim, problem.images, problem.labels, epsilon=epsilon)
        ours.append(victim.fooled(found, problem.labels).mean())
    # ART draws one window for all images, so its shares vary much from seed to seed.
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.2)
