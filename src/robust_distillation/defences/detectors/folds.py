"""Two halves of a training set, so that no image is scored by a network that learned from it."""

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.dataset.tracks import split_by_track

FOLDS = "fold_0", "fold_1"  # names of the networks, each of which scores its fold and learns from the other


def folds_of(images: ImageSet, seed: int) -> Array:
    """Return the fold of each image, 0 or 1 (N,), the same for all of a track."""
    first, _ = split_by_track(images.tracks, 0.5, seed)
    folds = np.ones(len(images), int)
    folds[first] = 0
    return folds
