import numpy as np
import pytest

from robust_distillation.auditing.input_filters import audit_filters
from robust_distillation.defences.input_filters import build_filter
from robust_distillation.defences.settings import InputFilters
from robust_distillation.threats.evasion.attack import Budget
from robust_distillation.threats.evasion.ensemble import STANDS, build
from robust_distillation.threats.evasion.victim import Victim

EPSILONS = (0.05, 0.1)


class Same:
    """A filter that does nothing."""

    def __call__(self, images):
        return images

    def smooth(self, images):
        return images


@pytest.fixture(scope="module")
def found(problem):
    filters = {"same": Same(), **{name: build_filter(name, InputFilters()) for name in ("median", "bit_depth")}}
    return {
        one.name: one
        for one in audit_filters(
            problem.model,
            filters,
            problem.images,
            problem.labels,
            epsilons=EPSILONS,
            attacks=["fgsm", "pgd"],
            budget=Budget(steps=20),
        )
    }


def test_who_knows_of_a_filter_is_never_weaker(found):
    for one in found.values():
        for epsilon in EPSILONS:
            assert not (one.adaptive[epsilon] & ~one.unaware[epsilon]).any()
            assert not (one.unaware[epsilon] & ~one.clean).any()
        assert one.adaptive[EPSILONS[1]].mean() <= one.adaptive[EPSILONS[0]].mean()


def test_a_filter_that_does_nothing_gives_the_model_itself(found, problem):
    victim = Victim(problem.model)
    verdicts = build(["fgsm", "pgd"], Budget(steps=20))(victim, problem.images, problem.labels, epsilon=EPSILONS[1])
    stands = verdicts.broken_by == STANDS
    assert abs(found["same"].adaptive[EPSILONS[1]].mean() - stands.mean()) <= 2 / len(stands)
    np.testing.assert_array_equal(found["same"].clean, ~victim.fooled(problem.images, problem.labels))


def test_the_median_helps_against_who_does_not_know_of_it_alone(found):
    median, same = found["median"], found["same"]
    unaware, adaptive = median.unaware[EPSILONS[1]].mean(), median.adaptive[EPSILONS[1]].mean()
    assert unaware > same.unaware[EPSILONS[1]].mean()
    assert adaptive < unaware


def test_an_interrupted_audit_goes_on(problem):
    done = {}
    asked = {
        "epsilons": EPSILONS[:1],
        "attacks": ["fgsm"],
        "done": done,
    }
    filters = {"median": build_filter("median", InputFilters())}
    first = audit_filters(problem.model, filters, problem.images, problem.labels, **asked)
    assert list(done) == ["median at 0.05 0"]
    second = audit_filters(problem.model, filters, problem.images, problem.labels, **asked)
    np.testing.assert_array_equal(first[0].adaptive[0.05], second[0].adaptive[0.05])
