"""A student, distilled and put behind all that is deployed with it."""

from pathlib import Path

import keras

from robust_distillation.arrays import Array
from robust_distillation.classifiers.training import History
from robust_distillation.defences import settings
from robust_distillation.defences.abstention import fit_abstention
from robust_distillation.defences.defence import Defence
from robust_distillation.defences.detectors.detector import Detector
from robust_distillation.defences.distillation import distil, without_outlier
from robust_distillation.defences.reform import reform
from robust_distillation.records import Classes


def train_defence(
    teacher: keras.Model,
    images: Array,
    labels: Array,
    *,
    student: settings.Student,
    temperature: float,
    abstaining: settings.Abstention,
    validation: tuple[Array, Array],
    classes: Classes,
    autoencoder: keras.Model,
    how: settings.Reform,
    detector: Detector | None,
    own: int | None = None,
    checkpoint: Path | None = None,
) -> tuple[Defence, History]:
    """Distil a student, and infer on validation images when it abstains.

    Args:
        teacher: a functional model that returns logits (N, K).
        images: reformed, float32 (N, H, W, C) in [0, 1].
        labels: integers (N,).
        student: how it is trained.
        temperature: of the teacher.
        abstaining: how uncertainty is measured, and the share of validation images that must be answered.
        validation: images as they come, and their labels.
        classes: of the labels, and what each is in a mirror.
        autoencoder: that reforms.
        how: what becomes of an image before the student sees it.
        detector: of what is deployed.
        own: as for `train_classifier`.
        checkpoint: so too.

    Returns:
        The defence, and what `train_classifier` says of each epoch.
    """
    soft = student.labels == "soft"
    temperature = temperature if soft else 1.0
    seen = reform(autoencoder, validation[0], how)
    network, history = distil(
        teacher,
        images,
        labels,
        student,
        temperature=temperature,
        passes=abstaining.passes,
        seed=abstaining.seed,
        validation=(seen, validation[1]),
        own=own,
        becomes=classes.mirror,
        checkpoint=checkpoint,
    )
    deployed = network if soft else without_outlier(network)
    defence = Defence(
        student=deployed,
        classes=classes,
        temperature=temperature,
        autoencoder=autoencoder if how == "reconstruct" else None,
        detector=detector,
        abstention=fit_abstention(
            network, deployed, abstaining, training=(images[:own], labels[:own]), validation=seen
        ),
    )
    return defence, history
