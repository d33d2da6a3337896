"""Geometry of the L-infinity and L2 balls, inside a TensorFlow graph. Images are (N, H, W, C)."""

from typing import Any, Literal

import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array

Norm = Literal["linf", "l2"]
SMALLEST = 1e-12
AXES = (1, 2, 3)


def length(change: Any, norm: Norm) -> tf.Tensor:
    """Return the norm of each change: (N,)."""
    if norm == "linf":
        return tf.reduce_max(tf.abs(change), AXES)
    return tf.sqrt(tf.reduce_sum(tf.square(change), AXES))


def dual_length(gradient: Any, norm: Norm) -> tf.Tensor:
    """Return how much a function with each gradient can grow at most per unit of the norm: (N,)."""
    return tf.reduce_sum(tf.abs(gradient), AXES) if norm == "linf" else length(gradient, "l2")


def per_image(values: Any) -> tf.Tensor:
    """Shape values (N,) so that they multiply images: (N, 1, 1, 1)."""
    return tf.reshape(values, (-1, 1, 1, 1))


def steepest(gradient: tf.Tensor, norm: Norm) -> tf.Tensor:
    """Return the direction of unit norm in which a function with this gradient grows fastest; 0 where it is 0."""
    if norm == "linf":
        return tf.sign(gradient)
    # Divided by its largest entry first, a gradient of 1e-30 keeps its direction in float32.
    scaled = gradient / tf.maximum(per_image(length(gradient, "linf")), np.finfo(np.float32).tiny)
    return scaled / tf.maximum(per_image(length(scaled, "l2")), SMALLEST)


def project(images: tf.Tensor, centres: tf.Tensor, epsilon: Any, norm: Norm) -> tf.Tensor:
    """Return the images pulled into the ball of radius `epsilon` around `centres` and into [0, 1].

    Clipping to [0, 1] after the L2 projection cannot leave the ball, for the centres lie in [0, 1].
    """
    if norm == "linf":
        return tf.clip_by_value(images, tf.maximum(centres - epsilon, 0.0), tf.minimum(centres + epsilon, 1.0))
    change = images - centres
    shrink = tf.minimum(1.0, epsilon / tf.maximum(length(change, "l2"), SMALLEST))
    return tf.clip_by_value(centres + change * per_image(shrink), 0.0, 1.0)


def random_start(images: Array, draws: list[np.random.Generator], epsilon: float, norm: Norm) -> Array:
    """Return one random point of each image's ball, uniform in it, clipped to [0, 1].

    Args:
        images: float32 (N, H, W, C) in [0, 1].
        draws: one generator per image.
        epsilon: radius.
        norm: of the ball.
    """
    shape, size = images.shape[1:], images[0].size
    if norm == "linf":
        noise = [draw.uniform(-epsilon, epsilon, shape) for draw in draws]
    else:
        noise = []
        for draw in draws:
            direction = draw.standard_normal(shape)
            radius = epsilon * draw.uniform() ** (1 / size)
            noise.append(direction * radius / np.linalg.norm(direction))
    return clipped(images + np.stack(noise))


def clipped(values: Array) -> Array:
    """Return values of any shape clipped to [0, 1], float32."""
    return np.clip(values, 0, 1).astype(np.float32)
