from typing import get_args

import numpy as np
import pytest

from robust_distillation.params import EnsembleAttack
from robust_distillation.threats.evasion.ensemble import ATTACKS, STANDS, WRONG, Budget, Ensemble, build, rand, standard
from robust_distillation.threats.evasion.sign import FGSM
from robust_distillation.threats.evasion.victim import Victim


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_standard_has_the_published_members_and_budgets(norm):
    members = standard(norm=norm, seed=3).attacks
    assert list(members) == ["apgd_ce", "apgd_t", "fab_t", "square"]
    assert [members[name].steps for name in ("apgd_ce", "apgd_t", "fab_t")] == [100, 100, 100]
    assert members["apgd_t"].n_targets == members["fab_t"].n_targets == 9
    assert members["square"].queries == 5000
    assert {(member.norm, member.seed) for member in members.values()} == {(norm, 3)}
    assert list(rand().attacks) == ["apgd_ce", "apgd_dlr"]


def test_no_budget_of_the_published_ensembles_is_called_weak():
    for ensemble in (standard(), rand()):
        assert [attack.weakness(8 / 255) for attack in ensemble.attacks.values()] == [None] * len(ensemble.attacks)


def test_standard_is_at_least_as_strong_as_pgd_and_says_what_broke_what(problem):
    budget = Budget(steps=60, queries=1000)
    for epsilon in (0.085, 0.095):
        pgd = build(["pgd"], budget)(problem.model, problem.images, problem.labels, epsilon=epsilon)
        found = build(["apgd_ce", "apgd_t", "fab_t", "square"], budget)(
            problem.model, problem.images, problem.labels, epsilon=epsilon
        )
        assert (found.broken_by == STANDS).sum() <= (pgd.broken_by == STANDS).sum()
        assert set(found.broken_by) <= {STANDS, WRONG, "apgd_ce", "apgd_t", "fab_t", "square"}
        assert np.abs(found.adversarial - problem.images).max() <= epsilon + 1e-6
        fooled = Victim(problem.model).fooled(found.adversarial, problem.labels)
        np.testing.assert_array_equal(fooled, found.broken_by != STANDS)


class Never(FGSM):
    def _attack(self, *_):
        raise AssertionError("nothing is left to attack")


def test_what_is_wrong_already_is_not_attacked(problem):
    wrong = (problem.labels + 1) % 4
    found = Ensemble({"never": Never()})(problem.model, problem.images, wrong, epsilon=0.1)
    assert (found.broken_by == WRONG).all()
    np.testing.assert_array_equal(found.adversarial, problem.images)


def test_candidates_are_tried_first_and_named(problem):
    known = FGSM()(problem.model, problem.images, problem.labels, epsilon=0.5)
    fooled = Victim(problem.model).fooled(known, problem.labels)
    found = Ensemble({"fgsm": FGSM()})(
        problem.model, problem.images, problem.labels, epsilon=0.01, candidates={"known": known}
    )
    assert fooled.any()
    np.testing.assert_array_equal(found.broken_by == "known", fooled)
    np.testing.assert_array_equal(found.adversarial[fooled], known[fooled])


def test_params_name_every_attack():
    assert set(get_args(EnsembleAttack)) == set(ATTACKS)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_can_be_named(name):
    attack = ATTACKS[name](Budget(norm="l2", seed=5))
    assert (attack.norm, attack.seed) == ("l2", 5)
