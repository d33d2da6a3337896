"""FAB-T: the fast adaptive boundary attack, which steps along the model's linearised boundary towards the image."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.threats.evasion.attack import generators, is_fooled, likeliest_wrong, rows_where
from robust_distillation.threats.evasion.losses import margin
from robust_distillation.threats.evasion.minimum_norm import MinimumNorm
from robust_distillation.threats.evasion.norms import AXES, Norm, clipped, length, per_image
from robust_distillation.threats.evasion.victim import Victim

SEARCH_STEPS = 3  # of the final search, as in the paper
NEWTON_STEPS = 20  # at most; a handful do on images


@dataclass(frozen=True, kw_only=True)
class FABT(MinimumNorm):
    """Targeted fast adaptive boundary attack, in the L-infinity and L2 norms.

    FAB is algorithm 1 of Croce and Hein 2020, *Minimally distorted adversarial examples with a fast adaptive boundary
    attack*. FAB-T (*Reliable evaluation of adversarial robustness*, section 5) linearises only the boundary between the
    label and one target at a time, the wrong classes that the model finds likeliest on the clean image, likeliest
    first. Any wrong answer counts. With `targets`, only these count, and the boundary is that of the target to all
    other classes. All defaults are those of the standard ensemble.

    Attributes:
        steps: per target and restart, each one gradient and one answer.
        restarts: number of starts per target, the first at the image, the others at random.
        n_targets: classes tried, at most all wrong ones.
        alpha_max: largest weight of the image's own projection on the boundary.
        eta: extrapolation beyond the boundary.
        beta: share of the distance that is kept when an adversarial iterate is pulled back to the image.

    Example:
        >>> nearest = rd.FABT().minimal(victim, images[:5], labels[:5])
        >>> np.abs(nearest - images[:5]).max(axis=(1, 2, 3)).round(2)
        array([0.45, 0.35, 0.25, 0.15, 0.05], dtype=float32)
    """

    steps: int = 100
    restarts: int = 1
    n_targets: int = 9
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9

    spends: ClassVar[tuple[str, ...]] = (*MinimumNorm.spends, "steps", "restarts")

    def __post_init__(self) -> None:
        self._check_positive("steps", "restarts", "n_targets", "alpha_max", "eta", "beta")

    def weakness(self, epsilon: float) -> str | None:
        """Say that fewer than 20 steps do not settle on the boundary."""
        if self.steps < 20:
            return f"{self.steps} steps are too few to trust; use steps=20 at least (100 are published)"
        return None

    def _minimise(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        ranked = likeliest_wrong(victim, images, labels, self.n_targets) if targets is None else targets[:, None]
        enough = np.float32(epsilon if self.early_stop else 0)
        found, distance = images.copy(), np.full(len(images), np.inf, np.float32)
        for rank, aims in enumerate(ranked.T):
            for restart in range(self.restarts):
                rows = np.flatnonzero(distance > enough)
                if not len(rows):
                    return found
                start = images[rows]
                if restart:
                    draws = generators(start, self.seed, f"fab {rank} {restart}")
                    start = start_around(start, draws, np.minimum(distance[rows], epsilon) / 2, self.norm)
                pairs = np.stack([labels[rows], aims[rows]], axis=1)
                found[rows], distance[rows] = self._approach(
                    victim, images[rows], start, pairs, found[rows], distance[rows], enough, targets is not None
                )
        rows = np.flatnonzero((distance > enough) & np.isfinite(distance))
        if len(rows):
            aims = None if targets is None else targets[rows]
            found[rows] = pull_back(victim, images[rows], found[rows], labels[rows], aims)
        return found

    def _approach(
        self,
        victim: Victim,
        images: Array,
        start: Array,
        pairs: Array,
        found: Array,
        distance: Array,
        enough: np.float32,
        reach_target: bool,
    ) -> tuple[Array, Array]:
        """Run algorithm 1 once; return the nearest adversarial images known and their distances."""
        loss = reach if reach_target else lead

        def graph(
            centres: tf.Tensor,
            current: tf.Tensor,
            pairs: tf.Tensor,
            nearest: tf.Tensor,
            distance: tf.Tensor,
            enough: tf.Tensor,
            steps: tf.Tensor,
            alpha_max: tf.Tensor,
            eta: tf.Tensor,
            beta: tf.Tensor,
        ) -> tuple[tf.Tensor, tf.Tensor]:
            rows = tf.range(tf.shape(centres)[0])[:, None]
            all_nearest, all_distances = nearest, distance
            for _ in tf.range(steps):
                gap, _, normal = victim.gradient(current, pairs[:, 0], loss, pairs)
                step = to_hyperplane(current, normal, -gap, self.norm)
                offset = tf.reduce_sum(normal * (current - centres), AXES)
                direct = to_hyperplane(centres, normal, offset - gap, self.norm)
                ahead = tf.maximum(length(step, self.norm), 1e-8)
                away = tf.maximum(length(direct, self.norm), 1e-8)
                alpha = per_image(tf.minimum(ahead / (ahead + away), alpha_max))
                biased = (1 - alpha) * (current + eta * step) + alpha * (centres + eta * direct)
                current = tf.clip_by_value(biased, 0.0, 1.0)

                logits = victim.averaged_logits(current, pairs[:, 0])
                fooled = is_fooled(logits, pairs[:, 0], pairs[:, 1] if reach_target else None)
                now = length(current - centres, self.norm)
                closer = fooled & (now < distance)
                nearest = tf.where(per_image(closer), current, nearest)
                distance = tf.where(closer, now, distance)
                current = tf.where(per_image(fooled), centres + beta * (current - centres), current)

                done = distance <= enough
                if tf.reduce_any(done):
                    all_nearest = tf.tensor_scatter_nd_update(all_nearest, rows[done], nearest[done])
                    all_distances = tf.tensor_scatter_nd_update(all_distances, rows[done], distance[done])
                    rows, centres, current, pairs, nearest, distance = rows_where(
                        ~done, rows, centres, current, pairs, nearest, distance
                    )
                if tf.size(rows) == 0:
                    break
            return (
                tf.tensor_scatter_nd_update(all_nearest, rows, nearest),
                tf.tensor_scatter_nd_update(all_distances, rows, distance),
            )

        settings = (np.float32(value) for value in (self.alpha_max, self.eta, self.beta))
        nearest, distances = victim.run(
            ("fab", self.norm, reach_target),
            graph,
            images,
            start,
            pairs,
            found,
            distance,
            enough,
            np.int32(self.steps),
            *settings,
        )
        return nearest.numpy(), distances.numpy()


def lead(logits: tf.Tensor, pairs: tf.Tensor) -> tf.Tensor:
    """Return the logit of the target less that of the label: (N,), of pairs (N, 2) of label and target."""
    chosen = tf.gather(logits, pairs, batch_dims=1)
    return chosen[:, 1] - chosen[:, 0]


def reach(logits: tf.Tensor, pairs: tf.Tensor) -> tf.Tensor:
    """Return the logit of the target less the largest other: (N,), of pairs (N, 2) of label and target."""
    return -margin(logits, pairs[:, 1])


def to_hyperplane(points: tf.Tensor, normals: tf.Tensor, gaps: tf.Tensor, norm: Norm) -> tf.Tensor:
    """Return the smallest change d of each point with normal . d = gap that stays in [0, 1], inside a graph.

    A pixel moves by min(m, room) in the L-infinity norm and by min(m |normal|, room) in the L2 norm, for the one m that
    closes the gap. What is closed is a concave, piecewise linear function of m, on which Newton's method started below
    the solution climbs to it in finitely many steps.

    Args:
        points: float32 (N, H, W, C) in [0, 1].
        normals: of the hyperplanes, of the same shape; where one is 0 the point stays.
        gaps: (N,), of either sign.
        norm: in which the change is smallest.

    Returns:
        (N, H, W, C); where no point of the box reaches the hyperplane, the change to the nearest corner.
    """
    normals *= per_image(tf.sign(gaps))
    steepest = length(normals, "linf")
    weights = tf.math.divide_no_nan(tf.abs(normals), per_image(steepest))
    gaps = tf.math.divide_no_nan(tf.abs(gaps), steepest)
    rooms = tf.where(normals > 0, 1 - points, points)
    speeds = tf.ones_like(weights) if norm == "linf" else weights
    slopes = weights * speeds
    multiplier = tf.minimum(tf.math.divide_no_nan(gaps, tf.reduce_sum(slopes, AXES)), 1e30)
    sizes = tf.minimum(per_image(multiplier) * speeds, rooms)
    for _ in tf.range(NEWTON_STEPS):
        missing = gaps - tf.reduce_sum(weights * sizes, AXES)
        slope = tf.reduce_sum(tf.where(sizes < rooms, slopes, 0.0), AXES)
        open_ = (missing > 1e-6 * gaps) & (slope > 0)
        if not tf.reduce_any(open_):
            break
        multiplier = tf.minimum(multiplier + tf.where(open_, tf.math.divide_no_nan(missing, slope), 0.0), 1e30)
        sizes = tf.minimum(per_image(multiplier) * speeds, rooms)
    return tf.sign(normals) * sizes


def pull_back(victim: Victim, images: Array, found: Array, labels: Array, targets: Array | None) -> Array:
    """Return the adversarial images pulled towards the originals, as long as they stay adversarial.

    The paper's final search: secant steps on the segment between the two.

    Args:
        victim: the model under attack.
        images: float32 (N, H, W, C), not adversarial.
        found: adversarial images, of the same shape.
        labels: int32 (N,).
        targets: int32 (N,), the classes to reach, or None.
    """
    targeted = targets is not None

    def graph(inside: tf.Tensor, outside: tf.Tensor, labels: tf.Tensor, aims: tf.Tensor) -> tf.Tensor:
        def excess(current: tf.Tensor) -> tf.Tensor:
            logits = victim.averaged_logits(current, labels)
            beaten = -margin(logits, aims) if targeted else margin(logits, labels)
            # A margin of rounding errors alone would not survive a batch of another size.
            return beaten - 1e-5 * tf.reduce_max(tf.abs(logits), axis=1)

        below, above = excess(inside), excess(outside)
        for _ in range(SEARCH_STEPS):
            back = tf.clip_by_value(tf.math.divide_no_nan(above, above - below), 0.0, 1.0)
            middle = outside - per_image(back) * (outside - inside)
            value = excess(middle)
            beyond = value > 0
            outside = tf.where(per_image(beyond), middle, outside)
            above = tf.where(beyond, value, above)
            inside = tf.where(per_image(beyond), inside, middle)
            below = tf.where(beyond, below, value)
        return outside

    aims = labels if targets is None else targets
    pulled: Array = victim.run(("fab search", targeted), graph, images, found, labels, aims).numpy()
    return pulled


def start_around(images: Array, draws: list[np.random.Generator], radii: Array, norm: Norm) -> Array:
    """Return one random point at a distance of `radii` (N,) from each image, clipped to [0, 1]."""
    shape = images.shape[1:]
    noise = np.stack([draw.uniform(-1, 1, shape) if norm == "linf" else draw.standard_normal(shape) for draw in draws])
    scale = radii / length(noise, norm).numpy()
    return clipped(images + scale[:, None, None, None] * noise)
