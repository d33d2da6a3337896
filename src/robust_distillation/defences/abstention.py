"""Dropout inference: the student returns null where its own dropout passes say that it does not know."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from robust_distillation.arrays import Array
from robust_distillation.classifiers.training import predict_logits
from robust_distillation.defences.distillation import soften

SMALLEST = 1e-12
STORED = ("measure", "passes", "seed", "class_distributions", "threshold")


@dataclass(frozen=True)
class Abstention:
    """A student's uncertainty, and the threshold above which it abstains.

    Attributes:
        student: a functional model that returns logits.
        measure: `passes`, the mean KL divergence of dropout passes from their mean (Gal and Ghahramani 2016 for the
            passes), or `nearest_class`, the KL divergence of their mean from the nearest class distribution.
        passes: number of dropout passes.
        seed: of the dropout masks.
        class_distributions: (K, K), row c the mean prediction over training images of class c.
        threshold: an uncertainty above it makes the student abstain.

    Example:
        >>> distributions = [[1.0, 0.0], [0.0, 1.0]]
        >>> unsure = rd.Abstention(model, "nearest_class", 10, seed=1, class_distributions=distributions, threshold=0.4)
        >>> unsure.uncertainty(images[:6]) > unsure.threshold
        array([False, False, False,  True,  True,  True])
    """

    student: keras.Model
    measure: Literal["passes", "nearest_class"]
    passes: int
    seed: int
    class_distributions: list[list[float]]
    threshold: float = float("inf")

    @property
    def networks(self) -> dict[str, keras.Model]:
        """The student."""
        return {"student": self.student}

    @property
    def settings(self) -> dict[str, Any]:
        """The other attributes."""
        return {name: value for name, value in vars(self).items() if name in STORED}

    @cached_property
    def _sampler(self) -> "DropoutSampler":
        with tf.init_scope():  # It may first be needed while a graph is traced, where no weights can be copied.
            return DropoutSampler(self.student, passes=self.passes, seed=self.seed)

    def uncertainty(self, images: Array) -> Array:
        """Return the uncertainty (N,), at least 0, of float32 images (N, H, W, C); each image's is its own alone."""
        return np.asarray(self._divergence(self._sampler.predict(images)))

    def margin(self, images: tf.Tensor, temperature: float) -> tf.Tensor:
        """Return log(uncertainty / threshold) (N,) of images (N, H, W, C), differentiably: above 0 it abstains.

        The gradient is that of softmax(logits / temperature), for a student that was distilled at a high temperature is
        so sure at 1 that its uncertainty has none.
        """
        logits = self._sampler.logits(images)
        exact, smooth = (
            tf.math.log((self._divergence(tf.nn.softmax(logits / t)) + SMALLEST) / (self.threshold + SMALLEST))
            for t in (1.0, temperature)
        )
        return smooth + tf.stop_gradient(exact - smooth)

    def _divergence(self, probabilities: Any) -> tf.Tensor:
        if self.measure == "passes":
            return divergence_from_mean(probabilities)
        return divergence_from_nearest(tf.reduce_mean(probabilities, axis=0), self.class_distributions)


def class_distributions(student: keras.Model, images: Array, labels: Array) -> Array:
    """Return the mean prediction (K, K) over the training images of each class.

    Raises:
        ValueError: a class has no image.
    """
    probabilities = soften(predict_logits(student, images), 1.0)
    n_classes = probabilities.shape[1]
    missing = sorted(set(range(n_classes)) - set(labels.tolist()))
    if missing:
        raise ValueError(f"classes without a training image: {missing}")
    return np.stack([probabilities[labels == label].mean(axis=0) for label in range(n_classes)])


def infer_threshold(uncertainty: Array, coverage: float) -> float:
    """Return the smallest threshold at which at least a share `coverage` of the images (N,) is answered."""
    return float(np.quantile(uncertainty, coverage, method="inverted_cdf"))


def divergence_from_mean(probabilities: Any) -> tf.Tensor:
    """Return mean_k KL(p_k || mean p) for passes (P, N, K): (N,) in nats, 0 where all passes agree."""
    return tf.reduce_mean(_kl(probabilities, tf.reduce_mean(probabilities, axis=0)), axis=0)


def divergence_from_nearest(probabilities: Any, distributions: Any) -> tf.Tensor:
    """Return min_c KL(p || distribution of class c) for predictions (N, K) and distributions (K, K): (N,) in nats."""
    return tf.reduce_min(_kl(probabilities[:, None], tf.cast(distributions, probabilities.dtype)[None]), axis=1)


def _kl(p: Any, q: Any) -> tf.Tensor:
    p, q = tf.maximum(p, SMALLEST), tf.maximum(q, SMALLEST)
    return tf.maximum(tf.reduce_sum(p * tf.math.log(p / q), axis=-1), 0)


class DropoutSampler:
    """Predicts several times with dropout on and everything else, batch normalisation included, at inference.

    Pass k draws its dropout masks from (seed, k) and uses them for every image, so an image's answer depends neither
    on the other images of its batch nor on their order. What lies before the first dropout is computed once, and the
    rest for all passes at once.

    Args:
        model: a functional model that returns logits.
        passes: P.
        seed: of the masks.
    """

    def __init__(self, model: keras.Model, *, passes: int, seed: int) -> None:
        before, after = _split(_with_masks(model, passes, seed))

        def logits(batch: tf.Tensor) -> tf.Tensor:
            features = before(batch)
            answers = after(tf.tile(features, (passes, *(1,) * (len(features.shape) - 1))))
            return tf.reshape(answers, (passes, -1, answers.shape[1]))

        self.logits: Callable[[tf.Tensor], tf.Tensor] = tf.function(logits, reduce_retracing=True)

    def predict(self, images: Array, batch_size: int = 256) -> Array:
        """Return probabilities, float32 (P, N, K), of float32 images (N, H, W, C) in [0, 1]."""
        starts = range(0, len(images), batch_size)
        return np.concatenate(
            [tf.nn.softmax(self.logits(images[start : start + batch_size])).numpy() for start in starts], axis=1
        )


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
    drawing = [layer for layer in model.layers if isinstance(layer, _Masks)]
    if not drawing:
        return model, identity
    try:
        return keras.Model(model.input, drawing[0].input), keras.Model(drawing[0].input, model.output)
    except ValueError:  # Keras: the output cannot be computed from the dropout's input alone.
        return identity, model


def _with_masks(model: keras.Model, passes: int, seed: int) -> keras.Model:
    """Clone a model so that its dropout is always on, with one mask for each pass."""

    def clone(layer: layers.Layer) -> layers.Layer:
        if isinstance(layer, layers.Dropout) and layer.rate > 0:
            return _Masks(_draw_masks(layer, passes, seed))
        return layer.__class__.from_config(layer.get_config())

    sampler = keras.models.clone_model(model, clone_function=clone)
    sampler.set_weights(model.get_weights())
    return sampler


def _draw_masks(layer: layers.Dropout, passes: int, seed: int) -> tf.Tensor:
    """Return what a dropout layer multiplies its input by, in each pass: (P, 1, ...)."""
    drawing = layers.Dropout(layer.rate, seed=0)
    masks = []
    for number in range(passes):
        drawing.seed_generator.state.assign([seed, number])
        masks.append(drawing(tf.ones((1, *layer.output.shape[1:])), training=True))
    return tf.stack(masks)
