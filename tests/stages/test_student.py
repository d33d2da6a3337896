from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from robust_distillation.classifiers.storage import load_model, save_model
from robust_distillation.classifiers.training import predict_logits
from robust_distillation.defences.defence import Defence
from robust_distillation.files import write_json
from robust_distillation.params import load_params
from robust_distillation.paths import (
    AUTOENCODER,
    CLASSES,
    DEFENCE,
    FILTERED,
    POISONED,
    TEACHER,
    TEST,
    UNDEFENDED,
    VALIDATE,
)
from robust_distillation.stages import student as stage

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")


@pytest.fixture
def run(problem, problem_set, tmp_path, monkeypatch):
    """Run the stage with outlier labels, the problem's model as teacher; return the defence and what was reported."""
    monkeypatch.chdir(tmp_path)
    reported = {}
    monkeypatch.setattr(stage, "report_metrics", lambda _, values: reported.update(values))
    for name in ("report_curve", "report_figure"):
        monkeypatch.setattr(stage, name, lambda *_: None)
    monkeypatch.setattr(stage, "checkpoint", lambda *_: nullcontext(None))
    for path in (FILTERED, POISONED, TEST, VALIDATE):
        problem_set.save(path)
    write_json(CLASSES, {"ids": [0, 1, 2, 3], "names": list("abcd"), "mirror": [1, 0, 3, 2]})
    image = keras.Input(problem.images.shape[1:])
    save_model(keras.Model(image, keras.layers.Rescaling(1.0)(image)), AUTOENCODER)
    save_model(problem.model, TEACHER)

    def run_stage(measure):
        plain = PARAMS.published.student
        augmentation = replace(plain.augmentation, mirror=0.5)
        student = replace(
            plain, labels="outlier", epochs=15, batch_size=16, class_balance=True, augmentation=augmentation
        )
        stage.main(
            replace(
                PARAMS,
                student=student,
                abstention=replace(PARAMS.abstention, measure=measure, passes=3),
                filter=replace(PARAMS.filter, inference_detector="none", reform="reconstruct"),
            )
        )
        return Defence.load(DEFENCE), reported

    return run_stage


@pytest.mark.parametrize(
    ("measure", "networks"),
    [("passes", ["autoencoder", "student"]), ("outlier", ["autoencoder", "outlier", "student"])],
)
def test_an_outlier_class_is_learned_and_kept_where_it_is_asked(problem, run, measure, networks):
    defence, reported = run(measure)
    assert sorted(path.stem for path in DEFENCE.glob("*.keras")) == networks
    assert defence.temperature == 1
    assert defence.abstention.measure == measure
    assert reported["accuracy"] > 0.9
    assert PARAMS.abstention.coverage <= reported["coverage"] < 1
    assert load_model(UNDEFENDED).output_shape == defence.student.output_shape == (None, 4)
    if measure == "outlier":
        logits = predict_logits(defence.abstention.student, problem.images)
        np.testing.assert_array_equal(logits[:, :4], predict_logits(defence.student, problem.images))
