"""How stages train."""

from pathlib import Path

import keras
import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.classifiers.settings import Training
from robust_distillation.classifiers.storage import save_model
from robust_distillation.classifiers.training import History, one_hot, train_classifier
from robust_distillation.dataset.pickles import ImageSet
from robust_distillation.defences.defence import Defence
from robust_distillation.defences.detectors.detector import Detector
from robust_distillation.defences.reform import reform
from robust_distillation.defences.settings import Abstention, Reform, Student, Teacher
from robust_distillation.defences.training import train_defence
from robust_distillation.files import read_record
from robust_distillation.paths import CLASSES, FURTHER, VALIDATE
from robust_distillation.records import Classes


def train_teacher(
    settings: Teacher, train: ImageSet, autoencoder: keras.Model, how: Reform, checkpoint: Path
) -> tuple[keras.Model, History]:
    """Train a teacher on a reformed set."""
    classes, validate = read_record(CLASSES, Classes), ImageSet.load(VALIDATE)
    images, labels = _with_further(train, settings, autoencoder, how)
    n_classes = len(classes.ids)
    return train_classifier(
        images,
        one_hot(labels, n_classes),
        settings,
        temperature=settings.temperature,
        validation=(reform(autoencoder, validate.images, how), one_hot(validate.labels, n_classes)),
        own=len(train),
        becomes=classes.mirror,
        checkpoint=checkpoint,
    )


def train_student(
    teacher: keras.Model,
    train: ImageSet,
    autoencoder: keras.Model,
    how: Reform,
    detector: Detector | None,
    *,
    student: Student,
    temperature: float,
    abstaining: Abstention,
    checkpoint: Path,
) -> tuple[Defence, History]:
    """Train a student of the teacher on a reformed set, and the defence around it."""
    classes, validate = read_record(CLASSES, Classes), ImageSet.load(VALIDATE)
    images, labels = _with_further(train, student, autoencoder, how)
    return train_defence(
        teacher,
        images,
        labels,
        student=student,
        temperature=temperature,
        abstaining=abstaining,
        validation=(validate.images, validate.labels),
        classes=classes,
        autoencoder=autoencoder,
        how=how,
        detector=detector,
        own=len(train),
        checkpoint=checkpoint,
    )


def train_on_labels(train: ImageSet, settings: Training, path: Path, checkpoint: Path) -> tuple[keras.Model, History]:
    """Train a classifier on the labels of a set, and save it."""
    classes, validate = read_record(CLASSES, Classes), ImageSet.load(VALIDATE)
    n_classes = len(classes.ids)
    model, history = train_classifier(
        train.images,
        one_hot(train.labels, n_classes),
        settings,
        validation=(validate.images, one_hot(validate.labels, n_classes)),
        becomes=classes.mirror,
        checkpoint=checkpoint,
    )
    save_model(model, path)
    return model, history


def answering(defence: Defence, test: ImageSet) -> dict[str, float | None]:
    """Return the student's accuracy, the share of images that it answers, and its accuracy on these."""
    answers = defence.answer(test.images)
    answered, correct = ~answers.refused_by("abstention"), answers.best == test.labels
    return {
        "accuracy": float(correct.mean()),
        "coverage": float(answered.mean()),
        "accuracy_when_answering": float(correct[answered].mean()) if answered.any() else None,
        "abstention_threshold": answers.thresholds["abstention"],
        "parameters": defence.student.count_params(),
    }


def _with_further(train: ImageSet, settings: Training, autoencoder: keras.Model, how: Reform) -> tuple[Array, Array]:
    """Return images and labels, with further ones, reformed, behind them where a share of these is asked."""
    if not settings.further_share:
        return train.images, train.labels
    further = ImageSet.load(FURTHER)
    images = np.concatenate([train.images, reform(autoencoder, further.images, how)])
    return images, np.concatenate([train.labels, further.labels])
