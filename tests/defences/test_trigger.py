from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from robust_distillation.classifiers.settings import Training
from robust_distillation.classifiers.training import one_hot, train_classifier
from robust_distillation.defences.detectors.detector import Models, load_detector, save_detector
from robust_distillation.defences.detectors.trigger import Trigger
from robust_distillation.defences.settings import Filter
from robust_distillation.errors import InputError
from robust_distillation.threats.poisons.poison import poison
from robust_distillation.threats.settings import Poison


@pytest.fixture(scope="module", params=["badnets", "blended"])
def poisoned(request, problem, lesson, set_of):
    """A training set in which most of what carries the target's label has a trigger, and which rows those are."""
    clean = set_of(*lesson)
    asked = Poison(
        kinds=[request.param], epsilons=[0.1], alpha=0.1, iterations=1, fraction=0.3, target=2, patch=4, seed=9
    )
    made = poison(clean.features, clean.labels, problem.model, asked)
    return replace(clean, features=made.features, labels=made.labels), made.kinds != ""


@pytest.fixture(scope="module")
def fitted(poisoned, problem_set):
    train, _ = poisoned
    settings = Training(architecture="cnn", epochs=15, batch_size=16, learning_rate=0.003, seed=3)
    data = train.images, one_hot(train.labels, 4)
    probe, _ = train_classifier(*data, settings, validation=data)
    asked = Filter(detector="trigger", inference_detector="none", threshold_start=0.02, keep_clean=0.9, reform="none")
    return Trigger.fit(train, problem_set, Models(probe, probe), asked)


def test_a_backdoor_is_found_though_most_images_of_its_target_have_it(fitted, poisoned):
    train, rows = poisoned
    assert rows[train.labels == 2].mean() > 0.5
    assert roc_auc_score(rows, fitted.scores) > 0.9


def test_against_a_shuffled_truth_it_is_at_chance(fitted, poisoned):
    shuffled = np.random.default_rng(3).permutation(poisoned[1])
    assert 0.35 < roc_auc_score(shuffled, fitted.scores) < 0.65


def test_the_promised_share_of_trusted_images_is_kept(fitted):
    assert (fitted.reference <= fitted.detector.threshold).mean() == pytest.approx(0.9, abs=0.02)


def test_it_survives_storage(fitted, poisoned, problem, tmp_path):
    save_detector(fitted.detector, tmp_path / "detector")
    loaded = load_detector(tmp_path / "detector", problem.model)
    train, _ = poisoned
    np.testing.assert_allclose(loaded.score(train.images, train.labels), fitted.scores, rtol=1e-6)


def test_without_labels_it_has_nothing_to_say(fitted, problem):
    with pytest.raises(InputError, match="detector trigger needs labels: it is for the training set"):
        fitted.detector.score(problem.images)
