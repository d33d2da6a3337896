"""Robust distillation: the student learns the teacher's answers on images as an adversary makes them.

They need a teacher. `batch.targets` are its soft labels on the images as they are, `batch.teach` asks it of others.
"""

import keras
import tensorflow as tf

from robust_distillation.classifiers.methods.adversarial import PGD
from robust_distillation.classifiers.methods.method import Batch, cross_entropy, divergence

HARD = 0.1  # ARD: the share of the loss that hard labels on clean images have, from the range of the paper's table 8
CLEAN = 1 / 6  # RSLAD: the share of the loss that clean images have


class ARD(PGD):
    """Adversarially robust distillation (Goldblum et al. 2020, equation 3).

    The adversary ascends the loss of the hard labels. On what it makes, the student learns the teacher's soft labels of
    the clean image, and on the clean image the hard labels.
    """

    def __call__(self, model: keras.Model, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Method`."""
        adversarial = self.perturb(model, batch, lambda logits: cross_entropy(batch.labels, logits, self.temperature))
        logits = model(batch.images, training=True)
        moved = model(tf.stop_gradient(adversarial), training=True)
        soft = divergence(batch.targets, moved, self.temperature)
        return (1 - HARD) * soft + HARD * cross_entropy(batch.labels, logits, self.temperature), logits


class RSLAD(PGD):
    """Robust soft label adversarial distillation (Zi et al. 2021, equation 5): soft labels everywhere."""

    def __call__(self, model: keras.Model, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Method`."""
        adversarial = self.perturb(model, batch, lambda logits: divergence(batch.targets, logits, self.temperature))
        logits = model(batch.images, training=True)
        moved = model(tf.stop_gradient(adversarial), training=True)
        clean, attacked = (divergence(batch.targets, answers, self.temperature) for answers in (logits, moved))
        return CLEAN * clean + (1 - CLEAN) * attacked, logits


class AdaAD(PGD):
    """Adaptive adversarial distillation (Huang et al. 2023, equation 6).

    The adversary looks for where student and teacher differ, and the student learns the teacher's answer there.
    """

    def __call__(self, model: keras.Model, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Method`."""
        adversarial = tf.stop_gradient(self._where_they_differ(model, batch))
        logits = model(adversarial, training=True)
        return divergence(batch.teach(adversarial), logits, self.temperature), logits

    def _where_they_differ(self, model: keras.Model, batch: Batch) -> tf.Tensor:
        def both(images: tf.Tensor) -> tf.Tensor:
            return tf.concat([model(images, training=False), batch.teach(images)], axis=1)

        def differing(answers: tf.Tensor) -> tf.Tensor:
            logits, taught = tf.split(answers, 2, axis=1)
            return divergence(taught, logits, self.temperature)

        return self.climb(both, batch, differing)
