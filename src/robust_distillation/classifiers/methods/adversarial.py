"""Training on images as an adversary makes them."""

from collections.abc import Callable

import keras
import tensorflow as tf

from robust_distillation.classifiers.methods.method import (
    HOST,
    Batch,
    Loss,
    Made,
    ascend,
    climb,
    cross_entropy,
    divergence,
    within,
)
from robust_distillation.classifiers.settings import Adversary, Training


class Adversarial(Made):
    """What the adversarial methods share."""

    @property
    def adversary(self) -> Adversary:
        """The settings of the adversary."""
        return self.settings.adversary

    def epsilon(self, progress: tf.Tensor) -> tf.Tensor:
        """Return the radius at this point of the training: without a warm-up, training may never leave the prior."""
        grown = progress / max(self.adversary.warm_up, 1e-9)
        return tf.cast(self.adversary.epsilon, tf.float32) * tf.minimum(tf.cast(grown, tf.float32), 1.0)

    def loss(self, batch: Batch) -> Loss:
        """Return the loss that the adversary ascends."""
        return lambda logits: cross_entropy(batch.targets, logits, self.temperature)

    def learn(self, model: keras.Model, batch: Batch, adversarial: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return losses and logits on what the adversary made."""
        logits = model(tf.stop_gradient(adversarial), training=True)
        return cross_entropy(batch.targets, logits, self.temperature), logits


class MixedFGSM(Adversarial):
    """Runtime adversarial training: images as FGSM makes them beside clean ones (Goodfellow et al. 2015, section 6)."""

    def __call__(self, model: keras.Model, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Method`."""
        epsilon = self.epsilon(batch.progress)
        step = epsilon * ascend(self.loss(batch), lambda images: model(images, training=True), batch.images)
        both = tf.concat([batch.images, tf.clip_by_value(batch.images + step, 0.0, 1.0)], axis=0)
        clean, attacked = tf.split(model(tf.stop_gradient(both), training=True), 2)
        losses = [cross_entropy(batch.targets, logits, self.temperature) for logits in (clean, attacked)]
        return (losses[0] + losses[1]) / 2, attacked


class NoisyFGSM(Adversarial):
    """N-FGSM: one step from noise, of twice epsilon as published, not projected (de Jorge et al. 2022, algorithm 1)."""

    def __call__(self, model: keras.Model, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Method`."""
        epsilon = self.epsilon(batch.progress)
        far = self.adversary.noise * epsilon
        noisy = batch.images + far * tf.random.stateless_uniform(tf.shape(batch.images), batch.seed, -1.0, 1.0)
        step = epsilon * ascend(self.loss(batch), lambda images: model(images, training=True), noisy)
        return self.learn(model, batch, tf.clip_by_value(noisy + step, 0.0, 1.0))


class PGD(Adversarial):
    """Several steps from a random start in the ball (Madry et al. 2018, section 2.1), on the network at inference."""

    def __call__(self, model: keras.Model, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Method`."""
        return self.learn(model, batch, self.perturb(model, batch, self.loss(batch)))

    def perturb(self, model: keras.Model, batch: Batch, loss: Loss) -> tf.Tensor:
        """Return images in the ball and in [0, 1] for which a loss of the network's logits at inference is large."""
        return self.climb(lambda images: model(images, training=False), batch, loss)

    def climb(self, answer: Callable[[tf.Tensor], tf.Tensor], batch: Batch, loss: Loss) -> tf.Tensor:
        """Return images in the ball and in [0, 1] for which a loss of what `answer` gives them is large."""
        epsilon = self.epsilon(batch.progress)
        start = epsilon * tf.random.stateless_uniform(tf.shape(batch.images), batch.seed, -1.0, 1.0)
        inside = within(batch.images + start, batch.images, epsilon)
        return climb(answer, loss, inside, batch.images, epsilon, self.adversary.steps)


class TRADES(PGD):
    """Accuracy on clean images, and answers that do not change in the ball (Zhang et al. 2019, equation 5)."""

    def __call__(self, model: keras.Model, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Method`."""
        fixed = tf.nn.softmax(model(batch.images, training=False) * (1 / self.temperature))
        adversarial = self.perturb(model, batch, lambda logits: divergence(fixed, logits, self.temperature))
        logits = model(batch.images, training=True)
        clean = tf.nn.softmax(logits * (1 / self.temperature))
        moved = divergence(clean, model(tf.stop_gradient(adversarial), training=True), self.temperature)
        return cross_entropy(batch.targets, logits, self.temperature) + self.adversary.beta * moved, logits


class PriorGuidedFGSM(Adversarial):
    """FGSM-EP: one step from each image's perturbation of the last epoch (Jia et al. 2022, section 3.2).

    Perturbations are kept in steps of epsilon / 127, one byte a pixel.
    """

    def __init__(self, settings: Training, temperature: float, shape: tuple[int, ...]) -> None:
        super().__init__(settings, temperature, shape)
        # The last perturbation of each image, int8 (N, H, W, C). A graph in which it were made would be built twice.
        with tf.device(HOST):
            self.memory = tf.Variable(tf.zeros(shape, tf.int8), trainable=False)

    def __call__(self, model: keras.Model, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Method`."""
        return self.learn(model, batch, self.moved(model, batch)[1])

    def moved(self, model: keras.Model, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Return where each image starts and where its step ends, and keep that."""
        epsilon = self.epsilon(batch.progress)
        last = tf.cast(tf.gather(self.memory, batch.rows), tf.float32) / 127
        fresh = tf.random.stateless_uniform(tf.shape(batch.images), batch.seed, -1.0, 1.0)
        seen = tf.reduce_any(last != 0, axis=(1, 2, 3), keepdims=True)
        start = within(batch.images + epsilon * tf.where(seen, last, fresh), batch.images, epsilon)
        step = epsilon * ascend(self.loss(batch), lambda images: model(images, training=True), start)
        adversarial = within(start + step, batch.images, epsilon)
        share = (adversarial - batch.images) / tf.maximum(epsilon, 1e-6)
        kept = tf.cast(tf.round(127 * tf.clip_by_value(share, -1.0, 1.0)), tf.int8)
        self.memory.scatter_nd_update(batch.rows[:, None], kept)
        return start, adversarial


class RegularisedFGSM(PriorGuidedFGSM):
    """FGSM-PGI: FGSM-EP whose step is to change the logits little (Jia et al. 2022, section 3.3, equation 9)."""

    def __call__(self, model: keras.Model, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Method`."""
        both = tf.stop_gradient(tf.concat(self.moved(model, batch), axis=0))
        before, logits = tf.split(model(both, training=True), 2)
        changed = tf.reduce_mean(tf.square(logits - before), axis=1)
        return cross_entropy(batch.targets, logits, self.temperature) + self.adversary.beta * changed, logits
