"""Attacks by an attacker who holds another model: transfer, and the extraction of that model by queries.

Usage:
    substitute, queries = extract(victim, images, labels, settings)
    adversarial = rd.Transfer(attack=rd.PGD(), surrogate=substitute)(victim, images, labels, epsilon=8 / 255)
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager.context import context

from robust_distillation.arrays import Array
from robust_distillation.classifiers.settings import Training
from robust_distillation.classifiers.training import one_hot, train_classifier
from robust_distillation.errors import InputError
from robust_distillation.progress import Bar
from robust_distillation.threats.evasion.attack import Attack, check_epsilon, check_images
from robust_distillation.threats.evasion.losses import cross_entropy
from robust_distillation.threats.evasion.norms import Norm
from robust_distillation.threats.evasion.sign import ascend
from robust_distillation.threats.evasion.victim import Model, Victim, as_victim


@dataclass(frozen=True, kw_only=True)
class Transfer(Attack):
    """An attack crafted on another model and shown to the victim (Papernot et al. 2016, *Transferability*).

    The victim's gradients and answers are not used. Images that go all the way transfer better: leave `early_stop` of
    the attack off.

    Attributes:
        attack: what crafts the images; its norm and seed are those of the transfer.
        surrogate: the model that it attacks: the attacker's own, the teacher of the victim, or one from `extract`.

    Example:
        >>> surrogate = keras.models.clone_model(model)
        >>> surrogate.set_weights([np.array([[-3, 3]]), np.array([1, -1])])
        >>> transfer = rd.Transfer(attack=rd.PGD(), surrogate=surrogate)
        >>> adversarial = transfer(victim, images, labels, epsilon=0.1)
        >>> np.flatnonzero(victim.fooled(adversarial, labels))
        array([4, 5])
    """

    attack: Attack
    surrogate: Model | Victim
    norm: Norm = field(init=False)
    seed: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "norm", self.attack.norm)
        object.__setattr__(self, "seed", self.attack.seed)

    def _attack(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        return self.attack(self.surrogate, images, labels, epsilon=epsilon, targets=targets)


def extract(
    model: Model | Victim,
    images: Array,
    labels: Array,
    settings: Training,
    *,
    rounds: int = 6,
    step: float = 0.1,
    period: int = 3,
    answers: Literal["labels", "probabilities"] = "labels",
) -> tuple[keras.Model, int]:
    """Train a substitute of a model that only answers queries.

    Each round trains the substitute on all that was asked so far, then doubles that set: x + step sign(dF_y / dx) is
    asked for every x in it, where F_y is the substitute's probability of the victim's answer y to x (Jacobian-based
    augmentation, Papernot et al. 2017, *Practical Black-Box Attacks*, algorithm 1). The sign of the step turns every
    `period` rounds (periodical step size, Papernot et al. 2016, *Transferability in Machine Learning*). The random
    state of Python, NumPy and TensorFlow is left as it was.

    Args:
        model: the victim.
        images: float32 (N, H, W, C) in [0, 1], the few that the attacker starts from; 1,000 for GTSRB in the paper.
        labels: integers (N,), their true classes; they matter only to a victim that refuses images.
        settings: of the substitute: architecture, epochs, batch size, learning rate and seed.
        rounds: trainings of the substitute; 6 in the paper.
        step: lambda, in [0, 1] units; 0.1 in the paper.
        period: tau, rounds between changes of the step's sign; 3 in the paper.
        answers: what the victim tells: its class, or its probabilities as well.

    Returns:
        The substitute, which returns logits, and the number of queries spent: N 2^(rounds - 1).

    Raises:
        InputError: images, labels, rounds, step or period are of a wrong type, shape or range.
    """
    victim = as_victim(model)
    check_images(images, labels)
    check_epsilon(step, "linf", images[:1].size)
    if rounds < 1 or period < 1 or not len(images):
        raise InputError(
            f"extraction needs rounds, period and images of at least 1. Received: {rounds}, {period}, {len(images)}"
        )
    victim.check(images, labels)
    fresh, asked, targets = images, images[:0], None
    for turn in Bar(range(rounds), desc="extract", unit="round"):
        told = _ask(victim, fresh, np.resize(labels, len(fresh)), answers)
        asked = np.concatenate([asked, fresh])
        targets = told if targets is None else np.concatenate([targets, told])
        held = len(images)
        with kept_random_state():
            substitute, _ = train_classifier(asked, targets, settings, validation=(asked[:held], targets[:held]))
        if turn + 1 < rounds:
            turned = -step if turn // period % 2 else step
            fresh = _augment(Victim(substitute), asked, targets.argmax(axis=1).astype(np.int32), turned)
    return substitute, len(asked)


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Put the global random state of Python, NumPy and TensorFlow back at the end; training seeds all three."""
    eager = context()  # TensorFlow has no public way to read its global seed.
    python, arrays, seed, draws = random.getstate(), np.random.get_state(), eager._seed, eager._rng  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002
        eager._seed, eager._rng = seed, draws


def _augment(substitute: Victim, images: Array, said: Array, step: float) -> Array:
    fresh = np.empty_like(images)
    for row in substitute.batches(len(images)):
        fresh[row] = ascend(
            substitute,
            images[row],
            images[row],
            said[row],
            None,
            norm="linf",
            loss=cross_entropy,  # its gradient is -1 / F_y times that of F_y
            epsilon=abs(step),
            step_size=-step,
            steps=1,
        )
    return fresh


def _ask(victim: Victim, images: Array, labels: Array, answers: str) -> Array:
    logits = victim.predict_logits(images, labels.astype(np.int32))
    if answers == "probabilities":
        probabilities: Array = tf.nn.softmax(logits).numpy()
        return probabilities
    return one_hot(logits.argmax(axis=1), logits.shape[1])
