from dataclasses import dataclass, replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from robust_distillation.defences.detectors import DETECTORS
from robust_distillation.defences.detectors.combined import Combined
from robust_distillation.defences.detectors.detector import Fitted, Models, load_detector, save_detector
from robust_distillation.defences.settings import Filter
from robust_distillation.errors import InputError


@dataclass(frozen=True)
class Channel:
    """A detector that sees nothing but the mean of one channel."""

    which: int
    threshold: float = 1.0

    @property
    def networks(self):
        return {}

    @property
    def settings(self):
        return {"which": self.which}

    def score(self, images, labels=None):
        return images[..., self.which].mean(axis=(1, 2))


class Red(Channel):
    @classmethod
    def fit(cls, train, trusted, models, settings):
        detector = cls(0)
        return Fitted(detector, detector.score(train.images), detector.score(trusted.images))

    @classmethod
    def restore(cls, threshold, settings, networks):
        return cls(**settings)


class Green(Red):
    @classmethod
    def fit(cls, train, trusted, models, settings):
        detector = cls(1)
        return Fitted(detector, detector.score(train.images), detector.score(trusted.images))


@pytest.fixture(scope="module")
def own():
    """Two detectors under names of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            DETECTORS, "entries", {**DETECTORS.entries, "red": f"{__name__}:Red", "green": f"{__name__}:Green"}
        )
        yield


@pytest.fixture(scope="module")
def sets(set_of):
    """A training set with a tenth too red and a tenth too green, which are so, and a trusted set."""
    rng = np.random.default_rng(1)
    images = rng.uniform(0.3, 0.5, (1500, 1, 1, 3)) + rng.normal(0, 0.02, (1500, 12, 12, 3))
    images[:100, ..., 0] += 0.4
    images[100:200, ..., 1] += 0.4
    whole = set_of(images, np.arange(1500) % 4)
    return whole.take(np.arange(1000)), np.arange(1000) < 200, whole.take(np.arange(1000, 1500))


@pytest.fixture(scope="module")
def settings(own):
    return Filter(
        detector="combined",
        inference_detector="none",
        threshold_start=0.02,
        keep_clean=0.95,
        reform="none",
        combined=["red", "green"],
    )


@pytest.fixture(scope="module")
def fitted(sets, settings, problem):
    return Combined.fit(sets[0], sets[2], Models(problem.model, problem.model), settings)


def test_it_finds_what_any_of_them_finds_and_says_which(fitted, sets):
    assert roc_auc_score(sets[1], fitted.scores) > 0.98
    suspicious = fitted.scores > fitted.detector.threshold
    assert suspicious[:200].all()
    assert (fitted.parts["red"][:100] < fitted.parts["green"][:100]).mean() > 0.98
    assert (fitted.parts["green"][100:200] < fitted.parts["red"][100:200]).mean() > 0.98


def test_no_more_clean_images_are_lost_than_was_promised(fitted, sets):
    lost = (fitted.scores > fitted.detector.threshold)[~sets[1]].mean()
    assert 0.02 < lost < 0.08


@pytest.mark.parametrize(("count", "least"), [(6, 0.5), (50, 0.9)])
def test_with_few_trusted_images_what_is_far_beyond_them_all_is_suspicious(sets, settings, problem, count, least):
    few = replace(settings, keep_clean=0.99)
    fitted = Combined.fit(sets[0], sets[2].take(np.arange(count)), Models(problem.model, problem.model), few)
    suspicious = fitted.scores > fitted.detector.threshold
    assert suspicious[:200].mean() > least
    assert suspicious[200:].mean() < 0.1


def test_it_survives_storage(fitted, sets, problem, tmp_path):
    save_detector(fitted.detector, tmp_path / "detector")
    loaded = load_detector(tmp_path / "detector", problem.model)
    images = sets[0].images[:300]
    assert loaded.threshold == fitted.detector.threshold
    np.testing.assert_allclose(loaded.score(images), fitted.detector.score(images))


def test_members_that_need_labels_say_so(settings, problem, smoothing, problem_set):
    label = replace(settings, combined=["label"], label=replace(settings.label, epochs=1))
    fitted = Combined.fit(problem_set, problem_set, Models(smoothing, problem.model), label)
    assert fitted.detector.networks.keys() == {"autoencoder", "label_fold_0", "label_fold_1"}
    with pytest.raises(InputError, match="detector label needs labels"):
        fitted.detector.score(problem_set.images)
