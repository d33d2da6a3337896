"""The network `srn_small` less what it was given for adversarial training, to see what that is worth."""

import keras
from keras import layers

from robust_distillation.classifiers.architectures import srn_small


def unstandardised(shape: tuple[int, ...], n_classes: int) -> keras.Model:
    """Return `srn_small` on images as they come."""
    return _with(layers.Identity, layers.LayerNormalization, srn_small(shape, n_classes))


def relu(shape: tuple[int, ...], n_classes: int) -> keras.Model:
    """Return `srn_small` with ReLU."""
    return _with(layers.ReLU, layers.Activation, srn_small(shape, n_classes))


def _with(other: type[layers.Layer], kind: type[layers.Layer], model: keras.Model) -> keras.Model:
    """Return a new model with another layer wherever one of a kind is."""

    def clone(layer: layers.Layer) -> layers.Layer:
        return other() if isinstance(layer, kind) else layer.__class__.from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=clone)
