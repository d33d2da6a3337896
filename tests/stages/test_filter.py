import csv
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from robust_distillation.classifiers.storage import save_model
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.detectors.detector import Fitted
from robust_distillation.errors import InputError
from robust_distillation.files import read_json, write_json
from robust_distillation.params import load_params
from robust_distillation.paths import (
    AUTOENCODER,
    CLASSES,
    DETECTOR,
    FILTERED,
    INFERENCE_DETECTOR,
    POISONED,
    PROBE,
    PUBLISHED_DETECTOR,
    PUBLISHED_FILTERED,
    SCORES,
    TRUSTED,
)
from robust_distillation.stages import filter as stage
from robust_distillation.stages.filter import check_classes

ROOT = Path(__file__).parents[2]


def test_a_threshold_that_discards_a_whole_class_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_json(CLASSES, {"ids": [1, 14], "names": ["Speed limit (30km/h)", "Stop"]})
    labels = np.array([0, 0, 1, 1])
    check_classes(labels, np.array([True, False, False, True]), 0.01)
    with pytest.raises(InputError, match=r"discards every image of class 14 \(Stop\); raise filter.keep_clean"):
        check_classes(labels, np.array([True, True, False, False]), 0.01)


def brightness(threshold):
    """A detector of one's own, with a threshold that it is given."""

    class Brightness:
        networks, settings = {}, {}
        fit = staticmethod(lambda train, *_: Fitted(Brightness(), *2 * [Brightness().score(train.images)]))
        restore = staticmethod(lambda threshold, settings, networks: Brightness())

        def score(self, images, labels=None):
            return images.mean(axis=(1, 2, 3))

    Brightness.threshold = threshold
    Brightness.__qualname__ = "BRIGHT"
    return Brightness


BRIGHT = brightness(0.9)


@pytest.mark.parametrize(("asked", "deployed"), [("same", f"{__name__}:BRIGHT"), ("mse", "mse"), ("none", None)])
def test_the_training_set_what_is_deployed_and_the_published_defence_have_detectors_of_their_own(
    problem, problem_set, tmp_path, monkeypatch, asked, deployed
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.setattr(stage, "report_metrics", lambda *_: None)
    params = load_params(ROOT / "params.yaml")
    asked_for = replace(params.filter, detector=f"{__name__}:BRIGHT", inference_detector=asked, reform="none")
    params = replace(params, filter=asked_for)
    for path in (POISONED, TRUSTED):
        problem_set.save(path)
    save_model(problem.model, PROBE)
    write_json(CLASSES, {"ids": [0, 1, 2, 3], "names": list("abcd")})
    image = keras.Input(problem.images.shape[1:])
    save_model(keras.Model(image, keras.layers.Rescaling(0.9)(image)), AUTOENCODER)
    stage.main(params)

    assert read_json(DETECTOR / "detector.json")["name"] == f"{__name__}:BRIGHT"
    assert read_json(PUBLISHED_DETECTOR / "detector.json")["name"] == "mse"
    stored = INFERENCE_DETECTOR / "detector.json"
    assert (read_json(stored)["name"] if deployed else stored.exists()) == (deployed or False)
    with SCORES.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    for path, reform, column in ((FILTERED, 1.0, "kept"), (PUBLISHED_FILTERED, 0.9, "published_kept")):
        left = ImageSet.load(path)
        assert left.ids.tolist() == [row["id"] for row in rows if row[column] == "1"]
        raw = problem_set.features[np.isin(problem_set.ids, left.ids)]
        np.testing.assert_allclose(left.features, reform * raw, atol=0.51)
