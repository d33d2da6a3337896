from contextlib import contextmanager

import numpy as np
import pytest

from robust_distillation.defences.settings import Tune
from robust_distillation.defences.tuning import tune_autoencoder


@pytest.mark.parametrize(("algorithm", "trials"), [("bayesian", 3), ("hyperband", 2)])
def test_the_best_trial_wins_and_every_trial_is_recorded(algorithm, trials):
    images = np.random.default_rng(0).random((24, 8, 8, 1), dtype=np.float32)
    settings = Tune(
        algorithm=algorithm,
        max_trials=3,
        epochs=2,
        widths=[2, 4],
        depths=[1],
        latents=[2, 4],
        learning_rates=[0.0001, 0.05],
        optimizers=["adam", "sgd"],
        seed=1,
    )
    seen = []

    @contextmanager
    def record(trial, chosen):
        yield lambda history: seen.append((min(history["val_loss"]), chosen))

    best = tune_autoencoder(settings, 8, (images, images), (images, images), record)
    assert len(seen) >= trials
    winner = min(seen, key=lambda item: item[0])[1]
    assert {key: winner[key] for key in vars(best)} == vars(best)
    assert best.width in settings.widths
    assert 0.0001 <= best.learning_rate <= 0.05
