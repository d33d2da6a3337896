"""Training a classifier at a softmax temperature, the same way for attacker and defender."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm.keras import TqdmCallback

from robust_distillation.arrays import Array
from robust_distillation.classifiers import ARCHITECTURES, METHODS
from robust_distillation.classifiers.methods import Method
from robust_distillation.classifiers.settings import Training
from robust_distillation.progress import Bar

History = dict[str, list[float]]

STEPS_AT_ONCE = 16  # gradient steps between two returns to Python
PREDICTED_AT_ONCE = 256  # images


def seed_everything(seed: int) -> None:
    """Seed Keras, TensorFlow, NumPy and Python, and make TensorFlow's operations deterministic."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def train_classifier(
    images: Array,
    targets: Array,
    settings: Training,
    *,
    temperature: float = 1.0,
    validation: tuple[Array, Array],
) -> tuple[keras.Model, History]:
    """Train a new classifier on targets that softmax(logits / temperature) is to match.

    The temperature lies outside the returned model, which gives logits (Papernot et al. 2016, section IV).

    Args:
        images: float32 (N, H, W, C) in [0, 1].
        targets: float32 (N, K), one-hot or soft labels; row i belongs to image i.
        settings: method, architecture, epochs, batch size, the learning rate that it starts with, and seed.
        temperature: T, above 0.
        validation: images and targets of the same form.

    Returns:
        The trained model, uncompiled, and per epoch `loss`, `accuracy`, `val_loss` and `val_accuracy`.
    """
    seed_everything(settings.seed)
    model = ARCHITECTURES[settings.architecture](images.shape[1:], targets.shape[1])
    trainer = _Trainer(model, METHODS[settings.method], temperature)
    trainer.compile(
        optimizer=keras.optimizers.Adam(
            falling(settings.learning_rate, len(images), settings.batch_size, settings.epochs)
        ),
        steps_per_execution=STEPS_AT_ONCE,
        jit_compile=False,  # XLA trains these networks ten times slower on a CPU
    )
    history = trainer.fit(
        shuffled_batches((images, targets), settings.batch_size, settings.seed),
        epochs=settings.epochs,
        validation_data=whole_batches(validation),
        shuffle=False,  # the batches come shuffled
        verbose=0,
        callbacks=[TqdmCallback(verbose=0, desc=f"training {model.name}", tqdm_class=Bar)],
    )
    return model, history.history


class _Trainer(keras.Model):  # type: ignore[misc]  # Keras has no types
    """Steps along the gradient of the loss that a method gives; validation is always on images as they are."""

    def __init__(self, model: keras.Model, method: Method, temperature: float) -> None:
        super().__init__()
        self.model, self.method, self.temperature = model, method, temperature
        self.accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
        self.loss_mean = keras.metrics.Mean(name="loss")

    def train_step(self, batch: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        images, targets = batch
        with tf.GradientTape() as tape:
            losses, logits = self.method(self.model, images, targets, self.temperature)
            loss = tf.reduce_mean(losses)
        weights = self.model.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        return self._measured(losses, logits, targets)

    def test_step(self, batch: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        images, targets = batch
        logits = self.model(images, training=False)
        losses = keras.losses.categorical_crossentropy(targets, logits / self.temperature, from_logits=True)
        return self._measured(losses, logits, targets)

    def _measured(self, losses: tf.Tensor, logits: tf.Tensor, targets: tf.Tensor) -> dict[str, tf.Tensor]:
        self.accuracy.update_state(targets, logits)
        self.loss_mean.update_state(losses)
        return {metric.name: metric.result() for metric in (self.accuracy, self.loss_mean)}


def falling(start: float, images: int, batch_size: int, epochs: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return a learning rate that falls along half a cosine, to 0 after the last batch (Loshchilov and Hutter 2017)."""
    return keras.optimizers.schedules.CosineDecay(start, epochs * -(-images // batch_size))


def shuffled_batches(arrays: Sequence[Array], batch_size: int, seed: int) -> tf.data.Dataset:
    """Return batches of the rows of several arrays (N, ...) side by side, in an order that each epoch draws anew.

    The orders depend on the seed alone. The last batch of an epoch holds what is left.
    """
    whole = [tf.constant(array) for array in arrays]
    rows = tf.data.Dataset.range(len(arrays[0])).shuffle(len(arrays[0]), seed=seed).batch(batch_size)
    return rows.map(lambda chosen: tuple(tf.gather(array, chosen) for array in whole)).prefetch(STEPS_AT_ONCE)


def whole_batches(arrays: Sequence[Array]) -> tf.data.Dataset:
    """Return large batches of the rows of several arrays (N, ...) side by side, in their order, to judge a model by."""
    return tf.data.Dataset.from_tensor_slices(tuple(arrays)).batch(PREDICTED_AT_ONCE)


def one_hot(labels: Array, n_classes: int) -> Array:
    """Turn labels (N,) into float32 (N, n_classes)."""
    return np.eye(n_classes, dtype=np.float32)[labels]


def predict_logits(model: keras.Model, images: Array, batch_size: int = PREDICTED_AT_ONCE) -> Array:
    """Return logits (N, K) of float32 images (N, H, W, C) in [0, 1]."""
    logits: Array = model.predict(images, batch_size=batch_size, verbose=0)
    return logits


def evaluate(model: keras.Model, images: Array, labels: Array, *, temperature: float = 1.0) -> dict[str, Any]:
    """Return `accuracy` and `loss`, the mean cross-entropy of softmax(logits / temperature)."""
    logits = predict_logits(model, images)
    losses = keras.ops.sparse_categorical_crossentropy(labels, logits / temperature, from_logits=True)
    return {"accuracy": float(np.mean(logits.argmax(axis=1) == labels)), "loss": float(np.mean(losses))}
