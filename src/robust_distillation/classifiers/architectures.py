"""Small, readable image classifiers by name. Each returns logits and holds no custom layer, so it loads anywhere."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

Shape = tuple[int, ...]  # height, width, channels
Architecture = Callable[[Shape, int], keras.Model]  # and number of classes

DARKEST = 5e-4  # variance of an image's pixels, about, below which standardising it lifts noise more than a sign


def lenet(shape: Shape, n_classes: int) -> keras.Model:
    """LeNet-5 (LeCun et al. 1998) with ReLU, max pooling and dropout."""
    image = keras.Input(shape)
    x = layers.Conv2D(6, 5, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(16, 5, activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(120, activation="relu")(x)
    x = layers.Dropout(0.3)(x)
    x = layers.Dense(84, activation="relu")(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(image, layers.Dense(n_classes)(x), name="lenet")


def cnn(shape: Shape, n_classes: int) -> keras.Model:
    """Three 3x3 convolutions of 24, 48 and 96 channels with batch normalisation, then one hidden layer."""
    image = keras.Input(shape)
    x = image
    for channels in (24, 48, 96):
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.ReLU()(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(0.3)(x)
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(image, layers.Dense(n_classes)(x), name="cnn")


def vgg(shape: Shape, n_classes: int) -> keras.Model:
    """Pairs of 3x3 convolutions between poolings, after VGG (Simonyan and Zisserman 2015), no batch normalisation."""
    image = keras.Input(shape)
    x = image
    for channels in (16, 32, 64):
        x = layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
        x = layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(image, layers.Dense(n_classes)(x), name="vgg")


def resnet(shape: Shape, n_classes: int) -> keras.Model:
    """Three pre-activation residual blocks (He et al. 2016) on halved images, then global average pooling."""
    image = keras.Input(shape)
    x = layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False)(image)
    for channels, stride in ((32, 1), (64, 2), (160, 2)):
        activated = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        shortcut = layers.Conv2D(channels, 1, strides=stride, use_bias=False)(activated)
        x = layers.Conv2D(channels, 3, strides=stride, padding="same", use_bias=False)(activated)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
        x = layers.Add()([x, shortcut])
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(image, layers.Dense(n_classes)(x), name="resnet")


def srn(shape: Shape, n_classes: int) -> keras.Model:
    """Standardised residual network: made to be trained adversarially on signs of any light.

    Each image is standardised inside the network, so that brightness and contrast count for nothing, and halved by the
    first convolution. Three pre-activation residual blocks of 48, 96 and 192 channels follow, with SiLU, which
    adversarial training likes better than ReLU (Xie et al. 2020). It has 0.7 million parameters.
    """
    return _standardised(shape, n_classes, (48, 96, 192), "srn")


def srn_small(shape: Shape, n_classes: int) -> keras.Model:
    """The network `srn` with 32, 64 and 160 channels: 0.4 million parameters, and twice as fast."""
    return _standardised(shape, n_classes, (32, 64, 160), "srn_small")


def srn_deep(shape: Shape, n_classes: int) -> keras.Model:
    """The network `srn` with two blocks of each of 48, 96 and 132 channels: for adversarial training of hours.

    It has 1.0 million parameters and takes nearly twice as long.
    """
    return _standardised(shape, n_classes, (48, 96, 132), "srn_deep", blocks=2)


def _standardised(shape: Shape, n_classes: int, widths: Sequence[int], name: str, *, blocks: int = 1) -> keras.Model:
    image = keras.Input(shape)
    x = layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False, epsilon=DARKEST)(image)
    x = layers.Conv2D(widths[0], 4, strides=2, padding="same", use_bias=False)(x)
    for number, channels in enumerate(widths):
        x = _block(x, channels, stride=2 if number else 1)
        for _ in range(blocks - 1):
            x = _block(x, channels, projected=False)
    x = layers.Activation("silu")(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    return keras.Model(image, layers.Dense(n_classes)(x), name=name)


def _block(x: Any, channels: int, stride: int = 1, *, projected: bool = True) -> Any:
    """One pre-activation residual block (He et al. 2016) with SiLU, beside a convolution of one pixel or nothing."""
    activated = layers.Activation("silu")(layers.BatchNormalization(momentum=0.9)(x))
    shortcut = layers.Conv2D(channels, 1, strides=stride, use_bias=False)(activated) if projected else x
    x = layers.Conv2D(channels, 3, padding="same", strides=stride, use_bias=False)(activated)
    x = layers.Activation("silu")(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
    return layers.Add()([x, shortcut])
