import sys

import numpy as np
import pytest

from robust_distillation.dataset.pixels import quantise
from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.carlini_wagner import CarliniWagner
from robust_distillation.threats.poisons.backdoors import triggered
from robust_distillation.threats.poisons.poison import Poison as Kind
from robust_distillation.threats.poisons.poison import cells, poison
from robust_distillation.threats.settings import Poison


def settings(**changes):
    values = {
        "kinds": ["fgsm", "i_fgsm"],
        "epsilons": [0.01, 8 / 255],
        "alpha": 1 / 255,
        "iterations": 10,
        "fraction": 0.5,
        "seed": 3,
    }
    return Poison(**values | changes)


@pytest.fixture(scope="module")
def features(problem):
    return np.rint(255 * problem.images).astype(np.uint8)


def test_cells_split_the_fraction_evenly_and_the_rest_is_untouched(problem, features):
    result = poison(features, problem.labels, problem.model, settings())
    counts = [
        int(((result.kinds == kind) & np.isclose(result.strengths, epsilon)).sum())
        for kind in ("fgsm", "i_fgsm")
        for epsilon in (0.01, 8 / 255)
    ]
    assert sum(counts) == 30
    assert max(counts) - min(counts) <= 1
    clean = result.kinds == ""
    np.testing.assert_array_equal(result.features[clean], features[clean])
    assert (result.features[~clean] != features[~clean]).any(axis=(1, 2, 3)).all()
    assert result.features.dtype == np.uint8


def test_grey_levels_never_exceed_epsilon(problem, features):
    result = poison(features, problem.labels, problem.model, settings())
    change = np.abs(result.features.astype(int) - features).max(axis=(1, 2, 3))
    assert (change <= 255 * result.strengths + 1e-9).all()
    assert change[np.isclose(result.strengths, 8 / 255)].max() == 8
    assert change[np.isclose(result.strengths, 0.01)].max() == 2


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (1.0, 60)])
def test_extreme_fractions(problem, features, fraction, expected):
    result = poison(features, problem.labels, problem.model, settings(fraction=fraction))
    assert (result.kinds != "").sum() == expected


def test_same_seed_same_bytes(problem, features):
    first, again = (poison(features, problem.labels, problem.model, settings()) for _ in range(2))
    np.testing.assert_array_equal(first.features, again.features)
    other = poison(features, problem.labels, problem.model, settings(seed=4))
    assert (other.kinds != first.kinds).any()


def test_quantise_rounds_toward_the_original():
    original = np.array([100, 100, 100, 0, 255], dtype=np.uint8)
    adversarial = (np.array([102.55, 97.45, 107.99999, 0.4, 254.6]) / 255).astype(np.float32)
    np.testing.assert_array_equal(quantise(original, adversarial), [102, 98, 108, 0, 255])


class Relabel(Kind):
    """A poison of one's own: another label, and the image as it is."""

    def __call__(self, images, labels, *, surrogate, strength, settings, seed):
        return images, (labels + 1) % 4


relabel = Relabel()
OWN = f"{__name__}:relabel"


def test_a_kind_of_ones_own_may_change_labels_and_keeps_its_whole_name(problem, features, monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    result = poison(features, problem.labels, problem.model, settings(kinds=[OWN, "fgsm"]))
    assert set(result.kinds) == {"", OWN, "fgsm"}
    changed = result.labels != problem.labels
    np.testing.assert_array_equal(changed, result.kinds == OWN)
    np.testing.assert_array_equal(result.features[changed], features[changed])


def poisoned_by(kind, problem, features, **changes):
    result = poison(features, problem.labels, problem.model, settings(kinds=[kind], **changes))
    return result, result.kinds == kind


def test_carlini_and_wagners_images_mislead_the_surrogate_and_are_nearly_as_near_as_with_a_large_budget(
    problem, features
):
    result, rows = poisoned_by("carlini_wagner", problem, features, confidence=0.5, fraction=0.2)
    np.testing.assert_array_equal(result.labels, problem.labels)
    fooled = problem.model.predict(result.features[rows] / 255.0, verbose=0).argmax(axis=1) != problem.labels[rows]
    assert fooled.mean() > 0.8
    start = problem.images[rows]
    patient = CarliniWagner(steps=400, learning_rate=0.05, binary_search_steps=7, initial_c=0.1, confidence=0.5)
    near = patient(problem.model, start, problem.labels[rows], epsilon=20.0)
    found, least = (
        np.linalg.norm((images - start).reshape(len(start), -1), axis=1)
        for images in (result.features[rows].astype(np.float32) / 255, near)
    )
    assert found.mean() < 1.2 * least.mean()


def test_flipped_labels_are_all_wrong_and_each_other_one_as_often(problem, features):
    labels = np.zeros(3000, int)
    result = poison(np.repeat(features[:1], 3000, axis=0), labels, problem.model, settings(kinds=["label_flip"]))
    rows = result.kinds == "label_flip"
    np.testing.assert_array_equal(result.labels != 0, rows)
    assert np.bincount(result.labels[rows], minlength=4)[1:].min() > 400
    np.testing.assert_array_equal(result.features, np.repeat(features[:1], 3000, axis=0))


def test_one_class_is_flipped_into_another_alone(problem, features):
    result, rows = poisoned_by("class_flip", problem, features, source=2, target=1, fraction=0.1)
    assert rows.sum() == 6
    assert set(problem.labels[rows]) == {2}
    assert set(result.labels[rows]) == {1}
    np.testing.assert_array_equal(result.labels[~rows], problem.labels[~rows])


@pytest.mark.parametrize("kind", ["badnets", "blended"])
@pytest.mark.parametrize("source", [None, 3])
def test_a_backdoor_leads_those_that_it_is_for_to_the_target(problem, features, kind, source):
    result, rows = poisoned_by(kind, problem, features, source=source, target=1, fraction=0.2)
    assert rows.sum() == 12
    assert set(problem.labels[rows]) == ({0, 2, 3} if source is None else {3})
    assert set(result.labels[rows]) == {1}
    np.testing.assert_array_equal(result.features[~rows], features[~rows])
    stamped, led = triggered(kind, features, problem.labels, settings(kinds=[kind], source=source, target=1))
    np.testing.assert_array_equal(led, np.flatnonzero(problem.labels != 1 if source is None else problem.labels == 3))
    both = np.intersect1d(led, np.flatnonzero(rows))
    np.testing.assert_array_equal(result.features[both], stamped[np.isin(led, both)])


def test_a_patch_lies_in_its_corner_and_leaves_the_rest(problem, features):
    result, rows = poisoned_by("badnets", problem, features, patch=3)
    changed = (result.features[rows] != features[rows]).any(axis=(0, 3))
    assert changed[-3:, -3:].all()
    assert changed.sum() == 9
    corner = result.features[rows][:, -3:, -3:, 0]
    np.testing.assert_array_equal(corner, np.broadcast_to([[255, 0, 255], [0, 255, 0], [255, 0, 255]], corner.shape))


def test_noise_is_blended_in_as_a_share(problem, features):
    result, rows = poisoned_by("blended", problem, features, blend=0.25)
    pattern = (result.features[rows] - 0.75 * features[rows]) / 0.25
    assert np.abs(pattern - pattern[0]).max() <= 4  # each is rounded
    assert pattern.std() == pytest.approx(255 / 12**0.5, rel=0.1)


def test_a_sinusoid_marks_most_of_the_target_class_and_no_label_changes(problem, features):
    result, rows = poisoned_by("sinusoid", problem, features, target=2, amplitude=10 / 255, fraction=1.0)
    np.testing.assert_array_equal(result.labels, problem.labels)
    assert set(problem.labels[rows]) == {2}
    assert rows.sum() == round(0.8 * (problem.labels == 2).sum())
    change = result.features[rows].astype(int) - features[rows]
    assert np.abs(change).max() == 10
    np.testing.assert_array_equal(change, np.broadcast_to(change[:1, :1, :, :1], change.shape))
    assert triggered("sinusoid", features, problem.labels, settings(target=2))[0].shape[0] == 45


def test_kinds_share_the_fraction_and_no_row_has_two(problem, features):
    kinds = ["fgsm", "label_flip", "badnets", "sinusoid"]
    result = poison(features, problem.labels, problem.model, settings(kinds=kinds, epsilons=[0.1], fraction=0.4))
    assert {kind: int((result.kinds == kind).sum()) for kind in kinds} == dict.fromkeys(kinds, 6)
    assert set(cells(result.kinds, result.strengths)) == {
        "fgsm 0.1",
        "label_flip",
        "badnets 4",
        "sinusoid 20/255",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fraction": 0.01}, "poison fgsm 8/255: fraction 0.01 leaves it no image"),
        ({"kinds": ["badnets"], "patch": 13}, "poison badnets: a patch of 13 pixels is larger than images of (12, 12)"),
        ({"kinds": ["badnets"], "target": 9}, "target 9 is the label of no training image; choose another"),
        ({"kinds": ["badnets"], "source": 7}, "poison badnets 4: no image is of the classes that it is for"),
        ({"kinds": ["class_flip"]}, "poison class_flip needs a source"),
    ],
)
def test_what_gets_no_image_is_refused(problem, features, changes, message):
    with pytest.raises(InputError) as refused:
        poison(features, problem.labels, problem.model, settings(**changes))
    assert message in str(refused.value)


def test_images_that_other_poison_took_are_told_of(problem, features):
    labels = np.ones(60, int)
    labels[np.random.default_rng(3).permutation(60)[0]] = 0  # the first that is drawn
    with pytest.raises(InputError, match="poison sinusoid 20/255: other poison took all images of the classes"):
        poison(features, labels, problem.model, settings(kinds=["label_flip", "sinusoid"]))


def test_a_poison_without_a_trigger_has_no_test_images(problem, features):
    with pytest.raises(InputError, match="poison fgsm leaves no trigger"):
        triggered("fgsm", features, problem.labels, settings())
