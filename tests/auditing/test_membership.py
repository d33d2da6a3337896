"""Membership inference: chance where nothing is to be found, nearly everything where networks overfit."""

import numpy as np
import pytest
from scipy.stats import norm

from robust_distillation.auditing.membership import ATTACKS, Game, attack_members, draw_members
from robust_distillation.errors import InputError

WITH_SHADOWS = sorted(set(ATTACKS) - {"loss"})


def game(*, networks=16, images=2000, leak=0.0, hardness=2.0, classes=4, seed=0) -> Game:
    """Logits that are surer by `leak` of what a network was trained on, with images of their own hardness."""
    rng = np.random.default_rng(seed)
    members = draw_members(networks, images, np.random.default_rng(seed + 1000))
    labels = rng.integers(0, classes, images)
    confidence = hardness * rng.standard_normal(images) + rng.standard_normal((networks, images)) + leak * members
    logits = 0.1 * rng.standard_normal((networks, images, classes))
    others = np.log(np.exp(np.where(np.arange(classes) == labels[:, None], -np.inf, logits)).sum(axis=2))
    np.put_along_axis(logits, np.broadcast_to(labels[None, :, None], (networks, images, 1)), 0, axis=2)
    logits[:, np.arange(images), labels] = confidence + others
    return Game(logits=logits, members=members, labels=labels)


def rows(count):
    return np.arange(count)


def test_confidence_is_the_log_odds_of_the_true_class():
    one = Game(logits=np.log([[[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]]]), members=np.ones((1, 2)), labels=np.array([0, 2]))
    np.testing.assert_allclose(one.confidences, [[np.log(0.7 / 0.3), np.log(0.1 / 0.9)]])


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_an_attack_is_at_chance_where_nothing_leaks(attack):
    found = attack_members(game(), rows(2000), [attack])
    assert found.auroc(attack) == pytest.approx(0.5, abs=0.02)
    assert found.balanced_accuracy(attack) == pytest.approx(0.5, abs=0.02)
    assert found.rates(attack)["tpr_at_1"] == pytest.approx(0.01, abs=0.005)


@pytest.mark.parametrize("attack", WITH_SHADOWS)
def test_few_shadow_models_do_not_betray_the_truth(attack):
    found = attack_members(game(networks=3, images=4000), rows(4000), [attack])
    assert found.auroc(attack) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_an_attack_finds_members_that_stand_out(attack):
    found = attack_members(game(leak=6.0, hardness=0.1), rows(2000), [attack])
    assert found.auroc(attack) > 0.98
    assert found.rates(attack)["tpr_at_1"] > 0.5
    assert found.balanced_accuracy(attack) > 0.95


def test_lira_is_as_good_as_the_distributions_allow():
    found = attack_members(game(networks=64, leak=2.0), rows(2000), ["loss", "lira_online", "lira_offline"])
    best = 1 - norm.cdf(norm.ppf(0.99) - 2.0)
    assert found.rates("lira_online")["tpr_at_1"] == pytest.approx(best, abs=0.04)
    assert found.auroc("lira_online") == pytest.approx(norm.cdf(2 / np.sqrt(2)), abs=0.01)
    assert found.auroc("lira_offline") > found.auroc("loss") + 0.1


def test_the_curve_agrees_with_scikit_learns():
    from sklearn.metrics import roc_curve

    found = attack_members(game(leak=1.0), rows(2000), ["loss"])
    rates = np.array([0.0, 0.001, 0.01, 0.3, 1.0])
    expected = []
    for scores, truth in zip(found.scores["loss"], found.members, strict=True):
        false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
        expected.append([true[false <= rate + 1e-12].max() for rate in rates])
    np.testing.assert_allclose(found.curve("loss", rates), np.mean(expected, axis=0), atol=1e-9)


def test_intervals_cover():
    truth = 1 - norm.cdf(norm.ppf(0.99) - 2.0)
    covered = []
    for seed in range(40):
        one = game(networks=1, images=1000, leak=2.0, hardness=0.0, seed=seed)
        low, high = attack_members(one, rows(1000), ["loss"]).to_dict()["attacks"]["loss"]["tpr_at_1_interval"]
        covered.append(low <= truth <= high)
    assert np.mean(covered) >= 0.85


def test_intervals_are_wider_where_images_come_in_groups():
    one = game(networks=1, images=1000, leak=2.0)
    repeated = Game(
        logits=np.repeat(one.logits[:, :100], 10, axis=1),
        members=np.repeat(one.members[:, :100], 10, axis=1),
        labels=np.repeat(one.labels[:100], 10),
    )
    alone, together = (
        attack_members(repeated, groups, ["loss"]).to_dict()["attacks"]["loss"]["tpr_at_1_interval"]
        for groups in (rows(1000), rows(1000) // 10)
    )
    assert together[1] - together[0] > 1.5 * (alone[1] - alone[0])


def test_a_rate_that_too_few_images_could_show_is_not_given():
    found = attack_members(game(images=400, leak=1.0), rows(400)).to_dict()
    assert found["attacks"]["loss"]["tpr_at_01"] is None
    assert found["attacks"]["loss"]["tpr_at_01_interval"] is None
    assert found["attacks"]["loss"]["tpr_at_1"] is not None


def test_gap_and_classes():
    one = game(leak=3.0)
    found = attack_members(one, rows(2000)).to_dict()
    right = one.logits.argmax(axis=2) == one.labels
    assert found["gap"] == pytest.approx(right[one.members].mean() - right[~one.members].mean())
    assert found["gap"] > 0.1
    assert set(found["per_class"]) == {"0", "1", "2", "3"}
    assert all(values["auroc"] > 0.8 for values in found["per_class"].values())
    assert found["strongest"].startswith(("lira", "rmia"))


def test_coins_are_independent_and_fair():
    members = draw_members(200, 1000, np.random.default_rng(3))
    assert members.mean() == pytest.approx(0.5, abs=0.01)
    assert members.sum(axis=0).std() == pytest.approx(np.sqrt(200) / 2, rel=0.1)


def test_too_few_images_are_refused():
    with pytest.raises(InputError, match="take more images"):
        draw_members(4, 12, np.random.default_rng(0))
