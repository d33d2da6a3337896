"""What holds of every attack on every model."""

import numpy as np
import pytest
import tensorflow as tf

from robust_distillation.threats.evasion import ATTACKS
from robust_distillation.threats.evasion.attack import Attack, Budget
from robust_distillation.threats.evasion.carlini_wagner import CarliniWagner
from robust_distillation.threats.evasion.ensemble import attack_by_name
from robust_distillation.threats.evasion.sign import PGD
from robust_distillation.threats.evasion.transfer import Transfer
from robust_distillation.threats.evasion.victim import Victim

pytestmark = pytest.mark.filterwarnings("ignore::robust_distillation.errors.UnreliableWarning")
COUNT = 10
RADII = {"linf": (0.05, 0.25), "l2": (0.8, 4.0)}
TARGETED = {"fgsm", "i_fgsm", "mi_fgsm", "pgd", "apgd_ce", "apgd_dlr", "fab_t", "square", "hop_skip_jump", "transfer"}
UNTARGETED = {"apgd_t", "deepfool", "uniform_noise"}
WEAK = {"uniform_noise"}  # random points need not fool anything


@pytest.fixture(scope="module")
def victims(problem):
    """A network, the same distilled at a high temperature, and a linear model of two classes."""
    weights = np.random.default_rng(0).normal(size=(432, 2)).astype(np.float32)
    offset = -problem.images.reshape(-1, 432).mean(axis=0) @ weights
    return {
        "network": Victim(problem.model),
        "distilled": Victim(lambda images: 50 * problem.model(images), temperature=50),
        "two classes": Victim(lambda images: tf.reshape(images, (-1, 432)) @ weights + offset),
    }


def make(name: str, norm: str, problem) -> Attack:
    if name == "transfer":
        return Transfer(attack=PGD(norm=norm, steps=20), surrogate=problem.model)
    if name == "carlini_wagner":
        return CarliniWagner(steps=60, binary_search_steps=3, learning_rate=0.1, initial_c=1.0)
    return attack_by_name(name, Budget(norm=norm, steps=20, queries=300))


def test_each_attack_is_in_one_list():
    assert {*ATTACKS, "transfer"} == TARGETED | UNTARGETED


@pytest.mark.parametrize("model", ["network", "distilled", "two classes"])
@pytest.mark.parametrize(
    ("name", "norm"),
    [*((name, norm) for name in (*ATTACKS, "transfer") for norm in RADII), ("carlini_wagner", "l2")],
)
def test_stays_in_the_ball_and_the_range_and_success_grows_with_epsilon(problem, victims, model, name, norm):
    victim, images = victims[model], problem.images[:COUNT]
    labels = victim.predict_logits(images, problem.labels[:COUNT]).argmax(axis=1)
    attack = make(name, norm, problem)
    fallen = []
    for epsilon in RADII[norm]:
        found = attack(victim, images, labels, epsilon=epsilon)
        change = (found - images).reshape(COUNT, -1)
        assert found.dtype == np.float32
        assert found.shape == images.shape
        assert found.min() >= 0
        assert found.max() <= 1
        assert np.linalg.norm(change, np.inf if norm == "linf" else 2, axis=1).max() <= epsilon * (1 + 1e-5)
        fallen.append(victim.fooled(found, labels))
    assert fallen[0].sum() <= fallen[1].sum()
    if name not in WEAK and (name, model) != ("transfer", "two classes"):
        assert fallen[1].mean() >= 0.5


@pytest.mark.parametrize("name", sorted(TARGETED))
def test_reaches_targets(problem, victims, name):
    images, labels = problem.images[:COUNT], problem.labels[:COUNT]
    targets = (labels + 1) % 4
    found = make(name, "linf", problem)(victims["network"], images, labels, epsilon=0.5, targets=targets)
    reached = victims["network"].fooled(found, labels, targets)
    assert reached.mean() >= 0.5
