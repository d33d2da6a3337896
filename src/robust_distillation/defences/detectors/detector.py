"""What a detector offers, to the filter of the training set and to what is deployed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import keras
import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.classifiers.storage import load_model, save_model
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.detectors import DETECTORS, RECORD
from robust_distillation.defences.detectors.evidence import SMALLEST
from robust_distillation.defences.settings import Filter
from robust_distillation.errors import InputError
from robust_distillation.files import AGAIN, read_record, replacing, write_json
from robust_distillation.records import Detecting
from robust_distillation.threats.evasion.victim import bpda


@dataclass(frozen=True)
class Models:
    """The defender's own networks, which a detector may use.

    Attributes:
        autoencoder: float32 images (N, H, W, C) in [0, 1] to reconstructions.
        probe: a classifier of the training set as it came, images to logits.
    """

    autoencoder: keras.Model
    probe: keras.Model


class Detector(Protocol):
    """Scores images; what scores above the threshold is suspicious.

    A detector may also offer `margin(images)`: log(score / threshold) (N,) of a tensor (N, H, W, C), differentiably,
    for attackers that adapt to it.
    """

    @property
    def threshold(self) -> float:
        """The score above which an image is suspicious."""

    @property
    def networks(self) -> Mapping[str, keras.Model]:
        """What it needs as Keras files, by name (letters, digits, _); `autoencoder` is the one that `fit` was given."""

    @property
    def settings(self) -> dict[str, Any]:
        """What else `restore` needs, as JSON."""

    @classmethod
    def fit(cls, train: ImageSet, trusted: ImageSet, models: Models, settings: Filter) -> "Fitted":
        """Make one that keeps `settings.keep_clean` of clean images.

        Args:
            train: the training set as it came, poisoned or not.
            trusted: clean images that the autoencoder was not trained on.
            models: the defender's own.
            settings: the params of the filter.

        Returns:
            The detector, and what it says of the images that it was fitted on.
        """

    @classmethod
    def restore(cls, threshold: float, settings: dict[str, Any], networks: Mapping[str, keras.Model]) -> Self:
        """Make again what was stored.

        Raises:
            KeyError: a network is missing.
            InputError: a setting is missing or wrong.
        """

    def score(self, images: Array, labels: Array | None = None) -> Array:
        """Return scores (N,) of float32 images (N, H, W, C) in [0, 1]; labels (N,) where they are known."""


@dataclass(frozen=True)
class Fitted:
    """A detector, and what it says of the images that it was fitted on.

    Attributes:
        detector: for images that are new.
        scores: (N,) of the training set, none by a network that learned from that image.
        reference: (M,) of trusted images, by the same networks, so that both can be compared.
        parts: (N,) p-values by member, where it is made of several.
    """

    detector: Detector
    scores: Array
    reference: Array
    parts: Mapping[str, Array] = field(default_factory=dict)

    @property
    def kept(self) -> Array:
        """Which images of the training set are not suspicious, booleans (N,)."""
        return np.less_equal(self.scores, self.detector.threshold)


def threshold_for(scores: Array, keep_clean: float) -> float:
    """Return the smallest of the scores (N,) of clean images that at least a share `keep_clean` does not exceed."""
    return float(np.quantile(scores, keep_clean, method="higher"))


def refuse_settings(name: str, settings: dict[str, Any]) -> None:
    """Refuse stored settings of a detector that has none besides its threshold.

    Raises:
        InputError: there are some.
    """
    if settings:
        raise InputError(f"detector {name} has no settings besides the threshold. Received: {settings}")


def margin(detector: Detector, images: tf.Tensor) -> tf.Tensor:
    """Return log(score / threshold) (N,) of images (N, H, W, C): above 0 they are suspicious.

    Where a detector offers no `margin` of its own, its scores have no slope that an attacker could follow.
    """
    own = getattr(detector, "margin", None)
    if own is not None:
        return own(images)

    def score(images: tf.Tensor) -> tf.Tensor:
        return tf.numpy_function(lambda batch: detector.score(batch).astype("float32"), [images], tf.float32)

    flat = bpda(score, lambda images: 0 * tf.reduce_sum(images, axis=(1, 2, 3)))
    return tf.math.log(tf.maximum(flat(images), SMALLEST) / max(detector.threshold, SMALLEST))


def record_of(detector: Detector) -> Detecting:
    """Return what is stored of a detector besides its networks."""
    name = DETECTORS.name_of(type(detector))
    return Detecting(name=name, threshold=detector.threshold, settings=detector.settings)


def restore(stored: Detecting, networks: Mapping[str, keras.Model]) -> Detector:
    """Make a detector again of what was stored and its networks.

    Raises:
        KeyError: a network is missing.
        InputError: there is no such detector, or a setting is missing or wrong.
    """
    return DETECTORS[stored.name].restore(stored.threshold, stored.settings, networks)


def save_detector(detector: Detector, folder: Path) -> None:
    """Write detector.json and the networks, the autoencoder aside, into a folder, which is replaced as a whole."""
    with replacing(folder) as temporary:
        temporary.mkdir()
        for name, network in detector.networks.items():
            if name != "autoencoder":
                save_model(network, temporary / f"{name}.keras")
        write_json(temporary / RECORD, asdict(record_of(detector)))


def load_detector(folder: Path, autoencoder: keras.Model) -> Detector:
    """Read what `save_detector` wrote, and join it with the autoencoder.

    Raises:
        InputError: a file is missing, damaged or of something else.
    """
    networks = {file.stem: load_model(file) for file in sorted(folder.glob("*.keras"))}
    try:
        return restore(read_record(folder / RECORD, Detecting), networks | {"autoencoder": autoencoder})
    except KeyError as error:
        raise InputError(f"{folder / str(error.args[0])}.keras: not found; {AGAIN}") from None
