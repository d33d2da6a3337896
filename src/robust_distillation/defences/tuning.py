"""The search for the autoencoder's hyperparameters with keras-tuner."""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import keras
import keras_tuner

from robust_distillation.classifiers.training import seed_everything
from robust_distillation.defences.autoencoder import Hyperparameters, Pairs, build_autoencoder, fit_autoencoder
from robust_distillation.defences.settings import Tune

# Opens a trial's record: (trial id, its hyperparameters) to a context that takes the trial's history.
TrialRecord = Callable[[str, dict[str, Any]], AbstractContextManager[Callable[[dict[str, list[float]]], None]]]


class _Search:
    """Mixed into a keras-tuner tuner: a trial trains one autoencoder and reports its best validation loss."""

    def bind(self, settings: Tune, batch_size: int, pairs: Pairs, validation: Pairs, record: TrialRecord) -> None:
        self._settings, self._batch_size = settings, batch_size
        self._pairs, self._validation, self._record = pairs, validation, record

    def run_trial(self, trial: Any, *_: Any, **__: Any) -> float:
        values = trial.hyperparameters.values
        epochs = values.get("tuner/epochs", self._settings.epochs)
        chosen = Hyperparameters(**{key: values[key] for key in Hyperparameters.__annotations__})
        with self._record(trial.trial_id, vars(chosen) | {"epochs": epochs}) as finish:
            seed_everything(self._settings.seed)
            model = build_autoencoder(self._pairs[0].shape[1:], chosen)
            history = fit_autoencoder(
                model,
                self._pairs,
                self._validation,
                epochs=epochs,
                batch_size=self._batch_size,
                patience=None,
                seed=self._settings.seed,
                callbacks=[keras.callbacks.TerminateOnNaN()],
            )
            finish(history)
        return min(history["val_loss"])  # keras-tuner takes the mean of a list


class _Bayesian(_Search, keras_tuner.BayesianOptimization):  # type: ignore[misc]  # keras-tuner has no types
    pass


class _Hyperband(_Search, keras_tuner.Hyperband):  # type: ignore[misc]  # keras-tuner has no types
    pass


def tune_autoencoder(
    settings: Tune, batch_size: int, pairs: Pairs, validation: Pairs, record: TrialRecord
) -> Hyperparameters:
    """Search width, depth, latent size, optimizer and learning rate for the smallest validation loss.

    Every search starts afresh: keras-tuner would otherwise resume an older one silently.

    Args:
        settings: algorithm, budget, search space and seed. `max_trials` bounds the Bayesian search; Hyperband's
            schedule fixes the number of its trials from `epochs`.
        batch_size: of each trial's gradient steps.
        pairs: distorted and clean images to train on.
        validation: the same, to judge by.
        record: opens a record of each trial.

    Returns:
        The best hyperparameters, to be trained afresh.
    """

    def declare(space: keras_tuner.HyperParameters) -> None:
        space.Choice("width", settings.widths)
        space.Choice("depth", settings.depths)
        space.Choice("latent", settings.latents)
        space.Choice("optimizer", settings.optimizers)
        lowest, highest = settings.learning_rates
        space.Float("learning_rate", lowest, highest, sampling="log")

    space = keras_tuner.HyperParameters()
    declare(space)
    with tempfile.TemporaryDirectory() as folder:
        common: dict[str, Any] = {
            "hyperparameters": space,
            "objective": "val_loss",
            "seed": settings.seed,
            "directory": folder,
            "project_name": settings.algorithm,
            "overwrite": True,
        }
        if settings.algorithm == "bayesian":
            tuner = _Bayesian(max_trials=settings.max_trials, **common)
        else:
            tuner = _Hyperband(max_epochs=settings.epochs, **common)
        tuner.bind(settings, batch_size, pairs, validation, record)
        tuner.search(verbose=0)
        best = tuner.get_best_hyperparameters()[0]
    return Hyperparameters(**{key: best.get(key) for key in Hyperparameters.__annotations__})
