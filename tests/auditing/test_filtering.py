import numpy as np
import pytest

from robust_distillation.auditing.filtering import audit_filter, roc

KINDS = np.array(["", "", "", "fgsm", "fgsm", "i_fgsm"])
EPSILONS = np.array([0, 0, 0, 0.01, 0.02, 0.01])
TRACKS = np.arange(6)


def test_a_perfect_filter():
    scores = np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    found = audit_filter(scores, scores < 0.5, KINDS, EPSILONS, TRACKS)
    assert (found["auroc"], found["precision"], found["recall"]) == (1, 1, 1)
    assert (found["clean_kept"], found["poison_kept"]) == (1, 0)
    assert set(found["per_kind"]) == {"fgsm 0.01", "fgsm 0.02", "i_fgsm 0.01"}


def test_counts_by_hand():
    scores = np.array([0.1, 0.6, 0.2, 0.7, 0.3, 0.4])
    found = audit_filter(scores, scores <= 0.5, KINDS, EPSILONS, TRACKS)
    assert found["precision"] == 1 / 2
    assert found["recall"] == pytest.approx(1 / 3)
    assert found["clean_kept"] == pytest.approx(2 / 3)
    assert found["auroc"] == pytest.approx(7 / 9)


def test_without_poison_there_is_no_auroc():
    found = audit_filter(np.array([0.1, 0.9]), np.array([True, False]), np.array(["", ""]), np.zeros(2), np.arange(2))
    assert found["auroc"] is None
    assert found["poison_kept"] is None
    assert found["clean_kept"] == 0.5
    assert found["tpr_at_1"] is None
    assert found["per_kind"] == {}


@pytest.fixture(scope="module")
def many():
    """Two kinds of poison in tracks of ten, one of which the scores tell well."""
    rng = np.random.default_rng(2)
    kinds = np.repeat(["", "fgsm", "pgd"], [2000, 500, 500])
    strengths = np.repeat([0, 0.01, 0.02], [2000, 500, 500])
    tracks = np.arange(3000) // 10
    scores = rng.normal(0, 0.5, 3000) + rng.normal(0, 1, 300)[tracks] + np.repeat([0, 1, 4], [2000, 500, 500])
    return scores, scores < 3, kinds, strengths, tracks


def test_what_is_caught_at_a_loss_agrees_with_counting(many):
    scores, kept, kinds, *_ = many
    found = audit_filter(*many)
    for kind, name in (("fgsm", "fgsm 0.01"), ("pgd", "pgd 0.02")):
        threshold = np.sort(scores[kinds == ""])[-20]
        caught = (scores[kinds == kind] >= threshold).mean()
        assert found["per_kind"][name]["tpr_at_1"] == pytest.approx(caught, abs=0.01)
        assert found["per_kind"][name]["caught"] == (~kept)[kinds == kind].mean()
        assert found["per_kind"][name]["tpr_at_5"] >= found["per_kind"][name]["tpr_at_1"]


def test_intervals_hold_the_figure_and_widen_where_frames_of_a_track_are_alike(many):
    together, apart = (
        audit_filter(*many[:4], tracks)["per_kind"]["fgsm 0.01"] for tracks in (many[4], np.arange(3000))
    )
    for figure in ("auroc", "tpr_at_1", "tpr_at_5"):
        assert together[f"{figure}_low"] <= together[figure] <= together[f"{figure}_high"]
    widths = [found["auroc_high"] - found["auroc_low"] for found in (together, apart)]
    assert widths[0] > 1.5 * widths[1]


def test_weights_count_as_repetitions_do():
    scores, poisoned = np.array([0.1, 0.4, 0.3, 0.9]), np.array([False, False, True, True])
    weights = np.array([1, 3, 2, 1])
    weighted, repeated = roc(scores, poisoned, weights), roc(scores.repeat(weights), poisoned.repeat(weights))
    assert weighted.figures == pytest.approx(repeated.figures)
