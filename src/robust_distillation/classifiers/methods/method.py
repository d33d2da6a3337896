"""What a training method is, and the plain one.

Inside a graph, each method is called with the model, the batch and what it may need to know of the training so far. It
returns losses and logits; the trainer takes the gradient. Perturbations are computed as constants: no gradient runs
through the adversary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import keras
import tensorflow as tf

from robust_distillation.classifiers.settings import Training

HOST = "/device:CPU:0"  # where what is as large as a training set lies, also when a graphics card learns from it

Loss = Callable[[tf.Tensor], tf.Tensor]  # logits (N, K) to losses (N,)


@dataclass(frozen=True)
class Batch:
    """What a step trains on.

    Attributes:
        images: float32 (N, H, W, C) in [0, 1].
        targets: float32 (N, K), one-hot or soft labels.
        rows: integers (N,), the images' places in the training set.
        progress: scalar in [0, 1), the share of the training that is done.
        seed: integers (2,), for stateless draws; another one in each step.
        labels: float32 (N, K), one-hot where `targets` are soft.
        teach: the teacher's soft labels (N, K) of any images; without a teacher, an error.
    """

    images: tf.Tensor
    targets: tf.Tensor
    rows: tf.Tensor
    progress: tf.Tensor
    seed: tf.Tensor
    labels: tf.Tensor
    teach: Callable[[tf.Tensor], tf.Tensor]


class Method(Protocol):
    """One way to train, made of the settings, the temperature and the shape (N, H, W, C) of the training set."""

    def __init__(self, settings: Training, temperature: float, shape: tuple[int, ...]) -> None: ...

    def __call__(self, model: keras.Model, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Return losses (N,) and logits (N, K), by which accuracy is told, differentiably in the model's weights."""


def cross_entropy(targets: tf.Tensor, logits: tf.Tensor, temperature: float) -> tf.Tensor:
    """Return the cross-entropy (N,) between targets and softmax(logits / temperature)."""
    return keras.losses.categorical_crossentropy(targets, logits * (1 / temperature), from_logits=True)


def ascend(loss: Loss, model: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> tf.Tensor:
    """Return the sign of the gradient of the summed losses with respect to images (N, H, W, C)."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        total = tf.reduce_sum(loss(model(images)))
    return tf.sign(tape.gradient(total, images))


def within(images: tf.Tensor, centres: tf.Tensor, epsilon: tf.Tensor | float) -> tf.Tensor:
    """Project images to the ball around their centres and to [0, 1]."""
    return tf.clip_by_value(tf.clip_by_value(images, centres - epsilon, centres + epsilon), 0.0, 1.0)


def climb(
    answer: Callable[[tf.Tensor], tf.Tensor],
    loss: Loss,
    start: tf.Tensor,
    centres: tf.Tensor,
    epsilon: tf.Tensor | float,
    steps: int,
) -> tf.Tensor:
    """Return images in the ball around their centres and in [0, 1] for which a loss of what `answer` gives is large."""
    size = 2.5 * epsilon / steps

    def step(images: tf.Tensor) -> tuple[tf.Tensor]:
        return (within(images + size * ascend(loss, answer, images), centres, epsilon),)

    climbed: tf.Tensor = tf.while_loop(lambda _: True, step, (start,), maximum_iterations=steps)[0]
    return climbed


def divergence(targets: tf.Tensor, logits: tf.Tensor, temperature: float) -> tf.Tensor:
    """Return the KL divergence (N,) of softmax(logits / temperature) from targets (N, K)."""
    found = tf.nn.log_softmax(logits * (1 / temperature))
    wanted = tf.math.log(tf.maximum(targets, 1e-12))
    return tf.reduce_sum(targets * (wanted - found), axis=1)


@dataclass
class Made:
    """What all methods know.

    Attributes:
        watched: whether accuracy under attack is measured in each epoch, see `Watch`.
    """

    watched: ClassVar[bool] = True

    settings: Training
    temperature: float
    shape: tuple[int, ...]


class Standard(Made):
    """The images as they are."""

    watched = False

    def __call__(self, model: keras.Model, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Method`."""
        logits = model(batch.images, training=True)
        return cross_entropy(batch.targets, logits, self.temperature), logits
