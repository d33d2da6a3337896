"""What watches over a training: robust validation accuracy, the best epoch, and checkpoints."""

import math
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.classifiers.methods.method import ascend, climb, cross_entropy, within
from robust_distillation.dataset.pickles import load_pickle, save_pickle
from robust_distillation.errors import UnreliableWarning

STEPS = 10
WIDENED = 0.1  # the gap of accuracies under one step and under several, where training overfits to one
FALLEN = 0.15  # of the best robust accuracy so far, as a share of it
BEYOND_CHANCE = 1.5  # times the accuracy of one answer for all images, below which nothing was learned yet


class Watch(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Measures accuracy under one step and under several, each epoch, and stops a catastrophic overfitting.

    Training against single steps may learn to hide from these alone (Wong et al. 2020, section 5). Then accuracy under
    several falls behind that under one, by more than at its best and more than chance explains. The weights of that
    epoch come back, and training ends.

    Args:
        images: float32 (N, H, W, C) in [0, 1].
        targets: one-hot, float32 (N, K).
        epsilon: radius of the ball.
        temperature: divides the logits.
    """

    def __init__(self, images: Array, targets: Array, epsilon: float, temperature: float) -> None:
        super().__init__()
        self.images, self.targets = tf.constant(images), tf.constant(targets)
        self.epsilon, self.temperature = epsilon, temperature
        self.state: dict[str, Any] = {"best": 0.0, "gap": 0.0, "good": None}
        self._attacked: Any = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Measure, and compare with the epochs before."""
        logs = {} if logs is None else logs
        if self._attacked is None:
            self._attacked = tf.function(self._accuracies)
        single, robust = (float(value) for value in self._attacked())
        logs["val_single_step"], logs["val_robust"] = single, robust
        learned = self.state["best"] > BEYOND_CHANCE / self.targets.shape[1]
        widened, fallen = single - robust - self.state["gap"], self.state["best"] - robust
        noise = 1.5 / math.sqrt(len(self.images))  # three standard errors of a share, at most
        if learned and widened > max(WIDENED, noise) and fallen > max(FALLEN * self.state["best"], noise):
            warnings.warn(
                f"epoch {epoch + 1}: accuracy is {single:.2f} under one step and {robust:.2f} under {STEPS}: training "
                f"overfits to one step; the epoch of the best, {self.state['best']:.2f}, is kept",
                UnreliableWarning,
                stacklevel=2,
            )
            self.model.kept.set_weights(self.state["good"])
            logs["val_robust"] = self.state["best"]
            self.model.stop_training = True
            return
        if robust >= self.state["best"]:
            self.state = {"best": robust, "gap": single - robust, "good": self.model.kept.get_weights()}

    def _accuracies(self) -> tuple[tf.Tensor, tf.Tensor]:
        def model(images: tf.Tensor) -> tf.Tensor:
            return self.model.kept(images, training=False)

        def loss(logits: tf.Tensor) -> tf.Tensor:
            return cross_entropy(self.targets, logits, self.temperature)

        def accuracy(images: tf.Tensor) -> tf.Tensor:
            right = tf.argmax(model(images), axis=1) == tf.argmax(self.targets, axis=1)
            return tf.reduce_mean(tf.cast(right, tf.float32))

        single = within(self.images + self.epsilon * ascend(loss, model, self.images), self.images, self.epsilon)
        several = climb(model, loss, self.images, self.images, self.epsilon, STEPS)
        return accuracy(single), accuracy(several)


class Kept(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Ends a training that gets no better on validation data, and brings the best weights back.

    Args:
        patience: epochs without a better `val_robust`, or `val_accuracy` without one; 0 keeps the last epoch.
    """

    def __init__(self, patience: int) -> None:
        super().__init__()
        self.patience = patience
        self.state: dict[str, Any] = {"best": -1.0, "epoch": -1, "weights": None}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Compare with the best epoch so far."""
        logs = logs or {}
        value = logs.get("val_robust", logs.get("val_accuracy", 0.0))
        if not self.patience:
            return
        if value > self.state["best"]:
            self.state = {"best": float(value), "epoch": epoch, "weights": self.model.kept.get_weights()}
        elif epoch - self.state["epoch"] >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Bring the best weights back."""
        if self.patience and self.state["weights"] is not None:
            self.model.kept.set_weights(self.state["weights"])


class Resumable(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Keeps each epoch: weights, optimizer and what was found so far. A training that was killed goes on there.

    Args:
        path: of the file.
        watching: callbacks whose `state` is kept too.
    """

    def __init__(self, path: Path, watching: list[Any]) -> None:
        super().__init__()
        self.path, self.watching = path, watching
        self.history: list[dict[str, float]] = []

    def restore(self, trainer: Any, epochs: int) -> int:
        """Put everything back as it was, and return how many epochs are done; all, where training has ended early."""
        if not self.path.is_file():
            return 0
        found = load_pickle(self.path)
        for variable, value in zip(_variables(trainer), found["variables"], strict=True):
            variable.assign(value)
        for callback, state in zip(self.watching, found["states"], strict=True):
            callback.state = state
        self.history = found["history"]
        return epochs if found["ended"] else len(self.history)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the file anew."""
        self.history.append({name: float(value) for name, value in (logs or {}).items()})
        save_pickle(
            self.path,
            {
                "variables": [np.asarray(variable) for variable in _variables(self.model)],
                "states": [callback.state for callback in self.watching],
                "history": self.history,
                "ended": bool(self.model.stop_training),
            },
        )


def _variables(trainer: Any) -> list[Any]:
    """Return all that training changes."""
    kept = [] if trainer.kept is trainer.model else trainer.kept.variables
    memory = getattr(trainer.method, "memory", None)
    return [*trainer.model.variables, *kept, *trainer.optimizer.variables, *([] if memory is None else [memory])]
