from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robust_distillation.params import load_params
from robust_distillation.paths import POISONED, TRUSTED, VALIDATE
from robust_distillation.stages.pairs import split_trusted, training_pairs

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("trusted", [0, 8])
def test_without_trusted_images_noisy_validation_images_are_judged_by(problem_set, tmp_path, monkeypatch, trusted):
    monkeypatch.chdir(tmp_path)
    params = load_params(ROOT / "params.yaml")
    params = replace(params, autoencoder=replace(params.autoencoder, mode="gaussian"))
    problem_set.take(np.arange(30)).save(POISONED)
    problem_set.take(np.arange(30, 40)).save(VALIDATE)
    problem_set.take(np.arange(40, 40 + trusted)).save(TRUSTED)
    (_, learned), (_, judged) = training_pairs(params)
    own, held = (30, 10) if not trusted else (40, trusted)
    assert len(learned) % own == len(judged) % held == 0
    assert {image.tobytes() for image in judged}.isdisjoint({image.tobytes() for image in learned})
    halves = split_trusted(params, problem_set.take(np.arange(trusted)))
    assert sum(map(len, halves)) == trusted
