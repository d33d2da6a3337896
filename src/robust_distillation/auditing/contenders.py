"""Defences of each kind as contenders of the comparison."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.auditing.comparison import Contender
from robust_distillation.classifiers.training import predict_logits
from robust_distillation.defences.defence import Defence
from robust_distillation.defences.distillation import soften
from robust_distillation.defences.input_filters import InputFilter, filtered
from robust_distillation.defences.smoothing import Smoothed
from robust_distillation.threats.evasion.victim import Victim

SMALLEST = 1e-12  # probability whose logarithm is taken


def classifier(name: str, model: keras.Model, temperature: float = 1.0) -> Contender:
    """Return a classifier with nothing around it, of images to logits."""
    victim = Victim(model, temperature=temperature)
    return Contender(
        name=name,
        alone=victim,
        whole=victim,
        answer=lambda images: predict_logits(model, images).argmax(axis=1),
        parameters=model.count_params(),
    )


def defence(name: str, whole: Defence) -> Contender:
    """Return all of a defence; what it refuses is no answer."""

    def answer(images: Array) -> Array:
        answers = whole.answer(images)
        return np.where(answers.passed, answers.best, -1)

    return Contender(
        name=name,
        alone=Victim(whole.student, temperature=whole.temperature),
        whole=whole.victim("deny" if whole.refuses else None),
        answer=answer,
        parameters=whole.classifier.count_params(),
    )


def behind_filter(name: str, chosen: InputFilter, undefended: Contender, model: keras.Model) -> Contender:
    """Return a classifier, a contender itself, behind an input filter."""
    return Contender(
        name=name,
        alone=undefended.alone,
        whole=Victim(filtered(model, chosen)),
        answer=lambda images: predict_logits(model, chosen(images)).argmax(axis=1),
        parameters=model.count_params(),
    )


def smoothed(name: str, model: keras.Model, *, sigma: float, votes: int, draws: int, seed: int) -> Contender:
    """Return a classifier smoothed by noise, whose attackers average gradients over draws (EOT).

    Args:
        name: in the table.
        model: the base classifier.
        sigma: standard deviation of the noise.
        votes: of each answer.
        draws: of each gradient.
        seed: of the noise.
    """
    noise, voting = keras.layers.GaussianNoise(sigma, seed=seed), Smoothed(model, sigma=sigma, seed=seed)
    return Contender(
        name=name,
        alone=Victim(model),
        whole=Victim(lambda images: model(noise(images, training=True)), draws=draws),
        answer=lambda images: voting.predict(images, n=votes),
        parameters=model.count_params(),
    )


def ensemble(models: Sequence[keras.Model]) -> Contender:
    """Return several classifiers whose probabilities are averaged."""

    def logits(images: tf.Tensor) -> tf.Tensor:
        mean = tf.add_n([tf.nn.softmax(model(images)) for model in models]) / len(models)
        return tf.math.log(mean + SMALLEST)

    def answer(images: Array) -> Array:
        answers: Array = np.sum([soften(predict_logits(model, images), 1.0) for model in models], axis=0).argmax(axis=1)
        return answers

    victim = Victim(logits)
    return Contender(
        name=f"ensemble of {len(models)}",
        alone=victim,
        whole=victim,
        answer=answer,
        parameters=sum(model.count_params() for model in models),
    )
