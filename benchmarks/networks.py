"""Networks that were compared with `srn`; each standardises its images, halves them at once and has SiLU."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

Shape = tuple[int, ...]


def lean(shape: Shape, n_classes: int) -> keras.Model:
    """Three residual blocks of 32, 64 and 160 channels."""
    return _residual(shape, n_classes, (32, 64, 160), "lean")


def wide(shape: Shape, n_classes: int) -> keras.Model:
    """Three residual blocks of 48, 96 and 192 channels."""
    return _residual(shape, n_classes, (48, 96, 192), "wide")


def _residual(shape: Shape, n_classes: int, widths: Sequence[int], name: str) -> keras.Model:
    image = keras.Input(shape)
    x = layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False, epsilon=1e-2)(image)
    x = layers.Conv2D(widths[0], 4, strides=2, padding="same", use_bias=False)(x)
    for number, channels in enumerate(widths):
        x = _block(x, channels, 2 if number else 1)
    x = layers.Activation("silu")(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    return keras.Model(image, layers.Dense(n_classes)(x), name=name)


def _block(x: Any, channels: int, stride: int) -> Any:
    activated = layers.Activation("silu")(layers.BatchNormalization(momentum=0.9)(x))
    shortcut = layers.Conv2D(channels, 1, strides=stride, use_bias=False)(activated)
    x = layers.Conv2D(channels, 3, padding="same", strides=stride, use_bias=False)(activated)
    x = layers.Activation("silu")(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
    return layers.Add()([x, shortcut])
