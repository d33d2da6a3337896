"""One image, attacked and answered by two models."""

import numpy as np
import pytest

from robust_distillation.defences.abstention import Abstention
from robust_distillation.defences.defence import Defence
from robust_distillation.records import Classes
from robust_distillation.showing.trial import try_out, verdict
from robust_distillation.threats.evasion.sign import PGD

CLASSES = Classes(ids=[0, 1, 2, 3], names=["a", "b", "c", "d"])
EPSILON = 0.15


@pytest.fixture(scope="module")
def pair(problem, other_problem):
    return tuple(Defence(student=one.model, classes=CLASSES) for one in (problem, other_problem))


def trial(pair, problem, **settings):
    return try_out(*pair, problem.images[0], int(problem.labels[0]), epsilon=EPSILON, **settings)


def test_without_an_attack_nothing_changes(pair, problem):
    found = trial(pair, problem)
    np.testing.assert_array_equal(found.attacked, found.image)
    np.testing.assert_array_equal(found.residual, np.full_like(found.image, 0.5))
    assert found.undefended.best[0] == found.undefended.best[1]


@pytest.mark.parametrize(("against", "who"), [("undefended", 0), ("defended", 1)])
def test_an_attack_is_made_on_the_model_that_is_named(pair, problem, against, who):
    found = trial(pair, problem, attack=PGD(steps=20), against=against)
    expected = PGD(steps=20)(pair[who].student, problem.images[:1], problem.labels[:1], epsilon=EPSILON)
    np.testing.assert_allclose(found.attacked, expected[0], atol=1e-6)
    assert np.abs(found.attacked - found.image).max() <= EPSILON + 1e-6
    assert (found.undefended, found.defended)[who].best.tolist()[1] != problem.labels[0]


def test_what_the_student_sees_is_reformed(problem, smoothing):
    plain = Defence(student=problem.model, classes=CLASSES)
    found = trial((plain, Defence(student=problem.model, classes=CLASSES, autoencoder=smoothing)), problem)
    np.testing.assert_allclose(found.reformed, smoothing(problem.images[:1])[0], atol=1e-6)


def test_a_verdict_says_who_refuses(problem):
    strict = Abstention(
        problem.model,
        measure="nearest_class",
        passes=2,
        seed=0,
        class_distributions=np.full((4, 4), 0.25).tolist(),
        threshold=0.0,
        temperature=1.0,
    )
    plain = Defence(student=problem.model, classes=CLASSES)
    refusing = Defence(student=problem.model, classes=CLASSES, abstention=strict)
    found = trial((plain, refusing), problem)
    assert verdict(found.defended, 0, CLASSES.names).endswith("refused by abstention")
    assert "refused" not in verdict(found.undefended, 0, CLASSES.names)
