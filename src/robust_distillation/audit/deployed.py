"""The whole defence as it is deployed: what it answers, and how an attacker who knows it attacks all of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.defences.abstention import Abstention
from robust_distillation.defences.detector import Detector
from robust_distillation.defences.reform import How, reform, reformed_classifier
from robust_distillation.threats.evasion.victim import Goal, Victim


@dataclass(frozen=True)
class Answers:
    """What a deployed defence says about images.

    Attributes:
        correct: booleans (N,), the most probable class is the label.
        excess: by part that may refuse an image, its score less its threshold (N,): above 0 it refuses.
    """

    correct: Array
    excess: dict[str, Array]

    @property
    def passed(self) -> Array:
        """Booleans (N,): answered and unflagged."""
        return np.logical_and.reduce([excess <= 0 for excess in self.excess.values()])

    @property
    def useful(self) -> Array:
        """Booleans (N,): answered, right and unflagged."""
        return self.correct & self.passed

    @property
    def harmful(self) -> Array:
        """Booleans (N,): answered, wrong and unflagged."""
        return ~self.correct & self.passed


@dataclass(frozen=True)
class Deployed:
    """Detector, reform, student and abstention.

    Attributes:
        autoencoder: of reform and detector.
        how: to reform.
        detector: flags images.
        abstention: of the student, which it holds.
        temperature: of the student's distillation.
    """

    autoencoder: keras.Model
    how: How
    detector: Detector
    abstention: Abstention
    temperature: float

    @cached_property
    def classifier(self) -> keras.Model:
        """The student behind the reform, images to logits."""
        return reformed_classifier(self.autoencoder, self.abstention.student, self.how)

    def answer(self, images: Array, labels: Array) -> Answers:
        """Ask what is deployed about float32 images (N, H, W, C) with labels (N,)."""
        seen = reform(self.autoencoder, images, self.how)
        excess = {
            "detector": self.detector.score(images) - self.detector.threshold,
            "abstention": self.abstention.uncertainty(seen) - self.abstention.threshold,
        }
        return Answers(~Victim(self.abstention.student).fooled(seen, labels), excess)

    def victim(self, goal: Goal) -> Victim:
        """Return all of it as an attacker holds it who knows everything, the dropout masks that are deployed included.

        Args:
            goal: `deny` any useful answer, or `deceive` by a harmful one.
        """
        reconstruct = once(self.autoencoder)
        detector = replace(self.detector, autoencoder=reconstruct)
        seen = reconstruct if self.how == "reconstruct" else tf.identity

        def classify(images: tf.Tensor) -> tf.Tensor:
            return self.abstention.student(seen(images))

        def refusal(images: tf.Tensor) -> tf.Tensor:
            return tf.maximum(detector.margin(images), self.abstention.margin(seen(images), self.temperature))

        return Victim(classify, temperature=self.temperature, refusal=refusal, goal=goal)


def once(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a function that, while a graph is traced, is not computed again for the tensor that it last saw there."""

    @lru_cache(maxsize=1)
    def in_graph(images: Any, _: tf.Graph) -> tf.Tensor:
        return function(images.deref())

    def compute(images: tf.Tensor) -> tf.Tensor:
        if tf.executing_eagerly():
            return function(images)
        return in_graph(images.ref(), tf.compat.v1.get_default_graph())

    return compute


@dataclass(frozen=True)
class Outcome:
    """What attacks left of a defence, image by image.

    Attributes:
        as_student: booleans (N,), useful under the attack on the student, which knows nothing of what refuses.
        adaptively: booleans (N,), useful under the attacks on the whole defence.
        harmed: booleans (N,), harmful after at least one of all these attacks.
    """

    as_student: Array
    adaptively: Array
    harmed: Array

    @property
    def stands(self) -> Array:
        """Booleans (N,): useful under every attack."""
        return self.as_student & self.adaptively


def outcome(clean: Answers, as_student: Answers, *adaptive: Answers) -> Outcome:
    """Join the answers to the clean images (N,) with those to what each attack made of them."""
    return Outcome(
        clean.useful & as_student.useful,
        np.logical_and.reduce([clean.useful, *(answers.useful for answers in adaptive)]),
        np.logical_or.reduce([as_student.harmful, *(answers.harmful for answers in adaptive)]),
    )
