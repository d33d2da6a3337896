import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from robust_distillation.defences.detectors.evidence import as_in_bulk, bulk, clean_like, p_values, smallest


def test_p_values_are_ranks_among_clean_images():
    np.testing.assert_allclose(p_values(np.array([0.0, 1.0, 2.5, 3.0]), np.array([1.0, 2.0, 3.0])), [1, 1, 0.5, 0.5])
    assert p_values(np.array([4.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(np.exp(-1) / 4)


def test_above_all_clean_images_they_fall_on_and_never_exceed_the_share():
    reference = np.sort(np.random.default_rng(1).exponential(size=2000))
    above = p_values(reference[-1] + np.array([1e-9, 1.0, 2.0]), reference)
    assert above[0] == pytest.approx(1 / 2001, rel=1e-3)
    np.testing.assert_allclose(above[1:] / above[:-1], np.exp(-1), rtol=0.2)  # as the exponential tail itself falls


def test_p_values_are_uniform_where_there_is_nothing_to_find():
    rng = np.random.default_rng(2)
    found = p_values(rng.normal(size=20_000), np.sort(rng.normal(size=20_000)))
    for share in (0.01, 0.1, 0.5):
        assert (found <= share).mean() == pytest.approx(share, rel=0.15)


def test_the_smallest_is_corrected_for_how_many_there_are():
    found = smallest({"one": np.array([0.01, 0.9]), "other": np.array([0.5, 0.8])})
    np.testing.assert_allclose(found, [-np.log(0.02), 0])


def test_the_bulk_of_a_poisoned_set_is_like_its_clean_part():
    rng = np.random.default_rng(3)
    clean, poison = rng.normal(size=9000), rng.normal(6, 1, 1000)
    found = bulk(np.concatenate([clean, poison]))
    for share in (0.5, 0.9, 0.99):
        assert np.quantile(found, share) == pytest.approx(np.quantile(clean, share), abs=0.35)
    assert roc_auc_score(np.repeat([0, 1], [9000, len(found)]), np.concatenate([clean, found])) < 0.6


def test_trusted_images_come_before_the_bulk_and_scores_above_zero_are_mirrored_on_a_log_scale():
    scores = np.exp(np.random.default_rng(4).normal(size=5000))
    np.testing.assert_array_equal(clean_like(scores[:7], scores), scores[:7])
    found = clean_like(np.zeros(0), scores)
    assert np.quantile(found, 0.99) == pytest.approx(np.quantile(scores, 0.99), rel=0.2)


def test_trusted_scores_take_the_place_and_spread_of_the_bulk_and_keep_their_tail():
    rng = np.random.default_rng(5)
    trusted, poison = 0.5 * rng.gumbel(size=2000), np.full(500, 30.0)
    clean = 1.0 + rng.gumbel(size=9500)
    found = as_in_bulk(trusted, np.concatenate([clean, poison]))
    assert (clean > np.quantile(found, 0.99)).mean() == pytest.approx(0.01, abs=0.006)
    assert (clean > np.quantile(trusted, 0.99)).mean() > 0.1
