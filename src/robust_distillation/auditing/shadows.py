"""The networks of the game of `membership`: trained on halves of a pool, and asked about all of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.auditing.membership import Game
from robust_distillation.auditing.settings import Privacy
from robust_distillation.classifiers.settings import Training
from robust_distillation.classifiers.storage import load_model, save_model
from robust_distillation.classifiers.training import one_hot, predict_logits, train_classifier
from robust_distillation.defences.distillation import distil, soften
from robust_distillation.defences.settings import Student, Teacher
from robust_distillation.progress import Bar
from robust_distillation.records import Classes


@dataclass(frozen=True, kw_only=True)
class Methods:
    """What the networks have of the models that they stand for.

    Attributes:
        teacher: whose method, adversary and temperature are taken.
        student: whose method and adversary are taken; the labels are soft.
        smoothed: whose method and noise are taken.
    """

    teacher: Teacher
    student: Student
    smoothed: Training


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Images of which networks are trained on halves.

    Attributes:
        images: float32 (N, H, W, C) in [0, 1].
        labels: integers (N,).
        validation: images and labels by which trainings are watched, the same for all.
        classes: of the labels.
    """

    images: Array
    labels: Array
    validation: tuple[Array, Array]
    classes: Classes


def play(pool: Pool, members: Array, asked: Privacy, methods: Methods, folder: Path) -> dict[str, Game]:
    """Train the networks of each model, and return what they answer.

    Args:
        pool: of images.
        members: booleans (S, N), which images each network is trained on.
        asked: models, networks, draws and seed.
        methods: of the models.
        folder: where each network is kept as soon as it is trained; what lies there is not trained again.
    """
    games: dict[str, Game] = {}
    for name in asked.models:
        logits = []
        for number in Bar(range(len(members)), desc=f"networks, {name}", unit="network"):
            model = _network(name, number, pool, np.flatnonzero(members[number]), asked.network, methods, folder)
            logits.append(answers(model, pool.images, name, methods.smoothed.smoothing.sigma, asked.draws, asked.seed))
            keras.utils.clear_session()
        games[name] = Game(logits=np.array(logits), members=members, labels=pool.labels)
    return games


def _network(
    name: str, number: int, pool: Pool, rows: Array, network: Training, methods: Methods, folder: Path
) -> keras.Model:
    settings = replace(network, seed=(network.seed + number) % 2**32)

    def on_labels(which: str) -> keras.Model:
        return _kept(folder / f"{which} {number}.keras", lambda: _on_labels(which, pool, rows, settings, methods))

    def student() -> keras.Model:
        return _student(on_labels("teacher"), pool, rows, settings, methods)

    return _kept(folder / f"student {number}.keras", student) if name == "student" else on_labels(name)


def _kept(path: Path, train: Callable[[], keras.Model]) -> keras.Model:
    if not path.exists():
        save_model(train(), path)
    return load_model(path)


def _on_labels(name: str, pool: Pool, rows: Array, settings: Training, methods: Methods) -> keras.Model:
    if name == "teacher":
        settings = replace(settings, method=methods.teacher.method, adversary=methods.teacher.adversary)
    if name == "smoothed":
        settings = replace(settings, method=methods.smoothed.method, smoothing=methods.smoothed.smoothing)
    n_classes, (images, labels) = len(pool.classes.ids), pool.validation
    model, _ = train_classifier(
        pool.images[rows],
        one_hot(pool.labels[rows], n_classes),
        settings,
        temperature=methods.teacher.temperature if name == "teacher" else 1.0,
        validation=(images, one_hot(labels, n_classes)),
        becomes=pool.classes.mirror,
    )
    return model


def _student(teacher: keras.Model, pool: Pool, rows: Array, settings: Training, methods: Methods) -> keras.Model:
    taught = replace(settings, method=methods.student.method, adversary=methods.student.adversary)
    model, _ = distil(
        teacher,
        pool.images[rows],
        pool.labels[rows],
        Student(**vars(taught)),
        temperature=methods.teacher.temperature,
        validation=pool.validation,
        becomes=pool.classes.mirror,
    )
    return model


def answers(model: keras.Model, images: Array, name: str, sigma: float, draws: int, seed: int) -> Array:
    """Return a model's logits (N, K), or of `smoothed` the logarithms of its mean probabilities over draws of noise."""
    if name != "smoothed":
        return predict_logits(model, images)
    rng, shape = np.random.default_rng([seed, 1]), images.shape  # not the stream that drew members
    noisy = (images + sigma * rng.standard_normal(shape, np.float32) for _ in range(draws))
    mean = np.mean([soften(predict_logits(model, one), 1.0) for one in noisy], axis=0)
    logits: Array = np.log(mean + np.finfo(np.float32).tiny)
    return logits
