"""A detector of adversarial texture: networks that tell training images from the defender's own twins of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from tqdm.keras import TqdmCallback

from robust_distillation.arrays import Array
from robust_distillation.classifiers.training import (
    STEPS_AT_ONCE,
    falling,
    predict_logits,
    seed_everything,
    shuffled_batches,
)
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.detectors.detector import Fitted, Models, threshold_for
from robust_distillation.defences.detectors.evidence import SMALLEST, clean_like
from robust_distillation.defences.detectors.folds import FOLDS, folds_of
from robust_distillation.defences.detectors.twins import altered, twins
from robust_distillation.defences.settings import Filter
from robust_distillation.defences.settings import Residual as Settings
from robust_distillation.progress import Bar

MAGNIFIED = 20.0  # the residual, which is small
THRESHOLD = float(np.log(2))  # the score of an image at the quantile that is kept


@dataclass(frozen=True)
class Residual:
    """Scores images by two networks that see an image and what its 3x3 mean leaves of it.

    Each was trained on half of the tracks to tell images as they came from the defender's twins of them. What looks
    like a twin is left out in the next round, since poison among the images blinds the networks.

    Attributes:
        networks: by fold, float32 images in [0, 1] to one logit.
        offsets: by fold, the logit that a share `keep_clean` of trusted images does not exceed.
        shift: the same of the mean of both, less their offsets.
    """

    networks: Mapping[str, keras.Model]
    offsets: list[float]
    shift: float

    @property
    def threshold(self) -> float:
        """Log 2: scores are softplus of a logit that is 0 at the quantile of trusted images which is kept."""
        return THRESHOLD

    @property
    def settings(self) -> dict[str, Any]:
        """Offsets and shift."""
        return {"offsets": self.offsets, "shift": self.shift}

    @classmethod
    def fit(cls, train: ImageSet, trusted: ImageSet, models: Models, settings: Filter) -> Fitted:
        """Train the two networks in rounds, and set their offsets by trusted images; see `Detector`."""
        chosen = settings.residual
        fold_of = folds_of(train, chosen.seed)
        kept = np.ones(len(train), bool)
        logits = np.zeros(len(train))
        networks: dict[str, keras.Model] = {}
        for number, steps in enumerate(chosen.steps):
            seed = chosen.seed + 10 * number
            made, lasting = twins(train.features, train.labels, models.probe, seed=seed)
            made = altered(made, lasting, seed=seed + 1)
            came = altered(train.features, np.ones(len(train), bool), seed=seed + 2)
            for fold, name in enumerate(FOLDS):
                rows = kept & (fold_of != fold)
                networks[name] = trained(
                    came[rows], made[rows], chosen, models.autoencoder, steps=steps, seed=seed + fold
                )
                unseen = fold_of == fold
                logits[unseen] = predict_logits(networks[name], train.images[unseen])[:, 0]
                kept[unseen] = logits[unseen] <= np.quantile(logits[unseen], 1 - chosen.drop)
        clean = [predict_logits(networks[name], trusted.images)[:, 0] for name in FOLDS]
        found = [clean_like(of, logits[fold_of == fold]) for fold, of in enumerate(clean)]
        offsets = [threshold_for(of, settings.keep_clean) for of in found]
        mean = np.mean([of - offset for of, offset in zip(clean, offsets, strict=True)], axis=0)
        shift = threshold_for(mean, settings.keep_clean) if len(trusted) else 0.0
        scores = softplus(logits - np.array(offsets)[fold_of])
        reference = np.concatenate([of - offset for of, offset in zip(found, offsets, strict=True)])
        return Fitted(cls(networks, offsets, shift), scores, softplus(reference))

    @classmethod
    def restore(cls, threshold: float, settings: dict[str, Any], networks: Mapping[str, keras.Model]) -> Self:
        """Make again what was stored."""
        return cls({name: networks[name] for name in FOLDS}, **settings)

    def score(self, images: Array, labels: Array | None = None) -> Array:
        """Return softplus of the mean logit (N,) of float32 images (N, H, W, C), 0 at the quantile that is kept."""
        logits = [predict_logits(self.networks[name], images)[:, 0] for name in FOLDS]
        return softplus(np.mean(logits, axis=0) - np.mean(self.offsets) - self.shift)

    def margin(self, images: tf.Tensor) -> tf.Tensor:
        """Return log(score / threshold) (N,) of images (N, H, W, C), differentiably: above 0 they are suspicious."""
        logits = [self.networks[name](images, training=False)[:, 0] for name in FOLDS]
        mean = tf.add_n(logits) / len(logits) - float(np.mean(self.offsets)) - self.shift
        return tf.math.log(tf.maximum(tf.nn.softplus(mean), SMALLEST) / THRESHOLD)


def softplus(logits: Array) -> Array:
    """Return log(1 + exp(logits)), float64: above 0, and in the same order."""
    scores: Array = np.logaddexp(0, logits.astype(np.float64))
    return scores


def network(shape: tuple[int, ...], smooth: keras.layers.Layer) -> keras.Model:
    """Return a new network, images (H, W, C) and what remains of them without what is smooth to one logit."""
    image = keras.Input(shape)
    residual = layers.Rescaling(MAGNIFIED)(layers.Subtract()([image, smooth(image)]))
    x = layers.Concatenate()([image, residual])
    for channels, stride in ((32, 1), (48, 2), (64, 2), (96, 2)):
        x = layers.Conv2D(channels, 3, strides=stride, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return keras.Model(image, layers.Dense(1)(layers.GlobalAveragePooling2D()(x)), name="residual")


def trained(
    came: Array, made: Array, settings: Settings, autoencoder: keras.Model, *, steps: int, seed: int
) -> keras.Model:
    """Train a new network to tell images as they came from twins, both uint8 (N, H, W, C)."""
    seed_everything(seed)
    smooth = layers.AveragePooling2D(3, strides=1, padding="same")
    if settings.smooth == "reconstruction":
        smooth = keras.models.clone_model(autoencoder)
        smooth.set_weights(autoencoder.get_weights())
        smooth.trainable = False
    model = network(came.shape[1:], smooth)
    model.compile(
        optimizer=keras.optimizers.Adam(falling(settings.learning_rate, steps)),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        steps_per_execution=STEPS_AT_ONCE,
        jit_compile=False,
    )
    images = np.concatenate([came, made])
    targets = np.repeat(np.array([0, 1], np.float32), [len(came), len(made)])[:, None]
    batches = shuffled_batches((images, targets), settings.batch_size, seed).repeat().take(steps).enumerate()
    model.fit(
        batches.map(lambda step, batch: (turned(tf.cast(batch[0], tf.float32) / 255, (seed, step)), batch[1])),
        shuffle=False,  # the batches come shuffled
        verbose=0,
        callbacks=[TqdmCallback(verbose=0, desc="training a detector", tqdm_class=Bar)],
    )
    return model


def turned(batch: tf.Tensor, seed: tuple[int, tf.Tensor]) -> tf.Tensor:
    """Mirror a batch (N, H, W, C) at random, and transpose it where it is square: texture of attacks has no side."""
    sideways, upside_down, over = tf.unstack(tf.random.stateless_uniform((3,), seed) < 0.5)
    batch = tf.where(sideways, batch[:, :, ::-1], batch)
    batch = tf.where(upside_down, batch[:, ::-1], batch)
    square = batch.shape[1] == batch.shape[2]
    return tf.where(over, tf.transpose(batch, (0, 2, 1, 3)), batch) if square else batch
