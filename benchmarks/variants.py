"""The network `srn` less what it was given for adversarial training, to see what that is worth."""

from typing import Any

import keras
from keras import layers

from robust_distillation.classifiers.architectures import srn


def unstandardised(shape: tuple[int, ...], n_classes: int) -> keras.Model:
    """Return `srn` on images as they come."""

    def clone(layer: Any) -> Any:
        return layers.Identity() if isinstance(layer, layers.LayerNormalization) else _same(layer)

    return keras.models.clone_model(srn(shape, n_classes), clone_function=clone)


def relu(shape: tuple[int, ...], n_classes: int) -> keras.Model:
    """Return `srn` with ReLU."""

    def clone(layer: Any) -> Any:
        return layers.ReLU() if isinstance(layer, layers.Activation) else _same(layer)

    return keras.models.clone_model(srn(shape, n_classes), clone_function=clone)


def _same(layer: Any) -> Any:
    return layer.__class__.from_config(layer.get_config())
