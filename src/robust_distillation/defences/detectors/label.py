"""A detector of wrong labels: networks that did not learn from an image say how improbable its label is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import keras
import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.classifiers.training import one_hot, predict_logits, train_classifier
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.autoencoder import reconstruct
from robust_distillation.defences.detectors.detector import Fitted, Models, refuse_settings, threshold_for
from robust_distillation.defences.detectors.evidence import SMALLEST, clean_like
from robust_distillation.defences.detectors.folds import FOLDS, folds_of
from robust_distillation.defences.distillation import soften
from robust_distillation.defences.settings import Filter
from robust_distillation.errors import InputError


@dataclass(frozen=True)
class LabelDisagreement:
    """Scores images by -log of the probability of their labels (self-confidence, Northcutt et al. 2021).

    Each of two networks learned from the reconstructions of half of the tracks. For a new image both are averaged.

    Attributes:
        networks: by fold, float32 images in [0, 1] to logits; and the autoencoder.
        threshold: scores above it are suspicious.
    """

    networks: Mapping[str, keras.Model]
    threshold: float

    @property
    def settings(self) -> dict[str, Any]:
        """Nothing but the threshold."""
        return {}

    @classmethod
    def fit(cls, train: ImageSet, trusted: ImageSet, models: Models, settings: Filter) -> Fitted:
        """Train the two networks, and set the threshold by trusted images; see `Detector`."""
        n_classes = models.probe.output_shape[-1]
        seen, seen_trusted = (reconstruct(models.autoencoder, images.images) for images in (train, trusted))
        fold_of = folds_of(train, settings.label.seed)
        networks = {"autoencoder": models.autoencoder}
        scores = np.zeros(len(train))
        of_trusted = []
        for fold, name in enumerate(FOLDS):
            unseen = fold_of == fold
            judged = (seen_trusted, trusted.labels) if len(trusted) else (seen[unseen], train.labels[unseen])
            networks[name], _ = train_classifier(
                seen[~unseen],
                one_hot(train.labels[~unseen], n_classes),
                replace(settings.label, seed=settings.label.seed + fold),
                validation=(judged[0], one_hot(judged[1], n_classes)),
            )
            scores[unseen] = _surprise(_probabilities(networks[name], seen[unseen]), train.labels[unseen])
            of_trusted.append(_surprise(_probabilities(networks[name], seen_trusted), trusted.labels))
        reference = clean_like(np.concatenate(of_trusted), scores)
        threshold = threshold_for(reference, settings.keep_clean)
        return Fitted(cls(networks, threshold), scores, reference)

    @classmethod
    def restore(cls, threshold: float, settings: dict[str, Any], networks: Mapping[str, keras.Model]) -> Self:
        """Make again what was stored."""
        refuse_settings("label", settings)
        return cls({name: networks[name] for name in ("autoencoder", *FOLDS)}, threshold)

    def score(self, images: Array, labels: Array | None = None) -> Array:
        """Return -log of the labels' probability (N,), in nats, of float32 images (N, H, W, C) in [0, 1].

        Raises:
            InputError: there are no labels.
        """
        if labels is None:
            raise InputError("detector label needs labels: it is for the training set")
        seen = reconstruct(self.networks["autoencoder"], images)
        return _surprise(np.mean([_probabilities(self.networks[name], seen) for name in FOLDS], axis=0), labels)


def _probabilities(network: keras.Model, images: Array) -> Array:
    return soften(predict_logits(network, images), 1.0)


def _surprise(probabilities: Array, labels: Array) -> Array:
    """Return -log of cleanlab's quality (N,) of each label (N,), given the probabilities of all classes (N, K)."""
    from cleanlab.rank import get_label_quality_scores

    if not len(labels):
        return np.zeros(0)
    quality = get_label_quality_scores(labels, probabilities.astype(np.float64), method="self_confidence")
    surprise: Array = -np.log(np.maximum(quality, SMALLEST))
    return surprise
