"""tune: keras-tuner searches the autoencoder's hyperparameters; each trial is a nested MLflow run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlflow
import numpy as np

from robust_distillation.classifiers.storage import save_model
from robust_distillation.classifiers.training import one_hot, train_classifier
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.tuning import tune_autoencoder
from robust_distillation.files import read_record, write_json
from robust_distillation.params import Params
from robust_distillation.paths import CLASSES, HYPERPARAMETERS, POISONED, PROBE, TRUSTED, VALIDATE
from robust_distillation.progress import Bar
from robust_distillation.records import Classes
from robust_distillation.stages.pairs import training_pairs
from robust_distillation.stages.results import report_metrics


def main(params: Params) -> None:
    """Train the defender's probe on what it was given, make pairs with it, and search on them."""
    n_classes = len(read_record(CLASSES, Classes).ids)
    train, trusted, validate = ImageSet.load(POISONED), ImageSet.load(TRUSTED), ImageSet.load(VALIDATE)
    probe, _ = train_classifier(
        np.concatenate([train.images, trusted.images]),
        one_hot(np.concatenate([train.labels, trusted.labels]), n_classes),
        params.probe,
        validation=(validate.images, one_hot(validate.labels, n_classes)),
    )
    save_model(probe, PROBE)

    pairs, validation = training_pairs(params)
    losses: list[float] = []
    total = params.tune.max_trials if params.tune.algorithm == "bayesian" else None  # Hyperband's schedule is its own
    with Bar(total=total, desc="tuning", unit="trial") as bar:

        @contextmanager
        def record(trial: str, chosen: dict[str, Any]) -> Iterator[Callable[[dict[str, list[float]]], None]]:
            def finish(history: dict[str, list[float]]) -> None:
                for step, loss in enumerate(history["val_loss"], start=1):
                    mlflow.log_metric("epoch.val_loss", loss, step=step)
                mlflow.log_metric("val_loss", min(history["val_loss"]))
                losses.append(min(history["val_loss"]))

            with mlflow.start_run(run_name=f"trial {trial}", nested=True):
                mlflow.log_params(chosen)
                yield finish
            bar.update()
            bar.set_postfix(best=f"{min(losses):.5f}")

        best = tune_autoencoder(params.tune, params.autoencoder.batch_size, pairs, validation, record)
    write_json(HYPERPARAMETERS, vars(best))
    mlflow.log_params({f"best.{key}": value for key, value in vars(best).items()})
    report_metrics("tune", {"trials": len(losses), "best_val_loss": min(losses)})
