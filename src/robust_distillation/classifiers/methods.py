"""Training methods: what a step of training does with a batch."""

from typing import Protocol

import keras
import tensorflow as tf


class Method(Protocol):
    """The loss of a batch, which is all that a method decides; the trainer does the rest."""

    def __call__(
        self, model: keras.Model, images: tf.Tensor, targets: tf.Tensor, temperature: float
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Compute losses inside a graph, differentiably in the model's weights.

        Args:
            model: images to logits; to be called with `training=True` where it learns.
            images: float32 (N, H, W, C) in [0, 1]; a method may perturb them.
            targets: float32 (N, K), one-hot or soft labels.
            temperature: divides the logits.

        Returns:
            Losses (N,), and the logits (N, K), not divided, by which accuracy is told.
        """


def standard(
    model: keras.Model, images: tf.Tensor, targets: tf.Tensor, temperature: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cross-entropy between the targets and softmax(logits / temperature), on the images as they are."""
    logits = model(images, training=True)
    return keras.losses.categorical_crossentropy(targets, logits * (1 / temperature), from_logits=True), logits
