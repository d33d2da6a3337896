"""Training on images with Gaussian noise, for base classifiers of randomized smoothing."""

from collections.abc import Callable

import keras
import tensorflow as tf

from robust_distillation.classifiers.methods.method import Batch, Made, cross_entropy
from robust_distillation.classifiers.settings import Smoothing


class Noisy(Made):
    """What the methods share."""

    watched = False

    @property
    def smoothing(self) -> Smoothing:
        """The settings of the noise."""
        return self.settings.smoothing

    def draws(self, batch: Batch, count: int) -> tf.Tensor:
        """Return noise (M, N, H, W, C)."""
        shape = tf.concat([[count], tf.shape(batch.images)], axis=0)
        return tf.random.stateless_normal(shape, batch.seed, stddev=self.smoothing.sigma)

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Return softmax(logits / temperature)."""
        return tf.nn.softmax(logits * (1 / self.temperature))


class Gaussian(Noisy):
    """One draw for each image (Cohen et al. 2019, section 3.3)."""

    def __call__(self, model: keras.Model, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Method`."""
        logits = model(batch.images + self.draws(batch, 1)[0], training=True)
        return cross_entropy(batch.targets, logits, self.temperature), logits


class Consistency(Noisy):
    """Several draws whose answers are to agree, and to be sure (Jeong and Shin 2020, equation 8)."""

    def __call__(self, model: keras.Model, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Method`."""
        logits = _each(
            lambda images: model(images, training=True), batch.images + self.draws(batch, self.smoothing.draws)
        )
        answers = self.probabilities(logits)
        mean = tf.reduce_mean(answers, axis=0)
        logarithm = tf.math.log(tf.maximum(mean, 1e-12))
        apart = tf.reduce_sum(mean * (logarithm - tf.nn.log_softmax(logits * (1 / self.temperature))), axis=2)
        unsure = -tf.reduce_sum(mean * logarithm, axis=1)
        learned = tf.reduce_mean(_losses(batch, logits, self.temperature), axis=0)
        agreeing = self.smoothing.consistency * tf.reduce_mean(apart, axis=0) + self.smoothing.entropy * unsure
        return learned + agreeing, tf.reduce_mean(logits, axis=0)


class SmoothAdversarial(Noisy):
    """SmoothAdv: draws around images that mislead the mean over the same draws (Salman et al. 2019, equation 6)."""

    def __call__(self, model: keras.Model, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Method`."""
        noise = self.draws(batch, self.smoothing.draws)
        grown = tf.minimum(batch.progress / max(self.settings.adversary.warm_up, 1e-9), 1.0)
        far = self.climb(model, batch, noise, self.smoothing.radius * tf.cast(grown, tf.float32))
        logits = _each(lambda images: model(images, training=True), tf.stop_gradient(far) + noise)
        return tf.reduce_mean(_losses(batch, logits, self.temperature), axis=0), tf.reduce_mean(logits, axis=0)

    def climb(self, model: keras.Model, batch: Batch, noise: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
        """Return images in [0, 1] within a radius in L2 for which the mean answer is far from the targets."""
        steps = self.settings.adversary.steps

        def step(images: tf.Tensor) -> tuple[tf.Tensor]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(images)
                logits = _each(lambda noisy: model(noisy, training=False), images + noise)
                mean = tf.reduce_mean(self.probabilities(logits), axis=0)
                loss = -tf.reduce_sum(batch.targets * tf.math.log(tf.maximum(mean, 1e-12)))
            moved = images + 2 * radius / steps * _unit(tape.gradient(loss, images)) - batch.images
            length = tf.maximum(_length(moved), 1e-12)
            return (tf.clip_by_value(batch.images + moved * tf.minimum(1.0, radius / length), 0.0, 1.0),)

        climbed: tf.Tensor = tf.while_loop(lambda _: True, step, (batch.images,), maximum_iterations=steps)[0]
        return climbed


def _each(model: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> tf.Tensor:
    """Return the logits (M, N, K) of images (M, N, H, W, C), in one pass."""
    shape = tf.shape(images)
    logits = model(tf.reshape(images, (-1, *images.shape[2:])))
    return tf.reshape(logits, (shape[0], shape[1], logits.shape[1]))


def _losses(batch: Batch, logits: tf.Tensor, temperature: float) -> tf.Tensor:
    """Return the losses (M, N) of logits (M, N, K)."""
    return cross_entropy(tf.broadcast_to(batch.targets, tf.shape(logits)), logits, temperature)


def _length(change: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.reduce_sum(change**2, axis=(1, 2, 3), keepdims=True))


def _unit(change: tf.Tensor) -> tf.Tensor:
    return change / tf.maximum(_length(change), 1e-12)
