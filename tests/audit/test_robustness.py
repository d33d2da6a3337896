import numpy as np
import pytest

from robust_distillation.audit.robustness import (
    Outcome,
    Target,
    attack_success,
    attack_target,
    judge,
    robust_accuracy,
)
from robust_distillation.params import Robustness

SETTINGS = Robustness(
    attacks=["fgsm", "i_fgsm", "pgd"], epsilons=[0.01, 8 / 255, 0.1], iterations=5, restarts=2, images="all", seed=3
)


def outcome(correct, passed):
    return Outcome(np.array(correct, dtype=bool), np.array(passed, dtype=bool))


def test_worst_case_is_per_image():
    clean = outcome([1, 1, 1, 0], [1, 1, 1, 1])
    outcomes = {
        "fgsm": {"8/255": outcome([0, 1, 1, 1], [1, 1, 0, 1])},
        "pgd": {"8/255": outcome([1, 0, 1, 1], [1, 1, 1, 1])},
    }
    alone = robust_accuracy(clean, outcomes, defended=False)
    assert alone["clean"] == 0.75
    assert alone["fgsm"]["8/255"] == alone["pgd"]["8/255"] == 0.5
    assert alone["worst_case"]["8/255"] == 0.25
    assert robust_accuracy(clean, outcomes, defended=True)["worst_case"]["8/255"] == 0
    assert attack_success(outcomes)["any_attack"]["8/255"] == 0.5


def test_an_ensemble_on_a_real_model(problem):
    target = Target(problem.model)
    clean = judge(target, problem.images, problem.labels)
    found = robust_accuracy(
        clean, attack_target(target, problem.images, problem.labels, SETTINGS, "model"), defended=False
    )
    worst = list(found["worst_case"].values())
    assert list(found["worst_case"]) == ["0.01", "8/255", "0.1"]
    assert found["clean"] >= worst[0] >= worst[1] >= worst[2]
    for attack in SETTINGS.attacks:
        for epsilon, share in found[attack].items():
            assert found["worst_case"][epsilon] <= share


@pytest.mark.parametrize(("verdict", "expected"), [(True, 1.0), (False, 0.0)])
def test_abstaining_from_everything_leaves_nothing_and_lets_nothing_through(problem, verdict, expected):
    target = Target(problem.model, passes=lambda images: np.full(len(images), verdict))
    clean = judge(target, problem.images, problem.labels)
    assert robust_accuracy(clean, {"none": {"0": clean}}, defended=True)["clean"] == expected * clean.correct.mean()
    assert attack_success({"none": {"0": clean}})["any_attack"]["0"] == expected * (~clean.correct).mean()
