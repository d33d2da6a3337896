from dataclasses import replace

import numpy as np
import pytest

from robust_distillation.classifiers.settings import Training
from robust_distillation.defences.detectors import DETECTORS
from robust_distillation.defences.detectors.detector import Models
from robust_distillation.defences.settings import Filter, Residual


@pytest.mark.parametrize("name", ["mse", "kl", "label", "residual", "trigger", "combined"])
def test_without_trusted_images_the_threshold_comes_from_the_bulk_of_the_training_set(
    name, problem, smoothing, lesson, set_of
):
    train = set_of(*lesson)
    settings = Filter(
        detector=name,
        inference_detector="none",
        threshold_start=0.02,
        keep_clean=0.9,
        reform="none",
        combined=["mse", "trigger"],
        label=Training(architecture="cnn", epochs=8, batch_size=16, learning_rate=0.003, seed=3),
        residual=replace(Residual(), steps=(20,), batch_size=32),
    )
    fitted = DETECTORS[name].fit(train, train.take(np.arange(0)), Models(smoothing, problem.model), settings)
    assert 0.8 < fitted.kept.mean() <= 1.0
    assert len(fitted.reference) >= len(train)
