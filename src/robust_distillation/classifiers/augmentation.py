"""Variations of training images, inside the graph, and each a function of a seed alone."""

import tensorflow as tf

from robust_distillation.classifiers.settings import Augmentation

GREY = tf.constant([0.299, 0.587, 0.114])  # luma of ITU-R BT.601
BLUR = (0.25, 0.5, 0.25)


def augment(images: tf.Tensor, settings: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """Vary images, each by draws of its own.

    Args:
        images: float32 (N, H, W, C) in [0, 1], C 1 or 3.
        settings: how far each variation goes; those at 0 are left out.
        seed: integers (2,).

    Returns:
        Images of the same type, shape and range.
    """
    draws = _Draws(tf.shape(images)[0], seed)
    varied = images
    if settings.rotation or settings.scale or settings.shear or settings.shift:
        varied = _move(varied, settings, draws)
    if settings.brightness or settings.contrast or settings.saturation:
        varied = _light(varied, settings, draws)
    if settings.blur:
        varied = tf.where(draws.uniform(0.0, 1.0) < settings.blur, _blurred(varied), varied)
    if settings.cut_out:
        varied = _cut(varied, settings.cut_out, draws)
    return varied if varied is images else tf.clip_by_value(varied, 0.0, 1.0)


def mirror(
    images: tf.Tensor, targets: tf.Tensor, labels: tf.Tensor, becomes: tf.Tensor, share: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mirror some images, where what they show then is a class too, and label them so.

    Args:
        images: float32 (N, H, W, C).
        targets: float32 (N, K), soft labels or hard ones.
        labels: float32 (N, K), by which an image's class is told.
        becomes: integers (K,), the class that each class is in a mirror, and back; -1 for none.
        share: of the images that may be mirrored.
        seed: integers (2,).
    """
    drawn = _Draws(tf.shape(images)[0], seed + tf.constant([1, 0], seed.dtype)).uniform(0.0, 1.0)[:, 0, 0, 0]
    chosen = (tf.gather(becomes, tf.argmax(labels, axis=1)) >= 0) & (drawn < share)
    back = tf.where(becomes >= 0, becomes, tf.range(tf.size(becomes), dtype=becomes.dtype))
    images = tf.where(chosen[:, None, None, None], images[:, :, ::-1], images)
    swapped = (tf.where(chosen[:, None], tf.gather(given, back, axis=1), given) for given in (targets, labels))
    return images, *swapped


class _Draws:
    """Draws of one number for each image, of shape (N, 1, 1, 1); each call draws others."""

    def __init__(self, count: tf.Tensor, seed: tf.Tensor) -> None:
        self.count, self.seed, self.number = count, seed, 0

    def uniform(self, low: float, high: float) -> tf.Tensor:
        self.number += 1
        seed = self.seed + tf.constant([0, 7919 * self.number], self.seed.dtype)
        return tf.random.stateless_uniform((self.count, 1, 1, 1), seed, low, high)

    def around(self, centre: float, spread: float) -> tf.Tensor:
        return self.uniform(centre - spread, centre + spread)


def _move(images: tf.Tensor, settings: Augmentation, draws: _Draws) -> tf.Tensor:
    """Rotate, scale, shear and shift about the middle; edges are continued."""
    height, width = images.shape[1:3]
    angle, shear = draws.around(0, settings.rotation), draws.around(0, settings.shear)
    wide, high = draws.around(1, settings.scale), draws.around(1, settings.scale)
    cos, sin = tf.cos(angle), tf.sin(angle)
    a, b = wide * cos, wide * (shear * cos - sin)
    c, d = high * sin, high * (shear * sin + cos)
    x, y = (width - 1) / 2, (height - 1) / 2
    right = x - a * x - b * y + draws.around(0, settings.shift)
    down = y - c * x - d * y + draws.around(0, settings.shift)
    zero = tf.zeros_like(a)
    transforms = tf.reshape(tf.concat([a, b, right, c, d, down, zero, zero], axis=1), (-1, 8))
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=[height, width],
        interpolation="BILINEAR",
        fill_mode="NEAREST",
        fill_value=0.0,
    )


def _light(images: tf.Tensor, settings: Augmentation, draws: _Draws) -> tf.Tensor:
    """Change saturation, contrast and brightness, in this order."""
    if settings.saturation and images.shape[-1] == len(GREY):
        grey = tf.reduce_sum(images * GREY, axis=-1, keepdims=True)
        images = grey + (images - grey) * draws.around(1, settings.saturation)
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    images = mean + (images - mean) * draws.around(1, settings.contrast)
    return images + draws.around(0, settings.brightness)


def _blurred(images: tf.Tensor) -> tf.Tensor:
    """Blur by a binomial filter of three pixels a side; edges are continued."""
    channels = images.shape[-1]
    line = tf.constant(BLUR)
    kernel = tf.tile((line[:, None] * line)[:, :, None, None], (1, 1, channels, 1))
    padded = tf.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "SYMMETRIC")
    return tf.nn.depthwise_conv2d(padded, kernel, (1, 1, 1, 1), "VALID")


def _cut(images: tf.Tensor, side: int, draws: _Draws) -> tf.Tensor:
    """Put a grey square somewhere (DeVries and Taylor 2017); part of it may lie outside."""
    height, width = images.shape[1:3]
    top, left = (draws.uniform(-side / 2, size - side / 2) for size in (height, width))
    rows = tf.reshape(tf.range(height, dtype=tf.float32), (1, -1, 1, 1))
    columns = tf.reshape(tf.range(width, dtype=tf.float32), (1, 1, -1, 1))
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return tf.where(inside, 0.5, images)
