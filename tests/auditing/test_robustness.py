import numpy as np
import pytest

from robust_distillation.auditing.robustness import (
    accuracy_after,
    attack_in_shards,
    contrast_groups,
    contrasts,
    interval,
    per_group,
)
from robust_distillation.threats.evasion.attack import Budget
from robust_distillation.threats.evasion.ensemble import STANDS, WRONG, Ensemble, Verdicts, build
from robust_distillation.threats.evasion.sign import FGSM, IFGSM
from robust_distillation.threats.evasion.victim import Victim, as_victim


def verdicts(*broken_by):
    return Verdicts(np.zeros((len(broken_by), 1, 1, 1), np.float32), np.array(broken_by))


def test_accuracy_falls_from_attack_to_attack():
    found = verdicts(WRONG, "fgsm", "fgsm", "pgd", STANDS)
    assert accuracy_after(found, ["fgsm", "pgd", "square"]) == pytest.approx({"fgsm": 0.4, "pgd": 0.2, "square": 0.2})


def test_interval_is_wilsons():
    # Wilson (1927) for 8 of 10, as tables give it.
    assert interval(np.arange(10) < 8) == pytest.approx({"low": 0.4902, "high": 0.9433}, abs=1e-4)


def test_shares_per_group():
    standing = np.array([True, False, True, True])
    assert per_group(standing, np.array([4, 4, 17, 17])) == {"4": 0.5, "17": 1.0}


@pytest.mark.parametrize("channels", [1, 3])
def test_contrast_is_the_span_of_the_luminance_less_its_extremes(channels):
    ramp = np.linspace(0, 100, 101, dtype=np.float32) / 255
    images = np.stack([ramp, ramp / 10, np.full_like(ramp, 0.5)]).reshape(3, 101, 1, 1).repeat(channels, axis=3)
    np.testing.assert_allclose(contrasts(images), [90, 9, 0], atol=1e-3)
    assert contrast_groups(images).tolist() == [64, 0, 0]


def test_colours_count_for_contrast_as_they_do_to_the_eye():
    image = np.zeros((1, 10, 10, 3), np.float32)
    image[:, 5:, :, 1] = 1
    np.testing.assert_allclose(contrasts(image), 0.587 * 255, rtol=1e-6)


def test_an_ensemble_names_what_broke_each_image_and_attacks_only_the_standing(problem):
    calls = {}

    class Counted(IFGSM):
        def _attack(self, victim, images, *rest):
            calls[self.steps] = calls.get(self.steps, 0) + len(images)
            return super()._attack(victim, images, *rest)

    attacks = {"fgsm": FGSM(), "i_fgsm": Counted(steps=2), "longer": Counted(steps=3)}
    found = Ensemble(attacks)(problem.model, problem.images, problem.labels, epsilon=0.11)
    fallen = {name: int((found.broken_by == name).sum()) for name in (WRONG, *attacks, STANDS)}
    assert sum(fallen.values()) == len(problem.images)
    assert fallen["fgsm"] > 0
    assert calls[2] == len(problem.images) - fallen[WRONG] - fallen["fgsm"]
    assert calls[3] == calls[2] - fallen["i_fgsm"]
    fooled = as_victim(problem.model).fooled(found.adversarial, problem.labels)
    np.testing.assert_array_equal(fooled, found.broken_by != STANDS)
    assert np.abs(found.adversarial - problem.images).max() <= 0.11 + 1e-6


def test_the_worst_case_is_not_above_any_single_attack(problem):
    victim = as_victim(problem.model)
    whole = build(("fgsm", "i_fgsm", "pgd", "square"), Budget(steps=20, queries=1000))
    stands = whole(victim, problem.images, problem.labels, epsilon=0.09).broken_by == STANDS
    for attack in whole.attacks.values():
        alone = attack(victim, problem.images, problem.labels, epsilon=0.09)
        assert stands.sum() <= (~victim.fooled(alone, problem.labels)).sum()


def test_an_interrupted_evaluation_goes_on_and_ends_in_the_same_verdicts(problem, monkeypatch):
    monkeypatch.setattr("robust_distillation.auditing.robustness.SHARD", 20)
    attacked = []

    class Watched(Victim):
        def fooled(self, images, labels, targets=None):
            attacked.append(len(images))
            if len(attacked) == stop_at:
                raise KeyboardInterrupt
            return super().fooled(images, labels, targets)

    def run(done):
        ensemble = Ensemble({"fgsm": FGSM()})
        victim = Watched(problem.model)
        return attack_in_shards(victim, problem.images, problem.labels, ensemble, epsilon=0.13, name="x", done=done)

    stop_at, done = 5, {}
    with pytest.raises(KeyboardInterrupt):
        run(done)
    assert len(done) == 2
    stop_at = 0
    attacked.clear()
    resumed = run(done)
    assert len(attacked) == 2
    whole = run({})
    np.testing.assert_array_equal(resumed.broken_by, whole.broken_by)
    np.testing.assert_array_equal(resumed.adversarial, whole.adversarial)


def test_the_batch_size_hardly_matters(problem):
    ensemble = build(["pgd", "apgd_ce", "square"], Budget(steps=20, queries=200, seed=3))
    together, apart = (
        attack_in_shards(
            Victim(problem.model, batch_size=size),
            problem.images,
            problem.labels,
            ensemble,
            epsilon=0.085,
            name="x",
            done={},
        )
        for size in (250, 7)
    )
    stands = [verdicts.broken_by == STANDS for verdicts in (together, apart)]
    assert 0.1 < stands[0].mean() < 0.9
    assert (stands[0] != stands[1]).mean() <= 1 / 200
