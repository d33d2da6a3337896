import numpy as np
import pytest

from robust_distillation.auditing.refusal import trade_off


def test_the_deployed_point_lies_on_the_curve():
    clean = np.array([-0.4, -0.3, -0.2, 0.1])
    attacked = np.array([-0.35, 0.2, 0.3, 0.4])
    found = trade_off(clean, attacked)
    assert (found.clean_refused, found.attacked_refused) == (0.25, 0.75)
    at = np.flatnonzero(found.false_positive <= 0.25)[-1]
    assert found.true_positive[at] == 0.75 == found.true_positive[at + 1], "level there"
    # Of 16 pairs, 13 rank the attacked image higher: the first attacked one beats one clean image, the others all four.
    assert found.auroc == pytest.approx(13 / 16)


def test_a_score_that_cannot_tell_is_chance():
    assert trade_off(np.zeros(5), np.zeros(7)).auroc == 0.5
