"""Reform: replace images by their reconstructions (Meng and Chen 2017, MagNet), in training and at inference alike."""

from typing import Literal

import keras

from robust_distillation.arrays import Array
from robust_distillation.defences.autoencoder import reconstruct

How = Literal["reconstruct", "none"]


def reform(autoencoder: keras.Model, images: Array, how: How) -> Array:
    """Return what the classifier sees of float32 images (N, H, W, C) in [0, 1], of the same shape and range."""
    return reconstruct(autoencoder, images) if how == "reconstruct" else images


def reformed_classifier(autoencoder: keras.Model | None, classifier: keras.Model) -> keras.Model:
    """Return one differentiable model from raw images to the logits that the classifier gives after reform, if any."""
    if autoencoder is None:
        return classifier
    image = keras.Input(classifier.input_shape[1:])
    return keras.Model(image, classifier(autoencoder(image)))
