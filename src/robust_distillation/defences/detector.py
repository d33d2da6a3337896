"""The published detector: an image is suspicious when its reconstruction error exceeds an inferred threshold."""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.defences.autoencoder import reconstruct


@dataclass(frozen=True)
class Detector:
    """Scores images by the mean squared error between them and their reconstructions.

    Attributes:
        autoencoder: float32 images in [0, 1] to reconstructions.
        threshold: scores above it are suspicious.
    """

    autoencoder: keras.Model
    threshold: float

    def score(self, images: Array) -> Array:
        """Return the reconstruction error (N,) of float32 images (N, H, W, C), a mean over pixels and channels."""
        return reconstruction_error(images, reconstruct(self.autoencoder, images))

    def margin(self, images: tf.Tensor) -> tf.Tensor:
        """Return log(score / threshold) (N,) of images (N, H, W, C), differentiably: above 0 they are suspicious."""
        errors = tf.reduce_mean(tf.square(images - self.autoencoder(images)), axis=(1, 2, 3))
        return tf.math.log(tf.maximum(errors, 1e-12) / self.threshold)


def reconstruction_error(images: Array, reconstructions: Array) -> Array:
    """Return the mean squared difference (N,) of two batches (N, H, W, C)."""
    return np.square(images - reconstructions).mean(axis=(1, 2, 3))


def infer_threshold(autoencoder: keras.Model, clean: Array, *, start: float, keep_clean: float) -> float:
    """Infer the threshold that keeps a share of clean images, with alibi-detect's `OutlierAE`.

    Args:
        autoencoder: the trained autoencoder.
        clean: float32 (N, H, W, C), clean images that the autoencoder was not trained on.
        start: the threshold before inference.
        keep_clean: share of the clean images to keep, in (0, 1].

    Returns:
        The updated threshold.
    """
    from alibi_detect.od import OutlierAE

    outlier = OutlierAE(threshold=start, ae=autoencoder, data_type="image")
    outlier.infer_threshold(clean, outlier_type="instance", threshold_perc=100 * keep_clean)
    return float(outlier.threshold)


def track_groups(tracks: Array) -> Array:
    """Return which rows (N,) belong together: those of one track; a row without a track (-1) stands for itself."""
    return np.where(tracks < 0, -1 - np.arange(len(tracks)), tracks)


def split_by_track(tracks: Array, share: float, seed: int) -> tuple[Array, Array]:
    """Split rows in two so that no group of `track_groups` is on both sides.

    Args:
        tracks: integers (N,).
        share: of the groups, for the first side; at least one group goes to each side.
        seed: of the draw.

    Returns:
        Row indices of the first and of the second side, ascending.
    """
    groups = track_groups(tracks)
    shuffled = np.random.default_rng(seed).permutation(np.unique(groups))
    first = shuffled[: int(np.clip(round(share * len(shuffled)), 1, len(shuffled) - 1))]
    chosen = np.isin(groups, first)
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)
