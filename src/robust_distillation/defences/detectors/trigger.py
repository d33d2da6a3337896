"""A detector of backdoors: images whose features lie apart from their label's, or whose texture leads others to it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import keras
import numpy as np
from scipy.ndimage import uniform_filter

from robust_distillation.arrays import Array
from robust_distillation.classifiers.training import predict_logits
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.detectors.detector import Fitted, Models, threshold_for
from robust_distillation.defences.detectors.evidence import clean_like
from robust_distillation.defences.distillation import soften
from robust_distillation.defences.settings import Filter
from robust_distillation.errors import InputError
from robust_distillation.progress import Bar

SMALLEST = 1e-12
HOSTS = 8  # images onto which texture is put
SMOOTH = 3  # side of the mean that is not texture, in pixels
FEWEST = 3  # trusted images of a label that stand for it


@dataclass(frozen=True)
class Trigger:
    """Scores images by two tests with the defender's probe, which learned a trigger from the training set as it came.

    The first is the squared projection of an image's features, which the probe's last layer gets, on the direction in
    which those of its label vary most (spectral signatures, Tran et al. 2018). Where there are trusted images of a
    label, its middle and its scale are theirs, since poison can be most of what carries the label. The second puts the
    image's texture, what its 3x3 mean leaves of it, onto other images, and asks how probable its label becomes to the
    probe: a trigger leads them to it (as what SentiNet cuts out does, Chou et al. 2020; a texture may be anywhere). The
    score is the larger of both, on a log scale, in standard deviations of clean images above their mean.

    Attributes:
        probe: images to logits.
        hosts: uint8 (H, W, C) images that textures are put onto.
        means: (K, D) of each label's features.
        directions: (K, D), of length 1.
        medians: (K,) of the squared projections.
        scale: mean and standard deviation of clean images, of either test (2, 2).
        threshold: scores above it are suspicious.
    """

    probe: keras.Model
    hosts: Array
    means: Array
    directions: Array
    medians: Array
    scale: Array
    threshold: float

    @property
    def networks(self) -> Mapping[str, keras.Model]:
        """The probe."""
        return {"probe": self.probe}

    @property
    def settings(self) -> dict[str, Any]:
        """Hosts, what features are compared with, and what is usual in both tests."""
        return {name: getattr(self, name).tolist() for name in ("hosts", "means", "directions", "medians", "scale")}

    @classmethod
    def fit(cls, train: ImageSet, trusted: ImageSet, models: Models, settings: Filter) -> Fitted:
        """Find the direction of each label, and set the threshold by trusted images; see `Detector`."""
        features, labels = _features(models.probe, train.images), train.labels
        of_trusted = _features(models.probe, trusted.images)
        n_classes = models.probe.output_shape[-1]
        means, directions = np.zeros((2, n_classes, features.shape[1]))
        medians = np.ones(n_classes)
        for label in np.unique(labels):
            own, clean = features[labels == label], of_trusted[trusted.labels == label]
            clean = clean if len(clean) >= FEWEST else own
            means[label] = clean.mean(axis=0)
            directions[label] = np.linalg.svd(own - means[label], full_matrices=False)[2][0]
            medians[label] = np.median(np.square((clean - means[label]) @ directions[label]))
        shown = trusted if len(trusted) else train
        hosts = shown.features[np.linspace(0, len(shown) - 1, min(HOSTS, len(shown))).astype(int)]
        detector = cls(
            models.probe, hosts, means, directions, np.maximum(medians, SMALLEST), scale=np.ones((2, 2)), threshold=0.0
        )
        found, clean = detector._tests(train, features), detector._tests(trusted, of_trusted)
        usual = [clean_like(*both) for both in zip(clean, found, strict=True)]
        scale = np.array([[np.mean(test), max(float(np.std(test)), SMALLEST)] for test in usual])
        detector = replace(detector, scale=scale)
        scores = detector._larger(found)
        reference = clean_like(detector._larger(clean), scores)
        return Fitted(replace(detector, threshold=threshold_for(reference, settings.keep_clean)), scores, reference)

    @classmethod
    def restore(cls, threshold: float, settings: dict[str, Any], networks: Mapping[str, keras.Model]) -> Self:
        """Make again what was stored."""
        arrays = {name: np.array(found) for name, found in settings.items()}
        return cls(networks["probe"], **arrays, threshold=threshold)

    def score(self, images: Array, labels: Array | None = None) -> Array:
        """Return the scores (N,) of float32 images (N, H, W, C) in [0, 1].

        Raises:
            InputError: there are no labels.
        """
        if labels is None:
            raise InputError("detector trigger needs labels: it is for the training set")
        features = _features(self.probe, images)
        return self._larger((self._projected(features, labels), self._led(images, labels)))

    def _tests(self, images: ImageSet, features: Array) -> tuple[Array, Array]:
        return self._projected(features, images.labels), self._led(images.images, images.labels)

    def _projected(self, features: Array, labels: Array) -> Array:
        """Return logs of squared projections (N,) of features (N, D), over the median of clean ones."""
        away = features - self.means[labels]
        squared = np.square(np.sum(away * self.directions[labels], axis=1))
        return np.asarray(np.log(np.maximum(squared, SMALLEST) / self.medians[labels]))

    def _led(self, images: Array, labels: Array) -> Array:
        """Return how probable the label is to the probe on hosts with the texture of each image: (N,).

        It is -log of the mean surprise over the hosts, in nats.
        """
        textures = images - uniform_filter(images, (0, SMOOTH, SMOOTH, 0))
        rows, surprise = np.arange(len(images)), np.zeros(len(images))
        for host in Bar(self.hosts.astype(np.float32) / 255, desc="putting textures on others", unit="host"):
            logits = predict_logits(self.probe, np.clip(host + textures, 0, 1))
            surprise -= np.log(np.maximum(soften(logits, 1.0)[rows, labels], SMALLEST))
        return np.asarray(-np.log(np.maximum(surprise / len(self.hosts), SMALLEST)))

    def _larger(self, tests: tuple[Array, Array]) -> Array:
        means, deviations = self.scale.T
        larger: Array = np.max((np.array(tests) - means[:, None]) / deviations[:, None], axis=0)
        return larger


def _features(probe: keras.Model, images: Array) -> Array:
    """Return what the probe's last layer gets (N, D), float64."""
    before = keras.Model(probe.input, probe.layers[-1].input)
    features: Array = predict_logits(before, images).reshape(len(images), -1).astype(np.float64)
    return features
