"""Published detectors of backdoors, as ART has them, on the features of the defender's probe."""

import time
from typing import TYPE_CHECKING

import numpy as np

from robust_distillation.arrays import Array

if TYPE_CHECKING:
    import keras

    from robust_distillation.dataset.pickles import ImageSet

BACKDOORS = ("badnets", "blended", "sinusoid")
DISCARDED = 1.5  # times the share of poison, of each label, that spectral signatures discard, as published


def peers(train: "ImageSet", probe: "keras.Model", fraction: float) -> dict[str, dict[str, Array]]:
    """Return scores, verdicts and seconds of each peer, by name.

    Spectral signatures (Tran et al. 2018) score each image by its place along the direction in which the features of
    its label vary most, and discard 1.5 times as many as are poisoned, a share that the peer is told. Activation
    clustering (Chen et al. 2018) parts the features of each label in two, and discards the smaller part.
    """
    from robust_distillation.defences.detectors.trigger import features_of

    start = time.monotonic()
    features, labels = features_of(probe, train.images), train.labels
    took = time.monotonic() - start
    found = {}
    for name, score in (("art_spectral", _spectral), ("art_activation", _activation)):
        start, scores = time.monotonic(), np.zeros(len(labels))
        kept = np.ones(len(labels), bool)
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            scores[rows], kept[rows] = score(features[rows], fraction)
        found[name] = {"scores": scores, "kept": kept, "seconds": np.array(took + time.monotonic() - start)}
    return found


def _spectral(features: Array, fraction: float) -> tuple[Array, Array]:
    from art.defences.detector.poison import SpectralSignatureDefense

    scores: Array = SpectralSignatureDefense.spectral_signature_scores(features)[:, 0]
    return scores, scores <= np.quantile(scores, 1 - min(0.5, DISCARDED * fraction))


def _activation(features: Array, _: float) -> tuple[Array, Array]:
    from art.defences.detector.poison.activation_defence import cluster_activations

    clusters = cluster_activations([features], nb_dims=min(10, *features.shape), reduce="PCA")[0][0]
    sizes = np.bincount(clusters, minlength=2)
    scores = 1 - sizes[clusters] / len(clusters)
    return scores, clusters == sizes.argmax()
