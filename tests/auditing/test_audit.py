import json
from dataclasses import replace
from io import StringIO

import keras
import numpy as np
import pytest
from keras import layers
from rich.console import Console

from robust_distillation.auditing.audit import NearestSearch, audit
from robust_distillation.defences.abstention import Abstention
from robust_distillation.defences.defence import Defence
from robust_distillation.defences.detectors.mse import ReconstructionError
from robust_distillation.errors import InputError
from robust_distillation.records import Classes
from robust_distillation.threats.evasion.attack import Budget
from robust_distillation.threats.evasion.ensemble import STANDS, Ensemble, build
from robust_distillation.threats.evasion.sign import FGSM

EPSILONS = [0.1, 0.05]
BUDGET = Budget(steps=20, queries=1000)


@pytest.fixture(scope="module")
def defence(problem):
    """The problem's model behind a blur, with a detector and an abstention that refuse some of what is attacked."""
    image = keras.Input(problem.images.shape[1:])
    blur = keras.Model(image, layers.AveragePooling2D(2, strides=1, padding="same")(image))
    settings = {"measure": "passes", "passes": 4, "seed": 3, "class_distributions": np.eye(4).tolist()}
    abstention = Abstention(problem.model, **settings)
    detector = ReconstructionError(blur, 0.0)
    seen = blur.predict(problem.images, verbose=0)
    return Defence(
        student=problem.model,
        classes=Classes(ids=[0, 1, 2, 3], names=list("abcd")),
        autoencoder=blur,
        detector=replace(detector, threshold=float(np.quantile(detector.score(problem.images), 0.9))),
        abstention=replace(abstention, threshold=float(np.quantile(abstention.uncertainty(seen), 0.9))),
    )


@pytest.fixture(scope="module")
def report(problem, defence):
    return audit(
        defence,
        problem.images,
        problem.labels,
        epsilons=EPSILONS,
        attacks=["fgsm", "pgd"],
        budget=BUDGET,
        beside={"bare": problem.model, "unblurred": replace(defence, autoencoder=None, detector=None)},
        sources={"bare": problem.model},
        nearest=NearestSearch(images=20, models=["student"]),
    )


def test_each_model_stands_as_the_ensemble_alone_says(problem, report):
    given = {"epsilons": EPSILONS, "attacks": ["fgsm", "pgd"], "budget": BUDGET}
    alone = audit(problem.model, problem.images, problem.labels, **given)
    ensemble = build(["fgsm", "pgd"], BUDGET)
    for one in alone.main.attacked:
        verdicts = ensemble(problem.model, problem.images, problem.labels, epsilon=one.epsilon)
        np.testing.assert_array_equal(one.verdicts.broken_by, verdicts.broken_by)
        assert one.worst_case.value == (verdicts.broken_by == STANDS).mean()
    assert alone.defence is None
    assert [model.name for model in report.models] == ["bare", "student"]
    for one, beside in zip(alone.main.attacked, report.models[0].attacked, strict=True):
        # An image that was made on this very model is tried on top.
        assert beside.worst_case.value <= one.worst_case.value


def test_a_defence_beside_is_attacked_as_it_is_on_its_own(problem, defence, report):
    given = {"epsilons": EPSILONS, "attacks": ["fgsm", "pgd"], "budget": BUDGET, "sources": {"bare": problem.model}}
    alone = audit(replace(defence, autoencoder=None, detector=None), problem.images, problem.labels, **given)
    beside = report.compared["unblurred"]
    assert beside.clean == alone.defence.clean
    for one, other in zip(beside.attacked, alone.defence.attacked, strict=True):
        assert one == other
    rows = report.to_dict()
    assert list(rows)[2:6] == ["bare", "unblurred", "student", "defence"]
    assert rows["unblurred"]["worst_case"] == alone.to_dict()["defence"]["worst_case"]
    assert rows["unblurred"]["attack_success"] == alone.to_dict()["attack_success"]
    assert not any("unblurred" in key for key in rows["flags"])


def test_balls_are_reported_from_the_smallest_and_accuracy_never_rises(report):
    for victim in (*report.models, *report.defence.adaptive):
        assert [one.epsilon for one in victim.attacked] == sorted(EPSILONS)
        worst = [victim.clean, *(one.worst_case.value for one in victim.attacked)]
        assert worst == sorted(worst, reverse=True)
        for one in victim.attacked:
            assert list(one.after.values())[-1] == pytest.approx(one.worst_case.value)


def test_the_whole_defence_is_not_above_what_each_attacker_leaves(report):
    for one in report.defence.attacked:
        assert one.worst_case.value <= min(one.as_student, one.adaptively)
        assert one.worst_case.low <= one.worst_case.value <= one.worst_case.high
        assert one.worst_case.value + one.success.value <= 1
    assert [victim.name for victim in report.defence.adaptive] == ["denied", "deceived"]


def test_flags_look_at_the_model_and_at_the_whole_defence(report):
    names = [one.key for one in report.flags]
    assert len(names) == len(set(names))
    alone = {name for name in names if not name.startswith("defence.")}
    assert {f"defence.{name}" for name in alone} == set(names) - alone
    assert "transfer_beats_white_box" in alone


def test_the_figures_are_json_and_a_table_and_pictures(report):
    rows = report.to_dict()
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert list(rows["student"]["worst_case"]) == ["0.05", "0.1"]
    assert rows["attacks"] == "fgsm, pgd, transfer_bare"
    console = Console(file=StringIO(), width=100)
    console.print(report.table())
    printed = console.file.getvalue()
    assert all(name in printed for name in ("bare", "student", "defence", "harmed by an attack", "0.05"))
    names = ("", "_classes", "_contrast", "_samples", "_distances", "_refusal")
    assert set(report.figures()) == {f"robustness{name}" for name in names}


def test_an_audit_without_extras_has_what_it_measured(problem):
    found = audit(problem.model, problem.images, problem.labels, epsilons=[0.1], attacks=["fgsm"], budget=BUDGET)
    rows = found.to_dict()
    assert "defence" not in rows
    assert rows["nearest"] == {}
    assert set(found.figures()) == {f"robustness{name}" for name in ("", "_classes", "_contrast", "_samples")}
    assert "transfer_beats_white_box" not in rows["flags"]


def test_a_defence_that_refuses_nothing_is_its_student(problem, defence):
    bare = replace(defence, detector=None, abstention=None)
    found = audit(bare, problem.images, problem.labels, epsilons=[0.1], attacks=["pgd"], budget=BUDGET)
    assert found.defence.adaptive == ()
    assert found.defence.attacked[0].worst_case.value == found.main.attacked[0].worst_case.value
    assert found.defence.clean == found.main.clean


def test_an_outlier_class_is_part_of_what_is_attacked(problem, defence):
    """The problem's model with a network whose outlier class is the likelier, the less sure the model is."""
    image = keras.Input(problem.images.shape[1:])
    logits = problem.model(image)
    network = keras.Model(image, layers.Concatenate()([logits, layers.Rescaling(0.0, offset=8.0)(logits[:, :1])]))
    abstention = replace(defence.abstention, student=network, measure="outlier", threshold=0.5)
    guarded = replace(defence, autoencoder=None, detector=None, abstention=abstention)
    few = problem.images[:24], problem.labels[:24]
    found = audit(guarded, *few, epsilons=[0.06, 0.1], attacks=["pgd"], budget=BUDGET)
    denied, deceived = found.defence.adaptive
    near, far = found.defence.attacked
    assert near.adaptively <= denied.attacked[0].worst_case.value < near.as_student
    assert far.success.value >= 1 - deceived.attacked[1].worst_case.value > 0
    assert found.defence.parts == ("abstention",)


def test_what_nothing_fools_has_empty_trade_offs_and_a_figure_all_the_same(problem, defence):
    found = audit(defence, problem.images, problem.labels, epsilons=[1e-4], attacks=["fgsm"], budget=BUDGET)
    assert found.to_dict()["refusal"] == {"detector": {}, "abstention": {}}
    assert "robustness_refusal" in found.figures()


def test_an_interrupted_audit_goes_on(problem):
    done = {}
    given = {"epsilons": [0.1], "attacks": ["fgsm"], "budget": BUDGET, "done": done}
    first = audit(problem.model, problem.images, problem.labels, **given)
    assert list(done) == ["model at 0.1 0"]
    again = audit(problem.model, problem.images, problem.labels, **given)
    assert again.main.attacked[0].verdicts is not None
    assert again.to_dict() == first.to_dict()


class Cheat(FGSM):
    def _attack(self, victim, images, labels, targets, epsilon):
        return np.clip(super()._attack(victim, images, labels, targets, 3 * epsilon), 0, 1)


class Overflow(FGSM):
    def _attack(self, victim, images, labels, targets, epsilon):
        return images + np.float32(epsilon) * np.sign(images - 0.5)


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (Cheat(), r"attack mine on model: \d+ images left the linf ball of 51/255; mend the attack"),
        (Overflow(), r"attack mine on model: \d+ images left \[0, 1\]"),
    ],
)
def test_an_attack_that_cheats_is_caught(problem, attack, said):
    bright = np.clip(problem.images * 1.5, 0, 1)
    with pytest.raises(InputError, match=said):
        audit(problem.model, bright, problem.labels, epsilons=[0.2], attacks=Ensemble({"mine": attack}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"attacks": "strongest"},
            "attacks must be standard, rand, names in a list, or an Ensemble",
        ),
        ({"attacks": Ensemble({"a": FGSM(), "b": FGSM(norm="l2")})}, "attacks must share one norm, linf or l2"),
        ({"epsilons": []}, "an audit needs an image and an epsilon. Received: 60 and 0"),
        ({"beside": {"model": None}}, "beside: model is what the audit calls its target"),
    ],
)
def test_what_makes_no_sense_is_refused(problem, changes, said):
    given = {"epsilons": [0.1], "attacks": ["fgsm"]} | changes
    with pytest.raises(InputError, match=said):
        audit(problem.model, problem.images, problem.labels, **given)


def test_the_l2_norm_is_audited_in_l2(problem):
    budget = replace(BUDGET, norm="l2")
    found = audit(problem.model, problem.images, problem.labels, epsilons=[2.0], attacks=["pgd"], budget=budget)
    moved = np.linalg.norm((found.main.attacked[0].verdicts.adversarial - problem.images).reshape(60, -1), axis=1)
    assert 1 < moved.max() <= 2 + 1e-4
    assert not found.to_dict()["flags"]["survives_large_epsilon"]
