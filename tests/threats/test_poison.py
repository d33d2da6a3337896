import sys

import numpy as np
import pytest

from robust_distillation.dataset.pixels import quantise
from robust_distillation.threats.poisons.poison import poison
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
        int(((result.kinds == kind) & np.isclose(result.epsilons, epsilon)).sum())
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
    assert (change <= 255 * result.epsilons + 1e-9).all()
    assert change[np.isclose(result.epsilons, 8 / 255)].max() == 8
    assert change[np.isclose(result.epsilons, 0.01)].max() == 2


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


def relabel(images, labels, *, surrogate, epsilon, settings, seed):
    """A poison of one's own: another label, and the image as it is."""
    return images, (labels + 1) % 4


OWN = f"{__name__}:relabel"


def test_a_kind_of_ones_own_may_change_labels_and_keeps_its_whole_name(problem, features, monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    result = poison(features, problem.labels, problem.model, settings(kinds=[OWN, "fgsm"]))
    assert set(result.kinds) == {"", OWN, "fgsm"}
    changed = result.labels != problem.labels
    np.testing.assert_array_equal(changed, result.kinds == OWN)
    np.testing.assert_array_equal(result.features[changed], features[changed])
