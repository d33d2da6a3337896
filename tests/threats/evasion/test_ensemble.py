from pathlib import Path

import numpy as np
import pytest

from robust_distillation.params import load_params
from robust_distillation.threats.evasion import ATTACKS
from robust_distillation.threats.evasion.attack import Budget
from robust_distillation.threats.evasion.ensemble import STANDS, WRONG, Ensemble, attack_by_name, build, rand, standard
from robust_distillation.threats.evasion.fab import FABT
from robust_distillation.threats.evasion.sign import FGSM, IFGSM, PGD
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


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_can_be_named(name):
    attack = attack_by_name(name, Budget(norm="l2", seed=5))
    assert (attack.norm, attack.seed) == ("l2", 5)


def test_transferred_images_are_tried_last_and_named(problem):
    made = FGSM()(problem.model, problem.images, problem.labels, epsilon=0.5)
    ensemble = Ensemble({"fgsm": FGSM()})
    alone = ensemble(problem.model, problem.images, problem.labels, epsilon=0.085)
    found = ensemble(problem.model, problem.images, problem.labels, epsilon=0.085, transferred={"transfer_x": made})
    fell = (alone.broken_by == STANDS) & Victim(problem.model).fooled(made, problem.labels)
    assert fell.any()
    np.testing.assert_array_equal(found.broken_by, np.where(fell, "transfer_x", alone.broken_by))
    np.testing.assert_array_equal(found.adversarial[fell], made[fell])


def test_no_images_have_no_verdicts(problem):
    found = Ensemble({"fgsm": FGSM()})(problem.model, problem.images[:0], problem.labels[:0], epsilon=0.1)
    assert found.adversarial.shape == (0, 12, 12, 3)
    assert found.broken_by.shape == (0,)


def test_default_settings_never_warn():
    params = load_params(Path(__file__).parents[3] / "params.yaml")
    settings, poison, pairs = params.robustness, params.poison, params.autoencoder
    budget = Budget(steps=settings.steps, restarts=settings.restarts, queries=settings.queries)
    attacks = [*build(settings.attacks, budget).attacks.values(), attack_by_name("square", budget)]
    attacks += [PGD(steps=settings.transfer_steps), FABT(steps=settings.distances.steps)]
    assert [attack.weakness(epsilon) for attack in attacks for epsilon in settings.epsilons] == [None] * 3 * len(
        attacks
    )
    for made in (poison, pairs):
        iterative = IFGSM(steps=made.iterations, step_size=made.alpha)
        assert [iterative.weakness(epsilon) for epsilon in made.epsilons] == [None, None]
