"""What teacher and student are trained on."""

import keras
import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.classifiers.settings import Training
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.reform import How, reform
from robust_distillation.paths import FILTERED, FURTHER


def training_images(settings: Training, autoencoder: keras.Model, how: How) -> tuple[Array, Array, int]:
    """Return what the filter left, further images behind it where a share of them is asked, and how many are the first.

    Returns:
        Reformed images, float32 (N, H, W, C), their labels (N,), and the count.
    """
    train = ImageSet.load(FILTERED)
    if not settings.further_share:
        return train.images, train.labels, len(train)
    further = ImageSet.load(FURTHER)
    images = np.concatenate([train.images, reform(autoencoder, further.images, how)])
    return images, np.concatenate([train.labels, further.labels]), len(train)
