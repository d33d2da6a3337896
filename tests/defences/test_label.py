from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from robust_distillation.classifiers.settings import Training
from robust_distillation.defences.detectors.detector import Models, load_detector, save_detector
from robust_distillation.defences.detectors.label import LabelDisagreement
from robust_distillation.defences.settings import Filter
from robust_distillation.errors import InputError

KEPT = 0.9


@pytest.fixture(scope="module")
def flipped(lesson, set_of):
    """A training set of which a fifth has another label, and which rows those are."""
    clean = set_of(*lesson)
    rows = np.random.default_rng(4).permutation(len(clean))[: len(clean) // 5]
    labels = clean.labels.copy()
    labels[rows] = (labels[rows] + 1 + rows % 3) % 4
    return replace(clean, labels=labels), labels != clean.labels


@pytest.fixture(scope="module")
def fitted(problem, smoothing, problem_set, flipped):
    settings = Filter(
        detector="label",
        inference_detector="none",
        threshold_start=0.02,
        keep_clean=KEPT,
        reform="none",
        label=Training(architecture="cnn", epochs=12, batch_size=16, learning_rate=0.003, seed=3),
    )
    return LabelDisagreement.fit(flipped[0], problem_set, Models(smoothing, problem.model), settings)


def test_flipped_labels_are_found(fitted, flipped):
    scores = fitted.scores
    assert roc_auc_score(flipped[1], scores) > 0.95


def test_against_a_shuffled_truth_it_is_at_chance(fitted, flipped):
    scores = fitted.scores
    shuffled = np.random.default_rng(3).permutation(flipped[1])
    assert 0.35 < roc_auc_score(shuffled, scores) < 0.65


def test_the_promised_share_of_clean_images_is_kept(fitted, flipped):
    detector, scores = fitted.detector, fitted.scores
    assert (scores <= detector.threshold)[~flipped[1]].mean() == pytest.approx(KEPT, abs=0.08)


def test_it_survives_storage(fitted, smoothing, problem_set, tmp_path):
    detector = fitted.detector
    save_detector(detector, tmp_path / "detector")
    loaded = load_detector(tmp_path / "detector", smoothing)
    given = problem_set.images, problem_set.labels
    np.testing.assert_allclose(loaded.score(*given), detector.score(*given), rtol=1e-6)


def test_without_labels_it_has_nothing_to_say(fitted, problem):
    with pytest.raises(InputError, match="detector label needs labels: it is for the training set"):
        fitted.detector.score(problem.images)
