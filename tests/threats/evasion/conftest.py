import pytest

from robust_distillation.threats.evasion.victim import Victim


@pytest.fixture(scope="module")
def victim(problem):
    return Victim(problem.model)
