import numpy as np
import pytest
import tensorflow as tf

from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.carlini_wagner import CarliniWagner
from robust_distillation.threats.evasion.norms import length
from robust_distillation.threats.evasion.victim import UnreliableWarning, Victim

# A coarser search than the default: fewer, longer steps, and fewer values of c.
QUICK = {"steps": 80, "binary_search_steps": 4, "learning_rate": 0.1, "initial_c": 0.1}


def distances(images, changed):
    return length(changed - images, "l2").numpy()


@pytest.fixture(scope="module")
def some(problem):
    return problem.images[:12], problem.labels[:12]


@pytest.fixture(scope="module")
def minimal(victim, some):
    return CarliniWagner(**QUICK).minimal(victim, *some)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_finds_the_distance_of_a_linear_model(n_classes):
    weights = np.random.default_rng(2).normal(size=(12, n_classes)).astype(np.float32)
    images = np.random.default_rng(3).uniform(0.3, 0.7, (20, 2, 2, 3)).astype(np.float32)

    def model(images):
        return tf.reshape(images - 0.5, (-1, 12)) @ weights

    logits = model(images).numpy()
    labels = logits.argmax(axis=1)
    expected = []
    for row, label in zip(logits, labels, strict=True):
        rivals = [other for other in range(n_classes) if other != label]
        duals = np.linalg.norm(weights[:, rivals] - weights[:, [label]], axis=0)
        expected.append(np.min((row[label] - row[rivals]) / duals))
    found = CarliniWagner().minimal(model, images, labels)
    assert Victim(model).fooled(found, labels).all()
    ratio = distances(images, found) / np.array(expected)
    assert ratio.min() > 0.999
    assert np.median(ratio) < 1.02  # images next to several boundaries are left farther away, with foolbox as well


def test_agrees_with_foolbox(problem, victim, some, minimal):
    import foolbox

    images, labels = some
    attack = foolbox.attacks.L2CarliniWagnerAttack(
        steps=QUICK["steps"],
        binary_search_steps=QUICK["binary_search_steps"],
        stepsize=QUICK["learning_rate"],
        initial_const=QUICK["initial_c"],
    )
    model = foolbox.TensorFlowModel(problem.model, bounds=(0, 1))
    criterion = foolbox.criteria.Misclassification(tf.constant(labels))
    theirs = attack(model, tf.constant(images), criterion, epsilons=None)[0].numpy()
    right = ~victim.fooled(images, labels)
    ours, foolbox_mean = (distances(images, found)[right].mean() for found in (minimal, theirs))
    assert ours == pytest.approx(foolbox_mean, rel=0.03)


def test_all_fall_inside_the_range(victim, some, minimal):
    assert victim.fooled(minimal, some[1]).all()
    assert minimal.min() >= 0
    assert minimal.max() <= 1


@pytest.mark.filterwarnings("ignore::robust_distillation.errors.UnreliableWarning")
def test_stays_in_the_ball_and_falls_as_its_minimal_distance_says(victim, some, minimal):
    images, labels = some
    known = distances(images, minimal)
    shares = []
    for share in (0.2, 0.5, 0.8):
        epsilon = float(np.quantile(known, share))
        found = CarliniWagner(**QUICK)(victim, images, labels, epsilon=epsilon)
        assert distances(images, found).max() <= epsilon + 1e-6
        fell = victim.fooled(found, labels)
        np.testing.assert_array_equal(fell, known <= epsilon)  # stopping early changes no verdict
        shares.append(fell.mean())
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_targets_are_reached(victim, some, minimal):
    images, labels = some
    targets = (labels + 1) % 4
    found = CarliniWagner(**QUICK).minimal(victim, images, labels, targets=targets)
    assert victim.fooled(found, labels, targets).all()
    assert distances(images, found).mean() > distances(images, minimal).mean()


def test_confidence_is_kept(victim, some, minimal):
    images, labels = some
    right = ~victim.fooled(images, labels)
    found = CarliniWagner(**QUICK, confidence=2.0).minimal(victim, images, labels)[right]
    logits = victim.predict_logits(found, labels[right])
    mine = np.take_along_axis(logits, labels[right, None], axis=1)[:, 0]
    np.put_along_axis(logits, labels[right, None], -np.inf, axis=1)
    assert (logits.max(axis=1) - mine).min() > 1.99
    assert distances(images[right], found).mean() > distances(images, minimal)[right].mean()


def test_aborting_early_costs_little(victim, some, minimal):
    patient = CarliniWagner(**QUICK, abort_early=False).minimal(victim, *some)
    assert distances(some[0], minimal).mean() <= 1.05 * distances(some[0], patient).mean()


def test_does_not_depend_on_order_or_company(problem, some, minimal):
    images, labels = some
    order = np.random.default_rng(0).permutation(len(images))
    apart = CarliniWagner(**QUICK).minimal(Victim(problem.model, batch_size=7), images[order], labels[order])
    np.testing.assert_allclose(distances(images[order], apart), distances(images, minimal)[order], rtol=0.02)


def test_pixels_of_0_and_1_are_no_obstacle(victim, some):
    images, labels = some[0].copy(), some[1]
    images[:, :, 0] = 0
    images[:, 0] = 1
    right = ~victim.fooled(images, labels)
    found = CarliniWagner(**QUICK).minimal(victim, images[right], labels[right])
    assert right.any()
    assert np.isfinite(found).all()
    assert victim.fooled(found, labels[right]).all()


def test_leaves_alone_what_is_wrong_already(victim, some):
    wrong = (victim.predict_logits(*some).argmax(axis=1) + 1) % 4
    np.testing.assert_array_equal(CarliniWagner(**QUICK).minimal(victim, some[0], wrong), some[0])


def test_long_searches_end_where_they_succeeded_last(victim, some):
    attack = CarliniWagner(**{**QUICK, "binary_search_steps": 10})
    found = attack.minimal(victim, some[0][:4], some[1][:4])
    assert victim.fooled(found, some[1][:4]).all()


@pytest.mark.parametrize(
    "settings",
    [{"norm": "linf"}, {"steps": 0}, {"binary_search_steps": 0}, {"confidence": -1.0}, {"initial_c": 0.0}],
)
def test_settings_are_checked(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        CarliniWagner(**settings)


@pytest.mark.parametrize(
    ("settings", "remedy"), [({"steps": 10}, "steps=726"), ({"binary_search_steps": 2}, "binary_search_steps=4")]
)
def test_a_small_budget_is_called_unreliable(victim, some, settings, remedy):
    assert remedy in CarliniWagner(**settings).weakness(0.5)
    assert CarliniWagner().weakness(0.5) is None
    with pytest.warns(UnreliableWarning, match=remedy):
        CarliniWagner(**settings)(victim, *some, epsilon=10.0)
