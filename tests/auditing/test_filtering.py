import numpy as np
import pytest

from robust_distillation.auditing.filtering import audit_filter

KINDS = np.array(["", "", "", "fgsm", "fgsm", "i_fgsm"])
EPSILONS = np.array([0, 0, 0, 0.01, 0.02, 0.01])


def test_a_perfect_filter():
    scores = np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    found = audit_filter(scores, scores < 0.5, KINDS, EPSILONS)
    assert (found["auroc"], found["precision"], found["recall"]) == (1, 1, 1)
    assert (found["clean_kept"], found["poison_kept"]) == (1, 0)
    assert set(found["auroc_per_kind"]) == {"fgsm 0.01", "fgsm 0.02", "i_fgsm 0.01"}


def test_counts_by_hand():
    scores = np.array([0.1, 0.6, 0.2, 0.7, 0.3, 0.4])
    found = audit_filter(scores, scores <= 0.5, KINDS, EPSILONS)
    assert found["precision"] == 1 / 2
    assert found["recall"] == pytest.approx(1 / 3)
    assert found["clean_kept"] == pytest.approx(2 / 3)
    assert found["auroc"] == pytest.approx(7 / 9)


def test_without_poison_there_is_no_auroc():
    found = audit_filter(np.array([0.1, 0.9]), np.array([True, False]), np.array(["", ""]), np.zeros(2))
    assert found["auroc"] is None
    assert found["poison_kept"] is None
    assert found["clean_kept"] == 0.5
