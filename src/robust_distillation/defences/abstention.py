"""Abstention: the student returns null where dropout passes, a close second or an outlier class say it is unsure."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.classifiers.training import predict_logits
from robust_distillation.defences import settings
from robust_distillation.defences.distillation import soften
from robust_distillation.defences.dropout import DropoutSampler

SMALLEST = 1e-12
STORED = ("measure", "passes", "seed", "class_distributions", "threshold", "temperature")
ASKED = {  # by measure, the network's name among the defence's
    "passes": "student",
    "nearest_class": "student",
    "margin": "student",
    "outlier": "outlier",
}


@dataclass(frozen=True)
class Abstention:
    """A student's uncertainty, and the threshold above which it abstains.

    Attributes:
        student: a functional model that returns logits; for `outlier` those of an outlier class too, the last.
        measure: `passes`, the mean KL divergence of dropout passes from their mean (Gal and Ghahramani 2016 for the
            passes), `nearest_class`, the KL divergence of their mean from the nearest class distribution, or, without
            dropout, `margin`, 1 minus how much likelier the best class is than the second (Scheffer et al. 2001), or
            `outlier`, the probability of the outlier class (Papernot and McDaniel 2017).
        passes: number of dropout passes.
        seed: of the dropout masks.
        class_distributions: (K, K), row c the mean prediction over training images of class c.
        threshold: an uncertainty above it makes the student abstain.
        temperature: at which predictions are compared; those of a student that was distilled at a high one
            are all 0 or 1 at 1.

    Example:
        >>> distributions = [[1.0, 0.0], [0.0, 1.0]]
        >>> unsure = rd.Abstention(model, "nearest_class", 10, seed=1, class_distributions=distributions, threshold=0.4)
        >>> unsure.uncertainty(images[:6]) > unsure.threshold
        array([False, False, False,  True,  True,  True])
    """

    student: keras.Model
    measure: Literal["passes", "nearest_class", "margin", "outlier"]
    passes: int
    seed: int
    class_distributions: list[list[float]]
    threshold: float = float("inf")
    temperature: float = 1.0

    @property
    def networks(self) -> dict[str, keras.Model]:
        """The student, by the name that it has among a defence's networks."""
        return {ASKED[self.measure]: self.student}

    @property
    def settings(self) -> dict[str, Any]:
        """The other attributes."""
        return {name: value for name, value in vars(self).items() if name in STORED}

    @cached_property
    def _sampler(self) -> "DropoutSampler":
        with tf.init_scope():  # It may first be needed while a graph is traced, where no weights can be copied.
            return DropoutSampler(self.student, passes=self.passes, seed=self.seed)

    def answer(self, images: Array) -> tuple[Array, Array]:
        """Return logits (N, K) of the classes and the uncertainty (N,), at least 0, of images, each by itself.

        Args:
            images: float32 (N, H, W, C) in [0, 1].
        """
        if self.measure == "outlier":
            logits = predict_logits(self.student, images)
            return logits[:, :-1], soften(logits, 1.0)[:, -1]
        if self.measure == "margin":
            logits = predict_logits(self.student, images)
            return logits, np.asarray(closeness(soften(logits, self.temperature)))
        logits, passes = self._sampler.predict_logits(images)
        return logits, np.asarray(self._divergence(tf.nn.softmax(passes / self.temperature)))

    def uncertainty(self, images: Array) -> Array:
        """Return the uncertainty (N,) of images (N, H, W, C), see `answer`."""
        return self.answer(images)[1]

    def judge(self, images: tf.Tensor, temperature: float) -> tuple[tf.Tensor, tf.Tensor]:
        """Return logits (N, K) of the classes and log(uncertainty / threshold) (N,), above 0 where it abstains.

        Both are differentiable by the images (N, H, W, C). The gradient of the second is that of
        softmax(logits / temperature), for at its own the student may be so sure that its uncertainty has none; of
        `margin` that of the difference of the two best logits / temperature, by which attacks find more. Of an outlier
        class the log odds are compared instead, which are a difference of logits, and have a gradient however
        sure the student is.
        """
        if self.measure == "outlier":
            logits = self.student(images, training=False)
            odds = max(self.threshold, SMALLEST) / max(1 - self.threshold, SMALLEST)
            return logits[:, :-1], logits[:, -1] - tf.reduce_logsumexp(logits[:, :-1], axis=1) - math.log(odds)
        if self.measure == "margin":
            logits = self.student(images, training=False)
            exact = self._beyond(closeness(tf.nn.softmax(logits / self.temperature)))
            smooth = -lead(logits / temperature)
        else:
            logits, passes = self._sampler.logits(images)
            exact, smooth = (
                self._beyond(self._divergence(tf.nn.softmax(passes / t))) for t in (self.temperature, temperature)
            )
        return logits, smooth + tf.stop_gradient(exact - smooth)

    def _beyond(self, uncertainty: tf.Tensor) -> tf.Tensor:
        return tf.math.log((uncertainty + SMALLEST) / (self.threshold + SMALLEST))

    def _divergence(self, probabilities: Any) -> tf.Tensor:
        if self.measure == "passes":
            return divergence_from_mean(probabilities)
        return divergence_from_nearest(tf.reduce_mean(probabilities, axis=0), self.class_distributions)


def class_distributions(student: keras.Model, images: Array, labels: Array, temperature: float = 1.0) -> Array:
    """Return the mean prediction at a temperature, (K, K), over the training images of each class.

    Raises:
        ValueError: a class has no image.
    """
    probabilities = soften(predict_logits(student, images), temperature)
    n_classes = probabilities.shape[1]
    missing = sorted(set(range(n_classes)) - set(labels.tolist()))
    if missing:
        raise ValueError(f"classes without a training image: {missing}")
    return np.stack([probabilities[labels == label].mean(axis=0) for label in range(n_classes)])


def fit_abstention(
    network: keras.Model,
    student: keras.Model,
    asked: settings.Abstention,
    *,
    training: tuple[Array, Array],
    validation: Array,
) -> Abstention:
    """Return the abstention of a student that answers the share of validation images which is asked.

    Args:
        network: as it was trained, with an outlier class if it learned one; the measure `outlier` asks it.
        student: what is deployed of it.
        asked: measure, passes, temperature, coverage and seed.
        training: images, float32 (N, H, W, C) in [0, 1], and their labels (N,), for the class distributions.
        validation: images as the student sees them.
    """
    unsure = Abstention(
        network if asked.measure == "outlier" else student,
        asked.measure,
        asked.passes,
        asked.seed,
        class_distributions(student, *training, asked.temperature).tolist(),
        temperature=asked.temperature,
    )
    return replace(unsure, threshold=infer_threshold(unsure.uncertainty(validation), asked.coverage))


def infer_threshold(uncertainty: Array, coverage: float) -> float:
    """Return the smallest threshold at which at least a share `coverage` of the images (N,) is answered."""
    return float(np.quantile(uncertainty, coverage, method="inverted_cdf"))


def lead(values: Any) -> tf.Tensor:
    """Return by how much the largest value of each row (N, K) is above the second: (N,), at least 0."""
    best, second = tf.unstack(tf.math.top_k(values, 2).values, axis=-1)
    return best - second


def closeness(probabilities: Any) -> tf.Tensor:
    """Return 1 minus how much likelier the best class is than the second, of (N, K): (N,) in [0, 1]."""
    return 1 - lead(probabilities)


def divergence_from_mean(probabilities: Any) -> tf.Tensor:
    """Return mean_k KL(p_k || mean p) for passes (P, N, K): (N,) in nats, 0 where all passes agree."""
    return tf.reduce_mean(_kl(probabilities, tf.reduce_mean(probabilities, axis=0)), axis=0)


def divergence_from_nearest(probabilities: Any, distributions: Any) -> tf.Tensor:
    """Return min_c KL(p || distribution of class c) for predictions (N, K) and distributions (K, K): (N,) in nats."""
    return tf.reduce_min(_kl(probabilities[:, None], tf.cast(distributions, probabilities.dtype)[None]), axis=1)


def _kl(p: Any, q: Any) -> tf.Tensor:
    p, q = tf.maximum(p, SMALLEST), tf.maximum(q, SMALLEST)
    return tf.maximum(tf.reduce_sum(p * tf.math.log(p / q), axis=-1), 0)
