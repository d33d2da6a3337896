"""Reform: replace images by their reconstructions (Meng and Chen 2017, MagNet), in training and at inference alike."""

from dataclasses import replace

import keras
import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.autoencoder import reconstruct
from robust_distillation.defences.settings import Reform


def reform(autoencoder: keras.Model, images: Array, how: Reform) -> Array:
    """Return what the classifier sees of float32 images (N, H, W, C) in [0, 1], of the same shape and range."""
    return reconstruct(autoencoder, images) if how == "reconstruct" else images


def reform_set(autoencoder: keras.Model, images: ImageSet, how: Reform) -> ImageSet:
    """Return a set as the classifier is trained on it, rounded to grey levels."""
    return replace(images, features=np.rint(255 * reform(autoencoder, images.images, how)).astype(np.uint8))


def reformed_classifier(autoencoder: keras.Model | None, classifier: keras.Model) -> keras.Model:
    """Return one differentiable model from raw images to the logits that the classifier gives after reform, if any."""
    if autoencoder is None:
        return classifier
    image = keras.Input(classifier.input_shape[1:])
    return keras.Model(image, classifier(autoencoder(image)))
