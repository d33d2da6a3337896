"""Attacks that step along the steepest direction: FGSM, I-FGSM, MI-FGSM and PGD, in the L-infinity and L2 norms."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.attack import Attack, generators, is_fooled, restarted
from robust_distillation.threats.evasion.losses import Loss, cross_entropy, margin
from robust_distillation.threats.evasion.norms import (
    SMALLEST,
    Norm,
    dual_length,
    per_image,
    project,
    random_start,
    steepest,
)
from robust_distillation.threats.evasion.victim import Victim

BLOCKS = 8  # a batch shrinks by whole eighths, for every new size costs some set-up
LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "margin": margin}


def ascend(
    victim: Victim,
    images: Array,
    start: Array,
    labels: Array,
    targets: Array | None,
    *,
    norm: Norm,
    loss: Loss,
    epsilon: float,
    step_size: float,
    steps: int,
    decay: float = 0.0,
    early_stop: bool = False,
) -> Array:
    """Step along the steepest direction of the loss and project to the ball, again and again.

    Args:
        victim: the model under attack.
        images: centres of the balls, float32 (N, H, W, C).
        start: where to start, of the same shape.
        labels: the true classes, int32 (N,).
        targets: the classes to reach, whose loss is descended; None to ascend that of the labels.
        norm: of the ball and of the steps.
        loss: of logits and classes.
        epsilon: radius of the ball.
        step_size: length of a step; a negative one descends the loss where it would be ascended.
        steps: number of gradients.
        decay: of the accumulated direction; 0 for none.
        early_stop: whether an image that fools the model is left as it is and soon costs no further gradients.

    Returns:
        The last iterates, or with `early_stop` the first that fool the model.
    """
    targeted = targets is not None

    def graph(
        centres: tf.Tensor,
        current: tf.Tensor,
        labels: tf.Tensor,
        aims: tf.Tensor,
        epsilon: tf.Tensor,
        step_size: tf.Tensor,
        steps: tf.Tensor,
        early_stop: tf.Tensor,
    ) -> tf.Tensor:
        rows = tf.range(tf.shape(centres)[0])[:, None]
        block = tf.size(rows) // BLOCKS + 1
        momentum = tf.zeros_like(current)
        found = current
        fell = tf.zeros_like(labels, tf.bool)
        for _ in tf.range(steps):
            _, logits, gradient = victim.gradient(current, labels, loss, aims)
            fresh = early_stop & is_fooled(logits, labels, aims if targeted else None) & ~fell
            if tf.reduce_any(fresh):
                found = tf.tensor_scatter_nd_update(found, rows[fresh], current[fresh])
                fell |= fresh
                standing = tf.math.count_nonzero(~fell, dtype=tf.int32)
                if standing == 0:
                    break
                kept = -(-standing // block) * block
                if kept < tf.size(rows):
                    first = tf.argsort(tf.cast(fell, tf.int32), stable=True)[:kept]
                    rows, centres, current, labels, aims, gradient, momentum, fell = (
                        tf.gather(tensor, first)
                        for tensor in (rows, centres, current, labels, aims, gradient, momentum, fell)
                    )
            direction = gradient
            if decay:
                momentum = decay * momentum + gradient / tf.maximum(per_image(dual_length(gradient, norm)), SMALLEST)
                direction = momentum
            step = -step_size if targeted else step_size
            current = project(current + step * steepest(direction, norm), centres, epsilon, norm)
        return tf.tensor_scatter_nd_update(found, rows[~fell], current[~fell])

    key = ("ascend", norm, loss, decay, targeted)
    settings = np.float32(epsilon), np.float32(step_size), np.int32(steps), np.bool_(early_stop)
    aims = labels if targets is None else targets
    adversarial: Array = victim.run(key, graph, images, start, labels, aims, *settings).numpy()
    return adversarial


@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """Fast gradient sign method: x + epsilon sign(gradient of the loss at x) (Goodfellow et al. 2015, section 4).

    In the L2 norm it is x + epsilon gradient / |gradient| (Miyato et al. 2017). Targeted, it descends the loss of the
    target.

    Example:
        >>> adversarial = rd.FGSM()(victim, images, labels, epsilon=0.1)
        >>> np.flatnonzero(victim.fooled(adversarial, labels))
        array([4, 5])
    """

    def _attack(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        return ascend(
            victim,
            images,
            images,
            labels,
            targets,
            norm=self.norm,
            loss=cross_entropy,
            epsilon=epsilon,
            step_size=epsilon,
            steps=1,
        )


@dataclass(frozen=True, kw_only=True)
class _Iterative(Attack):
    """What the iterative attacks share.

    Attributes:
        steps: gradients per image and start.
        step_size: length of a step in [0, 1] units; None takes a multiple of epsilon / steps.
        loss: what is ascended; `margin` has a gradient where the softmax in `cross_entropy` is saturated.
        early_stop: whether an image that fools the model is left as it is and soon costs no gradients. The share
            of images that fall is the same or higher; images for a transfer should go all the way.
    """

    steps: int = 10
    step_size: float | None = None
    loss: Literal["cross_entropy", "margin"] = "cross_entropy"
    early_stop: bool = False

    spends: ClassVar[tuple[str, ...]] = (*Attack.spends, "steps", "step_size", "early_stop")
    reach: ClassVar[float] = 2.5  # steps * step_size / epsilon, where step_size is None
    trusted: ClassVar[int] = 10  # steps below which a warning is due

    def __post_init__(self) -> None:
        self._check_positive("steps", *(["step_size"] if self.step_size is not None else []))
        if self.loss not in LOSSES:
            raise InputError(f"loss must be one of {', '.join(LOSSES)}. Received: {self.loss!r}")

    def weakness(self, epsilon: float) -> str | None:
        """Say how many steps would reach the edge of the ball if these cannot, or that they are very few or large."""
        if self.step_size is not None and self.steps * self.step_size < epsilon * (1 - 1e-6):
            needed = int(np.ceil(epsilon / self.step_size - 1e-6))
            return (
                f"{self.steps} steps of {self.step_size:g} cannot reach the edge of the ball at {epsilon:g}; "
                f"use steps={needed} at least, or leave step_size out"
            )
        if self.steps < self.trusted:
            return f"{self.steps} steps are too few to trust; use steps={self.trusted} at least"
        if self.step_size is not None and self.step_size > 2 * epsilon * (1 + 1e-6):
            return (
                f"each step of {self.step_size:g} crosses the whole ball at {epsilon:g}; "
                f"use step_size={self.reach * epsilon / self.steps:.3g}, or leave it out"
            )
        return None

    def _iterate(
        self,
        victim: Victim,
        images: Array,
        start: Array,
        labels: Array,
        targets: Array | None,
        epsilon: float,
        decay: float = 0.0,
    ) -> Array:
        return ascend(
            victim,
            images,
            start,
            labels,
            targets,
            norm=self.norm,
            loss=LOSSES[self.loss],
            epsilon=epsilon,
            step_size=self.reach * epsilon / self.steps if self.step_size is None else self.step_size,
            steps=self.steps,
            decay=decay,
            early_stop=self.early_stop,
        )


@dataclass(frozen=True, kw_only=True)
class IFGSM(_Iterative):
    """Iterative FGSM, also known as BIM: steps from the image itself (Kurakin et al. 2017, section 2.2).

    The default step is that of `PGD`.

    Example:
        >>> adversarial = rd.IFGSM(steps=20, early_stop=True)(victim, images, labels, epsilon=0.1)
        >>> np.flatnonzero(victim.fooled(adversarial, labels))
        array([4, 5])
    """

    def _attack(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        return self._iterate(victim, images, images, labels, targets, epsilon)


@dataclass(frozen=True, kw_only=True)
class MIFGSM(_Iterative):
    """Momentum iterative FGSM (Dong et al. 2018, algorithm 1; equation 6 in the L2 norm).

    The default step is epsilon / steps, as in the paper.

    Attributes:
        decay: of the accumulated gradients, each divided by its L1 norm (L2 in the L2 norm) first; 1 in the paper.

    Example:
        >>> adversarial = rd.MIFGSM(norm="l2", steps=20)(victim, images, labels, epsilon=0.5)
        >>> np.flatnonzero(victim.fooled(adversarial, labels))
        array([4, 5])
    """

    decay: float = 1.0

    reach: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.decay >= 0:
            raise InputError(f"MIFGSM: decay must not be below 0. Received: {self.decay!r}")

    def _attack(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        return self._iterate(victim, images, images, labels, targets, epsilon, self.decay)


@dataclass(frozen=True, kw_only=True)
class PGD(_Iterative):
    """Projected gradient descent from random starts in the ball (Madry et al. 2018, section 2.1).

    The default step is 2.5 epsilon / steps, with which every point of the ball can be reached from every other (section
    5); 40 steps are the paper's for MNIST. A restart attacks only the images that no earlier one has fooled.

    Attributes:
        restarts: number of random starts.

    Example:
        >>> adversarial = rd.PGD(steps=50, restarts=5, seed=1)(victim, images, labels, epsilon=0.1)
        >>> np.flatnonzero(victim.fooled(adversarial, labels))
        array([4, 5])
    """

    steps: int = 40
    restarts: int = 1

    spends: ClassVar[tuple[str, ...]] = (*_Iterative.spends, "restarts")
    trusted: ClassVar[int] = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_positive("restarts")

    def _attack(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        def attempt(restart: int, rows: Array) -> Array:
            aims = None if targets is None else targets[rows]
            draws = generators(images[rows], self.seed, f"pgd {restart}")
            start = random_start(images[rows], draws, epsilon, self.norm)
            return self._iterate(victim, images[rows], start, labels[rows], aims, epsilon)

        return restarted(victim, images, labels, targets, self.restarts, attempt)
