"""Defensive distillation: what a teacher says becomes a student's labels.

These are its softened predictions (Papernot et al. 2016), or the true classes with an outlier class beside them, as
probable as the teacher's dropout passes disagree (Papernot and McDaniel 2017, *Extending Defensive Distillation*).
"""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from keras import layers

from robust_distillation.arrays import Array
from robust_distillation.classifiers.training import History, one_hot, predict_logits, train_classifier
from robust_distillation.defences.dropout import DropoutSampler
from robust_distillation.defences.settings import Student
from robust_distillation.errors import InputError

ALPHA = 0.9  # the outlier class's share in the label of the most uncertain image


def soften(logits: Array, temperature: float) -> Array:
    """Return softmax(logits / temperature) row by row, float32 (N, K) (Papernot et al. 2016, equation 1)."""
    scaled = logits / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    softened: Array = powers / powers.sum(axis=1, keepdims=True)
    return softened


def soft_labels(teacher: keras.Model, images: Array, temperature: float) -> Array:
    """Return the teacher's soft labels, float32 (N, K); row i is computed from image i alone.

    Args:
        teacher: a model that returns logits.
        images: float32 (N, H, W, C) in [0, 1].
        temperature: T, above 0.
    """
    return soften(predict_logits(teacher, images), temperature)


def dropout_uncertainty(teacher: keras.Model, images: Array, *, passes: int, seed: int) -> Array:
    """Return the mean squared Euclidean distance of dropout passes' logits from their mean, float32 (N,).

    This is the teacher's uncertainty (Papernot and McDaniel 2017, section 3).

    Args:
        teacher: a functional model that returns logits.
        images: float32 (N, H, W, C) in [0, 1].
        passes: number of dropout passes.
        seed: of the dropout masks.
    """
    _, logits = DropoutSampler(teacher, passes=passes, seed=seed).predict_logits(images)
    uncertainty: Array = logits.var(axis=0).sum(axis=1)
    return uncertainty


def outlier_labels(labels: Array, uncertainty: Array, n_classes: int, alpha: float = ALPHA) -> Array:
    """Return labels with an outlier class, the last, float32 (N, K + 1) (Papernot and McDaniel 2017, section 3).

    Args:
        labels: integers (N,), the true classes.
        uncertainty: float32 (N,) of the training set, at least 0; the largest gives the outlier class `alpha`.
        n_classes: K.
        alpha: in [0, 1].

    Raises:
        InputError: nothing is uncertain.
    """
    largest = uncertainty.max()
    if not largest > 0:
        raise InputError("labels outlier need a teacher with dropout: its passes agree on every image")
    outlier = alpha * (uncertainty / largest)
    targets: Array = one_hot(labels, n_classes + 1) * (1 - outlier[:, None])
    targets[:, -1] = outlier
    return targets


def without_outlier(network: keras.Model) -> keras.Model:
    """Return a network with K + 1 logits less the last one, to which it has all but the head in common.

    Raises:
        InputError: the network does not end in a dense layer.
    """
    head = network.layers[-1]
    if not isinstance(head, layers.Dense):
        raise InputError(
            "labels outlier need an architecture that ends in a Dense layer, the logits. "
            f"Received: {type(head).__name__}"
        )
    kept = layers.Dense.from_config(head.get_config() | {"units": head.units - 1})
    student = keras.Model(network.input, kept(head.input), name=network.name)
    kept.set_weights([weights[..., :-1] for weights in head.get_weights()])
    return student


def distil(
    teacher: keras.Model,
    images: Array,
    labels: Array,
    settings: Student,
    *,
    temperature: float,
    passes: int = 30,
    seed: int = 0,
    validation: tuple[Array, Array],
    own: int | None = None,
    becomes: Sequence[int] = (),
    checkpoint: Path | None = None,
) -> tuple[keras.Model, History]:
    """Train a new student on the labels that a teacher gives, as `settings.labels` says.

    Args:
        teacher: a functional model that returns logits (N, K).
        images: float32 (N, H, W, C) in [0, 1].
        labels: integers (N,), the true classes.
        settings: of the student.
        temperature: T, above 0; 1 for labels with an outlier class, which do without.
        passes: number of the teacher's dropout passes, by which an outlier class is told.
        seed: of their masks.
        validation: images and their true classes.
        own: as for `train_classifier`.
        becomes: so too; an outlier stays one in a mirror.
        checkpoint: so too.

    Returns:
        The trained network, which returns logits (N, K), or (N, K + 1) with an outlier class, and what
        `train_classifier` says of each epoch.

    Example:
        >>> settings = rd.Student(architecture="cnn", epochs=2, batch_size=5, learning_rate=0.01, seed=0)
        >>> student, history = rd.distil(model, images, labels, settings, temperature=20, validation=(images, labels))
        >>> student.output_shape
        (None, 2)
    """
    asked = teacher
    if settings.labels == "outlier":
        uncertainty = dropout_uncertainty(teacher, images, passes=passes, seed=seed)
        targets, asked = outlier_labels(labels, uncertainty, teacher.output_shape[-1]), None
        becomes = [*becomes, -1] if becomes else []
    else:
        targets = soft_labels(teacher, images, temperature)
    seen, truth = validation
    outputs = targets.shape[1]
    return train_classifier(
        images,
        targets,
        settings,
        temperature=temperature,
        validation=(seen, one_hot(truth, outputs)),
        labels=one_hot(labels, outputs),
        teacher=asked,
        own=own,
        becomes=becomes,
        checkpoint=checkpoint,
    )
