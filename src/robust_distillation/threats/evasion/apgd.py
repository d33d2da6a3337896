"""Auto-PGD (Croce and Hein 2020, *Reliable evaluation of adversarial robustness*): PGD that finds its own step size."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.attack import (
    Attack,
    Budget,
    generators,
    is_fooled,
    likeliest_wrong,
    restarted,
    rows_where,
)
from robust_distillation.threats.evasion.losses import Loss, cross_entropy, margin
from robust_distillation.threats.evasion.norms import Norm, clipped, per_image, project, steepest
from robust_distillation.threats.evasion.victim import Victim

RHO = 0.75  # share of the steps since the last checkpoint that must raise the loss, or the step size is halved
MOMENTUM = 0.25  # weight of the previous change


def dlr(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return the difference of logits ratio (equation 6 of the paper), which no scaling or shift of the logits changes.

    With two classes there is no third logit to scale by, and the plain difference is returned. Auto-PGD climbs it alike
    at every scale, for its steps have a given length and it only compares losses.
    """
    return margin(logits, labels) / _spread(logits, deepest=3)


def targeted_dlr(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Return the targeted difference of logits ratio (equation 7): positive where the target beats the label.

    With two or three classes it is the plain difference: over z1 - z3 the third class's ratio would be constant.
    """
    gap = tf.gather(logits, targets, batch_dims=1) - tf.gather(logits, labels, batch_dims=1)
    return gap / _spread(logits, deepest=4)


def _spread(logits: tf.Tensor, deepest: int) -> tf.Tensor:
    """Return the largest logit less the mean of the third to the `deepest` largest; 1 where there are fewer classes."""
    if logits.shape[1] < deepest:
        return tf.ones_like(logits[:, 0])
    ranked = tf.math.top_k(logits, deepest).values
    return ranked[:, 0] - tf.reduce_mean(ranked[:, 2:], axis=1) + 1e-12


# Of logits and pairs (N, 2): the label and the target.
UNTARGETED: dict[str, Loss] = {
    "cross_entropy": lambda logits, pairs: cross_entropy(logits, pairs[:, 0]),
    "dlr": lambda logits, pairs: dlr(logits, pairs[:, 0]),
}
TARGETED: dict[str, Loss] = {
    "cross_entropy": lambda logits, pairs: -cross_entropy(logits, pairs[:, 1]),
    "dlr": lambda logits, pairs: targeted_dlr(logits, pairs[:, 0], pairs[:, 1]),
}


def checkpoints(steps: int) -> Array:
    """Return int32 (steps + 1,): after each number of steps that is a checkpoint, the steps since the last; else 0.

    The periods are those of the official code: 22 % of the steps, then 3 % shorter each time but never below 6 %, in
    whole steps.
    """
    periods = np.zeros(steps + 1, np.int32)
    period, shortest, cut = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    after = period
    while after <= steps:
        periods[after] = period
        period = max(period - cut, shortest)
        after += period
    return periods


def edge_start(images: Array, draws: list[np.random.Generator], epsilon: float, norm: Norm) -> Array:
    """Return one random point on the surface of each image's ball, clipped to [0, 1], as the official code does.

    Args:
        images: float32 (N, H, W, C) in [0, 1].
        draws: one generator per image.
        epsilon: radius.
        norm: of the ball.
    """
    shape = images.shape[1:]
    if norm == "linf":
        changes = np.stack([draw.uniform(-1, 1, shape) for draw in draws])
        lengths = np.abs(changes).max(axis=(1, 2, 3), keepdims=True)
    else:
        changes = np.stack([draw.standard_normal(shape) for draw in draws])
        lengths = np.sqrt(np.square(changes).sum(axis=(1, 2, 3), keepdims=True))
    return clipped(images + epsilon * changes / lengths)


def climb(
    victim: Victim,
    images: Array,
    start: Array,
    labels: Array,
    targets: Array | None,
    *,
    norm: Norm,
    loss: Loss,
    epsilon: float,
    steps: int,
    reach_target: bool,
) -> Array:
    """Run algorithm 1 of the paper once; an image that fools the model is left as it is and costs no further gradients.

    Args:
        victim: the model under attack.
        images: centres of the balls, float32 (N, H, W, C).
        start: where to start, of the same shape.
        labels: the true classes, int32 (N,).
        targets: the classes that the loss looks at besides, int32 (N,), or None.
        norm: of the ball and of the steps.
        loss: of logits and pairs (N, 2) of label and target.
        epsilon: radius of the ball.
        steps: number of steps, each one gradient; the start costs one more.
        reach_target: whether the model is fooled only where it answers the target.

    Returns:
        The first iterates that fool the model; where there is none, those of the highest loss.
    """

    def graph(
        centres: tf.Tensor, current: tf.Tensor, pairs: tf.Tensor, epsilon: tf.Tensor, periods: tf.Tensor
    ) -> tf.Tensor:
        rows = tf.range(tf.shape(centres)[0])[:, None]
        found = previous = best = current
        best_gradient = tf.zeros_like(current)
        size = tf.fill(tf.shape(rows)[:1], 2 * epsilon)
        highest = checked = tf.fill(tf.shape(size), -np.float32(np.inf))
        last = tf.fill(tf.shape(size), np.float32(np.inf))
        rises = tf.zeros_like(size)
        halved = tf.fill(tf.shape(size), True)
        for step in tf.range(tf.size(periods)):
            values, logits, gradient = victim.gradient(current, pairs[:, 0], loss, pairs)
            fooled = is_fooled(logits, pairs[:, 0], pairs[:, 1] if reach_target else None)
            if tf.reduce_any(fooled):
                found = tf.tensor_scatter_nd_update(found, rows[fooled], current[fooled])
                rows, centres, pairs, values, gradient, current, previous, best, best_gradient = rows_where(
                    ~fooled, rows, centres, pairs, values, gradient, current, previous, best, best_gradient
                )
                size, highest, checked, last, rises, halved = rows_where(
                    ~fooled, size, highest, checked, last, rises, halved
                )
            if tf.size(rows) == 0:
                break

            higher = values > highest
            best = tf.where(per_image(higher), current, best)
            best_gradient = tf.where(per_image(higher), gradient, best_gradient)
            highest = tf.where(higher, values, highest)
            rises += tf.cast(values > last, tf.float32)
            last = values

            if periods[step] > 0:
                # Conditions 1 and 2 of the paper's section 3.
                stuck = (rises <= RHO * tf.cast(periods[step], tf.float32)) | (~halved & (checked >= highest))
                size = tf.where(stuck, size / 2, size)
                current = tf.where(per_image(stuck), best, current)
                gradient = tf.where(per_image(stuck), best_gradient, gradient)
                halved, checked, rises = stuck, highest, tf.zeros_like(rises)

            stepped = project(current + per_image(size) * steepest(gradient, norm), centres, epsilon, norm)
            inertia = tf.where(step == 0, 0.0, MOMENTUM)
            change = (1 - inertia) * (stepped - current) + inertia * (current - previous)
            previous, current = current, project(current + change, centres, epsilon, norm)
        return tf.tensor_scatter_nd_update(found, rows, best)

    pairs = np.stack([labels, labels if targets is None else targets], axis=1)
    key = ("apgd", norm, loss, reach_target)
    adversarial: Array = victim.run(key, graph, images, start, pairs, np.float32(epsilon), checkpoints(steps)).numpy()
    return adversarial


@dataclass(frozen=True, kw_only=True)
class _AutoPGD(Attack):
    """What APGD and APGDT share.

    Attributes:
        steps: gradients per image, start and target, besides that of the start itself; 100 in the paper.
        restarts: number of random starts, per target in `APGDT`.
    """

    steps: int = 100
    restarts: int = 1

    spends: ClassVar[tuple[str, ...]] = (*Attack.spends, "steps", "restarts")

    def __post_init__(self) -> None:
        self._check_positive("steps", "restarts")

    def weakness(self, epsilon: float) -> str | None:
        """Say that fewer than 20 steps leave the step size no time to settle."""
        if self.steps < 20:
            return f"{self.steps} steps are too few to trust; use steps=50 (100 are published)"
        return None

    def _climb(
        self,
        victim: Victim,
        images: Array,
        labels: Array,
        targets: Array | None,
        epsilon: float,
        purpose: str,
        loss: Loss,
        *,
        reach_target: bool,
    ) -> Array:
        """Climb once, from the random start that this purpose draws."""
        start = edge_start(images, generators(images, self.seed, purpose), epsilon, self.norm)
        return climb(
            victim,
            images,
            start,
            labels,
            targets,
            norm=self.norm,
            loss=loss,
            epsilon=epsilon,
            steps=self.steps,
            reach_target=reach_target,
        )


@dataclass(frozen=True, kw_only=True)
class APGD(_AutoPGD):
    """Auto-PGD on the cross-entropy or the difference of logits ratio (Croce and Hein 2020, algorithm 1).

    The step starts at 2 epsilon and is halved where the loss stops rising; the search then goes on from the best point.
    All defaults are the paper's. Images that the model gets wrong already are returned as they are. With targets the
    loss is the negative cross-entropy of the target, or the targeted ratio (equation 7).

    Attributes:
        loss: what is ascended. `dlr` has a gradient where the softmax in `cross_entropy` is saturated.

    Example:
        >>> adversarial = rd.APGD(loss="dlr")(victim, images, labels, epsilon=0.1)
        >>> np.flatnonzero(victim.fooled(adversarial, labels))
        array([4, 5])
    """

    loss: Literal["cross_entropy", "dlr"] = "cross_entropy"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss not in UNTARGETED:
            raise InputError(f"loss must be one of {', '.join(UNTARGETED)}. Received: {self.loss!r}")

    def _attack(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        losses = UNTARGETED if targets is None else TARGETED

        def attempt(number: int, rows: Array) -> Array:
            if number == 0:
                return images[rows]
            aims, purpose = None if targets is None else targets[rows], f"apgd {self.loss} {number}"
            loss, targeted = losses[self.loss], targets is not None
            return self._climb(victim, images[rows], labels[rows], aims, epsilon, purpose, loss, reach_target=targeted)

        return restarted(victim, images, labels, targets, 1 + self.restarts, attempt)


@dataclass(frozen=True, kw_only=True)
class APGDT(_AutoPGD):
    """Auto-PGD on the targeted difference of logits ratio, target after target (Croce and Hein 2020, section 4.1).

    The targets of an image are the wrong classes that the model finds likeliest on the clean image, likeliest first;
    any wrong answer counts, and only images that still stand meet the next target. Images that the model gets wrong
    already are returned as they are.

    Attributes:
        n_targets: targets per image, at most all wrong classes; 9 in the paper.

    Example:
        >>> adversarial = rd.APGDT()(victim, images, labels, epsilon=0.1)
        >>> np.flatnonzero(victim.fooled(adversarial, labels))
        array([4, 5])
    """

    n_targets: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_positive("n_targets")

    def _attack(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        if targets is not None:
            raise InputError("APGDT chooses its own targets: leave targets out, or use APGD(loss='dlr') with them")
        likeliest = likeliest_wrong(victim, images, labels, self.n_targets)

        def attempt(number: int, rows: Array) -> Array:
            if number == 0:
                return images[rows]
            aims, purpose = likeliest[rows, (number - 1) // self.restarts], f"apgdt {number}"
            return self._climb(
                victim, images[rows], labels[rows], aims, epsilon, purpose, TARGETED["dlr"], reach_target=False
            )

        return restarted(victim, images, labels, None, 1 + self.restarts * likeliest.shape[1], attempt)


def apgd_dlr(budget: Budget) -> APGD:
    """Return Auto-PGD on the difference-of-logits ratio."""
    return APGD.within(budget, loss="dlr")
