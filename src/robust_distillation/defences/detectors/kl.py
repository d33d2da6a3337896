"""alibi-detect's `AdversarialAE`: an image is suspicious where its reconstruction is answered otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.classifiers.training import PREDICTED_AT_ONCE, predict_logits
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.autoencoder import reconstruct, reconstruction
from robust_distillation.defences.detectors.detector import Fitted, Models, refuse_settings, threshold_for
from robust_distillation.defences.detectors.evidence import clean_like
from robust_distillation.defences.settings import Filter

SMALLEST = 1e-7  # of a probability, as in Keras' divergence


@dataclass(frozen=True)
class PredictionChange:
    """Scores images by KL(p(x) || p(AE(x))) of a classifier's answers (Vacanti and Van Looveren 2020).

    Attributes:
        autoencoder: float32 images in [0, 1] to reconstructions.
        probe: images to logits.
        threshold: scores above it are suspicious.
    """

    autoencoder: keras.Model
    probe: keras.Model
    threshold: float

    @property
    def networks(self) -> Mapping[str, keras.Model]:
        """The autoencoder and the classifier."""
        return {"autoencoder": self.autoencoder, "probe": self.probe}

    @property
    def settings(self) -> dict[str, Any]:
        """Nothing but the threshold."""
        return {}

    @classmethod
    def fit(cls, train: ImageSet, trusted: ImageSet, models: Models, settings: Filter) -> Fitted:
        """Infer the threshold on the trusted images, if there are any; the training set is scored alone."""
        detector = cls(models.autoencoder, models.probe, settings.threshold_start)
        scores = detector.score(train.images)
        reference = clean_like(detector.score(trusted.images), scores)
        threshold = threshold_for(reference, settings.keep_clean)
        if len(trusted):
            threshold = _inferred(models, trusted.images, settings)
        return Fitted(replace(detector, threshold=threshold), scores, reference)

    @classmethod
    def restore(cls, threshold: float, settings: dict[str, Any], networks: Mapping[str, keras.Model]) -> Self:
        """Make again what was stored."""
        refuse_settings("kl", settings)
        return cls(networks["autoencoder"], networks["probe"], threshold)

    def score(self, images: Array, labels: Array | None = None) -> Array:
        """Return the divergence (N,), in nats, of float32 images (N, H, W, C) in [0, 1]."""
        answers = (predict_logits(self.probe, seen) for seen in (images, reconstruct(self.autoencoder, images)))
        return np.asarray(_divergence(*answers))

    def margin(self, images: tf.Tensor) -> tf.Tensor:
        """Return log(score / threshold) (N,) of images (N, H, W, C), differentiably: above 0 they are suspicious."""
        answers = (self.probe(seen, training=False) for seen in (images, reconstruction(self.autoencoder, images)))
        return tf.math.log(tf.maximum(_divergence(*answers), 1e-12) / max(self.threshold, 1e-12))


def _inferred(models: Models, clean: Array, settings: Filter) -> float:
    """Return the threshold that alibi-detect infers from clean images (N, H, W, C)."""
    from alibi_detect.ad import AdversarialAE

    probabilities = keras.Sequential([models.probe, keras.layers.Softmax()])
    adversarial = AdversarialAE(
        threshold=settings.threshold_start, ae=models.autoencoder, model=probabilities, data_type="image"
    )
    adversarial.infer_threshold(clean, threshold_perc=100 * settings.keep_clean, batch_size=PREDICTED_AT_ONCE)
    return float(adversarial.threshold)


def _divergence(logits: Any, others: Any) -> tf.Tensor:
    """Return KL(softmax(logits) || softmax(others)) (N,) of logits (N, K)."""
    p, q = (tf.clip_by_value(tf.nn.softmax(values), SMALLEST, 1.0) for values in (logits, others))
    return tf.reduce_sum(p * tf.math.log(p / q), axis=-1)
