"""The published detector: an image is suspicious when its reconstruction error exceeds an inferred threshold."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.autoencoder import reconstruct, reconstruction
from robust_distillation.defences.detectors.detector import Fitted, Models, refuse_settings, threshold_for
from robust_distillation.defences.detectors.evidence import SMALLEST, clean_like
from robust_distillation.defences.settings import Filter


@dataclass(frozen=True)
class ReconstructionError:
    """Scores images by the mean squared error between them and their reconstructions.

    Attributes:
        autoencoder: float32 images in [0, 1] to reconstructions.
        threshold: scores above it are suspicious.

    Example:
        >>> halving = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(0.5)])
        >>> detector = rd.ReconstructionError(halving, threshold=0.1)
        >>> detector.score(images[5:]) > detector.threshold
        array([False,  True,  True,  True,  True])
    """

    autoencoder: keras.Model
    threshold: float

    @property
    def networks(self) -> Mapping[str, keras.Model]:
        """The autoencoder."""
        return {"autoencoder": self.autoencoder}

    @property
    def settings(self) -> dict[str, Any]:
        """Nothing but the threshold."""
        return {}

    @classmethod
    def fit(cls, train: ImageSet, trusted: ImageSet, models: Models, settings: Filter) -> Fitted:
        """Infer the threshold on the trusted images, if there are any; the training set is scored alone."""
        detector = cls(models.autoencoder, settings.threshold_start)
        scores = detector.score(train.images)
        reference = clean_like(detector.score(trusted.images), scores)
        threshold = threshold_for(reference, settings.keep_clean)
        if len(trusted):
            threshold = infer_threshold(
                models.autoencoder, trusted.images, start=settings.threshold_start, keep_clean=settings.keep_clean
            )
        return Fitted(replace(detector, threshold=threshold), scores, reference)

    @classmethod
    def restore(cls, threshold: float, settings: dict[str, Any], networks: Mapping[str, keras.Model]) -> Self:
        """Make again what was stored."""
        refuse_settings("mse", settings)
        return cls(networks["autoencoder"], threshold)

    def score(self, images: Array, labels: Array | None = None) -> Array:
        """Return the reconstruction error (N,) of float32 images (N, H, W, C), a mean over pixels and channels."""
        return reconstruction_error(images, reconstruct(self.autoencoder, images))

    def margin(self, images: tf.Tensor) -> tf.Tensor:
        """Return log(score / threshold) (N,) of images (N, H, W, C), differentiably: above 0 they are suspicious."""
        errors = tf.reduce_mean(tf.square(images - reconstruction(self.autoencoder, images)), axis=(1, 2, 3))
        return tf.math.log(tf.maximum(errors, SMALLEST) / self.threshold)


def reconstruction_error(images: Array, reconstructions: Array) -> Array:
    """Return the mean squared difference (N,) of two batches (N, H, W, C)."""
    return np.asarray(np.square(images - reconstructions).mean(axis=(1, 2, 3)))


def infer_threshold(autoencoder: keras.Model, clean: Array, *, start: float, keep_clean: float) -> float:
    """Infer the threshold that keeps a share of clean images, with alibi-detect's `OutlierAE`.

    Args:
        autoencoder: the trained autoencoder.
        clean: float32 (N, H, W, C), clean images that the autoencoder was not trained on.
        start: the threshold before inference.
        keep_clean: share of the clean images to keep, in (0, 1].

    Returns:
        The updated threshold.

    Example:
        >>> halving = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(0.5)])
        >>> round(rd.infer_threshold(halving, images, start=0.1, keep_clean=0.5), 3)
        0.063
    """
    from alibi_detect.od import OutlierAE

    outlier = OutlierAE(threshold=start, ae=autoencoder, data_type="image")
    outlier.infer_threshold(clean, outlier_type="instance", threshold_perc=100 * keep_clean)
    return float(outlier.threshold)
