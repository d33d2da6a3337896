"""The L2 attack of Carlini and Wagner: the distance and a hinge on the logits, minimised by Adam in tanh space."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.attack import rows_where
from robust_distillation.threats.evasion.losses import margin
from robust_distillation.threats.evasion.minimum_norm import MinimumNorm
from robust_distillation.threats.evasion.norms import Norm, length, per_image
from robust_distillation.threats.evasion.victim import Victim

LARGEST_C = 1e10
INSIDE = 0.999999  # keeps the inverse of tanh finite for pixels of 0 and 1
CHECKS = 10  # per descent, as in the authors' code
PROGRESS = 0.9999
MEAN_DECAY, SQUARE_DECAY = 0.9, 0.999  # of Adam


@dataclass(frozen=True, kw_only=True)
class CarliniWagner(MinimumNorm):
    """Carlini and Wagner's L2 attack (2017, *Towards evaluating the robustness of neural networks*, section V-A).

    It minimises |x' - x|^2 + c max(z_label - z_best_other + confidence, 0) over w, where x' = (tanh(w) + 1) / 2, and
    searches each image's smallest c that succeeds: c grows tenfold until it does, then the bracket is halved. Defaults
    are those of the authors' code, but for 1,000 steps instead of 10,000. Pixels of 0 and 1 lie so far out in w that
    Adam needs some 700 steps of 0.01 to move them.

    Attributes:
        steps: gradients per image and c, at most.
        binary_search_steps: number of values of c.
        confidence: difference of logits by which the model must be wrong.
        learning_rate: of Adam.
        initial_c: the first c.
        abort_early: whether an image's descent ends where a tenth of the steps lowered its loss by less than 0.01 %.

    Example:
        >>> adversarial = rd.CarliniWagner(steps=100, learning_rate=0.1)(victim, images, labels, epsilon=0.5)
        >>> np.flatnonzero(victim.fooled(adversarial, labels))
        array([4, 5])
    """

    norm: Norm = "l2"
    steps: int = 1000
    binary_search_steps: int = 9
    confidence: float = 0.0
    learning_rate: float = 0.01
    initial_c: float = 1e-3
    abort_early: bool = True

    def __post_init__(self) -> None:
        if self.norm != "l2":
            raise InputError(f"CarliniWagner: norm must be 'l2'; use FABT for 'linf'. Received: {self.norm!r}")
        if not self.confidence >= 0:
            raise InputError(f"CarliniWagner: confidence must not be below 0. Received: {self.confidence!r}")
        self._check_positive("steps", "binary_search_steps", "learning_rate", "initial_c")

    def weakness(self, epsilon: float) -> str | None:
        """Say that the steps cannot move pixels of 0 and 1, or that no c is large enough to make the model wrong."""
        needed = int(np.ceil(np.arctanh(INSIDE) / self.learning_rate))
        if self.steps < needed:
            return (
                f"{self.steps} steps of {self.learning_rate:g} cannot move pixels of 0 and 1; "
                f"use steps={needed} at least"
            )
        needed = int(np.ceil(1 - np.log10(self.initial_c) - 1e-6))
        if self.binary_search_steps < needed:
            return (
                f"{self.binary_search_steps} values of c from {self.initial_c:g} do not reach 1; "
                f"use binary_search_steps={needed} at least"
            )
        return None

    def _minimise(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        enough = np.float32(epsilon if self.early_stop else 0)
        found, distance = images.copy(), np.full(len(images), np.inf, np.float32)
        lower, upper = np.zeros(len(images)), np.full(len(images), LARGEST_C)
        c = np.full(len(images), self.initial_c)
        for search in range(self.binary_search_steps):
            if search == self.binary_search_steps - 1 and search >= 9:
                c = upper.copy()  # long searches end where they succeeded last, as in the authors' code
            rows = np.flatnonzero(distance > enough)
            if not len(rows):
                break
            aims = None if targets is None else targets[rows]
            best, lengths = self._descend(victim, images[rows], labels[rows], aims, c[rows].astype(np.float32), enough)
            closer = lengths < distance[rows]
            found[rows[closer]], distance[rows[closer]] = best[closer], lengths[closer]
            succeeded = np.isfinite(lengths)
            upper[rows] = np.where(succeeded, np.minimum(upper[rows], c[rows]), upper[rows])
            lower[rows] = np.where(succeeded, lower[rows], np.maximum(lower[rows], c[rows]))
            c = np.where(upper < LARGEST_C, (lower + upper) / 2, c * 10)
        return found

    def _descend(
        self,
        victim: Victim,
        images: Array,
        labels: Array,
        targets: Array | None,
        c: Array,
        enough: np.float32,
    ) -> tuple[Array, Array]:
        """Minimise for a given c; return the nearest adversarial images met and their distances, or infinity."""
        targeted = targets is not None

        def excess(logits: tf.Tensor, aims: tf.Tensor) -> tf.Tensor:
            beaten = -margin(logits, aims) if targeted else margin(logits, aims)
            return beaten - self.confidence

        def hinge(logits: tf.Tensor, aims: tf.Tensor) -> tf.Tensor:
            return tf.nn.relu(-excess(logits, aims))

        def graph(
            centres: tf.Tensor,
            labels: tf.Tensor,
            aims: tf.Tensor,
            c: tf.Tensor,
            enough: tf.Tensor,
            learning_rate: tf.Tensor,
            steps: tf.Tensor,
        ) -> tuple[tf.Tensor, tf.Tensor]:
            rows = tf.range(tf.shape(centres)[0])[:, None]
            position = tf.atanh((2 * centres - 1) * INSIDE)
            mean = square = tf.zeros_like(position)
            nearest = all_nearest = centres
            distance = all_distances = last = tf.fill(tf.shape(c), np.float32(np.inf))
            mean_weight = square_weight = tf.constant(1.0)
            interval = (steps + CHECKS - 1) // CHECKS
            for step in tf.range(steps):
                squashed = tf.tanh(position)
                current = (squashed + 1) / 2
                short, logits, gradient = victim.gradient(current, labels, hinge, aims)
                now = length(current - centres, "l2")
                closer = (excess(logits, aims) > 0) & (now < distance)
                nearest = tf.where(per_image(closer), current, nearest)
                distance = tf.where(closer, now, distance)

                gradient = (2 * (current - centres) + per_image(c) * gradient) * (1 - tf.square(squashed)) / 2
                mean = MEAN_DECAY * mean + (1 - MEAN_DECAY) * gradient
                square = SQUARE_DECAY * square + (1 - SQUARE_DECAY) * tf.square(gradient)
                mean_weight *= MEAN_DECAY
                square_weight *= SQUARE_DECAY
                rate = learning_rate * tf.sqrt(1 - square_weight) / (1 - mean_weight)
                position -= rate * mean / (tf.sqrt(square) + 1e-8)

                done = distance <= enough
                if self.abort_early and step % interval == 0:
                    loss = tf.square(now) + c * short
                    done |= loss > PROGRESS * last
                    last = loss
                if tf.reduce_any(done):
                    all_nearest = tf.tensor_scatter_nd_update(all_nearest, rows[done], nearest[done])
                    all_distances = tf.tensor_scatter_nd_update(all_distances, rows[done], distance[done])
                    rows, centres, position, mean, square, nearest, labels, aims, c, distance, last = rows_where(
                        ~done, rows, centres, position, mean, square, nearest, labels, aims, c, distance, last
                    )
                if tf.size(rows) == 0:
                    break
            return (
                tf.tensor_scatter_nd_update(all_nearest, rows, nearest),
                tf.tensor_scatter_nd_update(all_distances, rows, distance),
            )

        nearest, distances = victim.run(
            ("carlini wagner", self.confidence, self.abort_early, targeted),
            graph,
            images,
            labels,
            labels if targets is None else targets,
            c,
            enough,
            np.float32(self.learning_rate),
            np.int32(self.steps),
        )
        return nearest.numpy(), distances.numpy()
