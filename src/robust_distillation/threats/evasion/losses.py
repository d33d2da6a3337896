"""What attacks ascend: losses of logits (N, K) and labels (N,), one value per image, larger where the attack is nearer.

A targeted attack passes the target as the label and ascends the negative.
"""

from collections.abc import Callable

import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return -log softmax(logits)[label]."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def margin(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return the largest other logit less that of the label: positive where the model is fooled."""
    return best_other(logits, labels) - tf.gather(logits, labels, batch_dims=1)


def best_other(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return the largest logit of the classes other than the label: (N,)."""
    mine = tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False, dtype=tf.bool)
    return tf.reduce_max(tf.where(mine, logits.dtype.min, logits), axis=1)
