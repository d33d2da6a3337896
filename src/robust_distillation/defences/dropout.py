"""Dropout passes: what a network says when its dropout is left on (Gal and Ghahramani 2016)."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from robust_distillation.arrays import Array


class DropoutSampler:
    """Predicts several times with dropout on and everything else, batch normalisation included, at inference.

    Pass k draws its dropout masks from (seed, k) and uses them for every image, so an image's answer depends neither
    on the other images of its batch nor on their order. What lies before the first dropout is computed once, and the
    rest for all passes, and without dropout, at once.

    Args:
        model: a functional model that returns logits.
        passes: P.
        seed: of the masks.
    """

    def __init__(self, model: keras.Model, *, passes: int, seed: int) -> None:
        (before, after), (_, without) = _split(_with_masks(model, passes, seed)), _split(model)

        def logits(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            features = before(batch)
            answers = after(tf.tile(features, (passes, *(1,) * (len(features.shape) - 1))))
            return without(features), tf.reshape(answers, (passes, -1, answers.shape[1]))

        self.logits: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]] = tf.function(logits, reduce_retracing=True)

    def predict_logits(self, images: Array, batch_size: int = 256) -> tuple[Array, Array]:
        """Return logits without dropout, float32 (N, K), and of the passes (P, N, K).

        Args:
            images: float32 (N, H, W, C) in [0, 1].
            batch_size: of them at once.
        """
        starts = range(0, len(images), batch_size)
        alone, passes = zip(*(self.logits(images[start : start + batch_size]) for start in starts), strict=True)
        return np.concatenate(alone), np.concatenate(passes, axis=1)


class _Masks(layers.Layer):  # type: ignore[misc]  # Keras has no stubs
    """Dropout with masks (P, 1, ...) that are drawn already, on the batches of P passes one after the other."""

    def __init__(self, masks: tf.Tensor) -> None:
        super().__init__()
        self.masks = masks

    def call(self, batch: tf.Tensor) -> tf.Tensor:
        apart = tf.reshape(batch, (len(self.masks), -1, *batch.shape[1:]))
        return tf.reshape(apart * self.masks, tf.shape(batch))


def _split(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cut a model where its first dropout begins, or not at all where another path leads around that dropout."""
    identity = layers.Identity()
    drawing = [layer for layer in model.layers if isinstance(layer, _Masks) or _drops(layer)]
    if not drawing:
        return model, identity
    try:
        return keras.Model(model.input, drawing[0].input), keras.Model(drawing[0].input, model.output)
    except ValueError:  # Keras: the output cannot be computed from the dropout's input alone.
        return identity, model


def _with_masks(model: keras.Model, passes: int, seed: int) -> keras.Model:
    """Clone a model so that its dropout is always on, with one mask for each pass."""

    def clone(layer: layers.Layer) -> layers.Layer:
        if _drops(layer):
            return _Masks(_draw_masks(layer, passes, seed))
        return layer.__class__.from_config(layer.get_config())

    sampler = keras.models.clone_model(model, clone_function=clone)
    sampler.set_weights(model.get_weights())
    return sampler


def _drops(layer: layers.Layer) -> bool:
    return isinstance(layer, layers.Dropout) and layer.rate > 0


def _draw_masks(layer: layers.Dropout, passes: int, seed: int) -> tf.Tensor:
    """Return what a dropout layer multiplies its input by, in each pass: (P, 1, ...)."""
    drawing = layers.Dropout(layer.rate, seed=0)
    masks = []
    for number in range(passes):
        drawing.seed_generator.state.assign([seed, number])
        masks.append(drawing(tf.ones((1, *layer.output.shape[1:])), training=True))
    return tf.stack(masks)
