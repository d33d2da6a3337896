"""Defensive distillation: a teacher's softened predictions become a student's labels (Papernot et al. 2016)."""

import keras
import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.classifiers.training import predict_logits


def soften(logits: Array, temperature: float) -> Array:
    """Return softmax(logits / temperature) row by row, float32 (N, K) (Papernot et al. 2016, equation 1)."""
    scaled = logits / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    softened: Array = powers / powers.sum(axis=1, keepdims=True)
    return softened


def soft_labels(teacher: keras.Model, images: Array, temperature: float) -> Array:
    """Return the teacher's soft labels, float32 (N, K); row i is computed from image i alone.

    Args:
        teacher: a model that returns logits.
        images: float32 (N, H, W, C) in [0, 1].
        temperature: T, above 0.
    """
    return soften(predict_logits(teacher, images), temperature)
