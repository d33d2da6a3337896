import numpy as np

from robust_distillation.auditing.outcome import outcome
from robust_distillation.defences.defence import Answers

LABELS = np.zeros(4, np.int64)


def answers(correct, refused):
    """Answers on images of class 0, right or wrong, refused or not."""
    logits = np.where(np.array(correct, bool)[:, None], [1, 0], [0, 1]).astype(np.float32)
    return Answers(logits, {"detector": np.array(refused, float)}, {"detector": 0.5})


def test_an_attack_that_is_refused_is_no_success_and_leaves_no_use():
    clean = answers([1, 1, 1, 0], [0, 0, 0, 0])
    as_student = answers([1, 1, 0, 0], [0, 1, 0, 0])
    denied = answers([1, 0, 0, 0], [0, 1, 1, 1])
    found = outcome(LABELS, clean, as_student, denied)
    np.testing.assert_array_equal(found.as_student, [True, False, False, False])
    np.testing.assert_array_equal(found.adaptively, [True, False, False, False])
    np.testing.assert_array_equal(found.harmed, [False, False, True, True])
    np.testing.assert_array_equal(found.stands, [True, False, False, False])
