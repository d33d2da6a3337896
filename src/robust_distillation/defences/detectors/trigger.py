"""A detector of backdoors: images whose features lie apart from those of their label, as a trigger makes them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import keras
import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.classifiers.training import predict_logits
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.detectors.detector import Fitted, Models, threshold_for
from robust_distillation.defences.settings import Filter
from robust_distillation.errors import InputError

SMALLEST = 1e-12


@dataclass(frozen=True)
class SpectralSignature:
    """Scores images by their features' squared projection on the top direction of their label (Tran et al. 2018).

    The features are what the last layer of the defender's probe gets, which learned from the training set as it came,
    and so learned the trigger too. Projections of a label's images are divided by their median, so that labels compare.

    Attributes:
        probe: images to logits.
        means: (K, D) of each label's features.
        directions: (K, D), of length 1.
        scales: (K,) medians of the squared projections.
        threshold: scores above it are suspicious.
    """

    probe: keras.Model
    means: Array
    directions: Array
    scales: Array
    threshold: float

    @property
    def networks(self) -> Mapping[str, keras.Model]:
        """The probe."""
        return {"probe": self.probe}

    @property
    def settings(self) -> dict[str, Any]:
        """Means, directions and scales."""
        return {name: getattr(self, name).tolist() for name in ("means", "directions", "scales")}

    @classmethod
    def fit(cls, train: ImageSet, trusted: ImageSet, models: Models, settings: Filter) -> Fitted:
        """Find the direction of each label, and set the threshold by trusted images; see `Detector`."""
        features = _features(models.probe, train.images)
        n_classes = models.probe.output_shape[-1]
        means, directions = np.zeros((2, n_classes, features.shape[1]))
        scales = np.ones(n_classes)
        for label in np.unique(train.labels):
            own = features[train.labels == label]
            means[label] = own.mean(axis=0)
            directions[label] = np.linalg.svd(own - means[label], full_matrices=False)[2][0]
            scales[label] = np.median(np.square((own - means[label]) @ directions[label]))
        detector = cls(models.probe, means, directions, np.maximum(scales, SMALLEST), 0.0)
        reference = detector.score(trusted.images, trusted.labels)
        detector = replace(detector, threshold=threshold_for(reference, settings.keep_clean))
        return Fitted(detector, detector._projected(features, train.labels), reference)

    @classmethod
    def restore(cls, threshold: float, settings: dict[str, Any], networks: Mapping[str, keras.Model]) -> Self:
        """Make again what was stored."""
        arrays = {name: np.array(found) for name, found in settings.items()}
        return cls(networks["probe"], **arrays, threshold=threshold)

    def score(self, images: Array, labels: Array | None = None) -> Array:
        """Return the scores (N,), at least 0, of float32 images (N, H, W, C) in [0, 1].

        Raises:
            InputError: there are no labels.
        """
        if labels is None:
            raise InputError("detector trigger needs labels: it is for the training set")
        return self._projected(_features(self.probe, images), labels)

    def _projected(self, features: Array, labels: Array) -> Array:
        """Return the scores (N,) of features (N, D)."""
        away = features - self.means[labels]
        return np.asarray(np.square(np.sum(away * self.directions[labels], axis=1)) / self.scales[labels])


def _features(probe: keras.Model, images: Array) -> Array:
    """Return what the probe's last layer gets (N, D), float64."""
    before = keras.Model(probe.input, probe.layers[-1].input)
    features: Array = predict_logits(before, images).reshape(len(images), -1).astype(np.float64)
    return features
