"""A detector of backdoors: images whose features lie apart from their label's, or whose texture leads others to it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np
from scipy.ndimage import uniform_filter

from robust_distillation.arrays import Array
from robust_distillation.classifiers.training import predict_logits
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.detectors.detector import Fitted, Models, threshold_for
from robust_distillation.defences.detectors.evidence import SMALLEST, as_in_bulk, clean_like
from robust_distillation.defences.distillation import soften
from robust_distillation.defences.settings import Filter
from robust_distillation.errors import InputError
from robust_distillation.progress import Bar

HOSTS = 8  # images onto which texture is put
SMOOTH = 3  # side of the mean that is not texture, in pixels
FEWEST = 3  # trusted images of a label that stand for it


@dataclass(frozen=True)
class Trigger:
    """Scores images by two tests with the defender's probe, which learned a trigger from the training set as it came.

    The first is the squared projection of an image's features, which the probe's last layer gets, on the direction in
    which those of its label vary most (spectral signatures, Tran et al. 2018). The second puts the image's texture,
    what its 3x3 mean leaves of it, onto other images, and asks how probable its label becomes to the probe: a trigger
    leads them to it (as what SentiNet cuts out does, Chou et al. 2020; a texture may be anywhere). What is usual for a
    label is told by trusted images of it, where there are some, since poison can be most of what carries it. The score
    is the larger of both, on a log scale, in standard deviations of clean images above their mean.

    Attributes:
        probe: images to logits.
        hosts: uint8 (M, H, W, C) that textures are put onto.
        middles: (K, D) of each label's features.
        directions: (K, D), of length 1.
        usual: (2, K) medians of both tests by label.
        scale: (2, 2) means, and standard deviations, of both tests.
        threshold: scores above it are suspicious.
    """

    probe: keras.Model
    hosts: Array
    middles: Array
    directions: Array
    usual: Array
    scale: Array
    threshold: float

    @property
    def networks(self) -> Mapping[str, keras.Model]:
        """The probe."""
        return {"probe": self.probe}

    @property
    def settings(self) -> dict[str, Any]:
        """Hosts, and what images are compared with."""
        names = ("hosts", "middles", "directions", "usual", "scale")
        return {name: getattr(self, name).tolist() for name in names}

    @classmethod
    def fit(cls, train: ImageSet, trusted: ImageSet, models: Models, settings: Filter) -> Fitted:
        """Find what is usual for each label, and set the threshold by trusted images; see `Detector`."""
        probe, labels = models.probe, train.labels
        shown = trusted if len(trusted) else train
        hosts = shown.features[np.linspace(0, len(shown) - 1, min(HOSTS, len(shown))).astype(int)]
        features, of_trusted = features_of(probe, train.images), features_of(probe, trusted.images)
        middles, directions = np.zeros((2, probe.output_shape[-1], features.shape[1]))
        standing = {label: np.sum(trusted.labels == label) >= FEWEST for label in np.unique(labels)}
        for label, stands in standing.items():
            own = features[labels == label]
            middles[label] = (of_trusted[trusted.labels == label] if stands else own).mean(axis=0)
            directions[label] = np.linalg.svd(own - middles[label], full_matrices=False)[2][0]

        found, clean = (
            np.stack([projected(seen, middles[given], directions[given]), led(probe, hosts, images, given)])
            for seen, images, given in (
                (features, train.images, labels),
                (of_trusted, trusted.images, trusted.labels),
            )
        )
        overall = [np.median(clean_like(*both)) for both in zip(clean, found, strict=True)]
        usual = np.tile(np.reshape(overall, (2, 1)), len(middles))
        for label, stands in standing.items():
            judged = clean[:, trusted.labels == label] if stands else found[:, labels == label]
            usual[:, label] = np.median(judged, axis=1)
        found, clean = found - usual[:, labels], clean - usual[:, trusted.labels]
        compared = [clean_like(*both) for both in zip(clean, found, strict=True)]
        scale = np.array([[np.mean(test), np.std(test) + SMALLEST] for test in compared]).T
        scores = larger(found, scale)
        reference = as_in_bulk(larger(clean, scale), scores)
        threshold = threshold_for(reference, settings.keep_clean)
        return Fitted(cls(probe, hosts, middles, directions, usual, scale, threshold), scores, reference)

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
        far = projected(features_of(self.probe, images), self.middles[labels], self.directions[labels])
        tests = np.stack([far, led(self.probe, self.hosts, images, labels)])
        return larger(tests - self.usual[:, labels], self.scale)


def features_of(probe: keras.Model, images: Array) -> Array:
    """Return what the probe's last layer gets (N, D), float64."""
    before = keras.Model(probe.input, probe.layers[-1].input)
    features: Array = predict_logits(before, images).astype(np.float64)
    return features.reshape(len(images), math.prod(features.shape[1:]))


def projected(features: Array, middles: Array, directions: Array) -> Array:
    """Return logs of squared projections (N,) of features, all (N, D), less their middles, on directions."""
    squared = np.square(np.sum((features - middles) * directions, axis=1))
    return np.asarray(np.log(squared + SMALLEST))


def led(probe: keras.Model, hosts: Array, images: Array, labels: Array) -> Array:
    """Return how probable each label (N,) is to the probe on hosts with the texture of its image: (N,).

    It is -log of the mean surprise over the hosts, in nats.

    Args:
        probe: images to logits.
        hosts: uint8 (M, H, W, C).
        images: float32 (N, H, W, C) in [0, 1].
        labels: integers (N,).
    """
    textures = images - uniform_filter(images, (0, SMOOTH, SMOOTH, 0))
    rows, surprise = np.arange(len(images)), np.zeros(len(images))
    for host in Bar(hosts.astype(np.float32) / 255, desc="putting textures on others", unit="host"):
        logits = predict_logits(probe, np.clip(host + textures, 0, 1))
        surprise -= np.log(np.maximum(soften(logits, 1.0)[rows, labels], SMALLEST))
    return np.asarray(-np.log(surprise / len(hosts) + SMALLEST))


def larger(tests: Array, scale: Array) -> Array:
    """Return the larger (N,) of both tests (2, N), in standard deviations above the mean; the scale (2, 2) has both."""
    means, deviations = scale
    standardised = (tests - means[:, None]) / deviations[:, None]
    return np.asarray(standardised.max(axis=0))
