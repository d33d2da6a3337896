"""The whole defence as it is deployed: what it answers, and how an attacker who knows it attacks all of it."""

from dataclasses import dataclass, replace
from functools import cached_property

import keras
import numpy as np
import tensorflow as tf

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

    correct: np.ndarray
    excess: dict[str, np.ndarray]

    @property
    def passed(self) -> np.ndarray:
        """Booleans (N,): answered and unflagged."""
        return np.logical_and.reduce([excess <= 0 for excess in self.excess.values()])

    @property
    def useful(self) -> np.ndarray:
        """Booleans (N,): answered, right and unflagged."""
        return self.correct & self.passed

    @property
    def harmful(self) -> np.ndarray:
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

    def answer(self, images: np.ndarray, labels: np.ndarray) -> Answers:
        """Ask what is deployed about float32 images (N, H, W, C) with labels (N,)."""
        seen = reform(self.autoencoder, images, self.how)
        excess = {
            "detector": self.detector.score(images) - self.detector.threshold,
            "abstention": self.abstention.uncertainty(seen) - self.abstention.threshold,
        }
        return Answers(~Victim(self.abstention.student).fooled(seen, labels), excess)

    def victim(self, goal: Goal, *, passes: int, seed: int, draws: int) -> Victim:
        """Return all of it as an attacker holds it who knows everything but the seed of the dropout masks.

        Args:
            goal: `deny` any useful answer, or `deceive` by a harmful one.
            passes: dropout passes that the attacker averages over.
            seed: of the attacker's dropout masks.
            draws: of `Victim`.
        """
        guessed = replace(self.abstention, passes=passes, seed=seed)

        def refusal(images: tf.Tensor) -> tf.Tensor:
            seen = self.autoencoder(images) if self.how == "reconstruct" else images
            return tf.maximum(self.detector.margin(images), guessed.margin(seen))

        return Victim(self.classifier, temperature=self.temperature, refusal=refusal, goal=goal, draws=draws)
