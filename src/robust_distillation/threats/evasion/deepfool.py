"""DeepFool: steps to the nearest of the model's linearised boundaries until the answer changes."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.attack import is_fooled, likeliest_wrong, rows_where
from robust_distillation.threats.evasion.minimum_norm import MinimumNorm
from robust_distillation.threats.evasion.norms import SMALLEST, Norm, dual_length, per_image, steepest
from robust_distillation.threats.evasion.victim import Victim, in_own_graph

EXCESS = 1e-4  # added to each step's length by the authors' code, for numerical stability


@dataclass(frozen=True, kw_only=True)
class DeepFool(MinimumNorm):
    """DeepFool (Moosavi-Dezfooli et al. 2016, algorithm 2; section 3.3 for the L-infinity norm).

    It ends at an image's first adversarial iterate, so `early_stop` changes nothing. There is no targeted version. The
    defaults are the authors'.

    Attributes:
        steps: at most; most images fall within five.
        overshoot: share by which the accumulated change is extended beyond the boundary.
        candidates: classes looked at, the label among them: those that the model finds likeliest on the clean image.

    Example:
        >>> adversarial = rd.DeepFool(norm="l2")(victim, images, labels, epsilon=0.5)
        >>> np.flatnonzero(victim.fooled(adversarial, labels))
        array([4, 5])
    """

    steps: int = 50
    overshoot: float = 0.02
    candidates: int = 10

    def __post_init__(self) -> None:
        self._check_positive("steps", "overshoot", "candidates")

    def weakness(self, epsilon: float) -> str | None:
        """Say that fewer than 20 steps may end before the boundary."""
        if self.steps < 20:
            return f"{self.steps} steps are too few to trust; use steps=20 at least (50 are published)"
        return None

    def _attack(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        if targets is not None:
            raise InputError("DeepFool has no targeted version: leave targets out, or use FABT with them")
        return super()._attack(victim, images, labels, targets, epsilon)

    def _minimise(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        rivals = likeliest_wrong(victim, images, labels, max(self.candidates - 1, 1))

        @in_own_graph
        def to_boundary(images: tf.Tensor, labels: tf.Tensor, rivals: tf.Tensor) -> tf.Tensor:
            return step_to_boundary(victim, images, labels, rivals, self.norm)

        def graph(
            centres: tf.Tensor, labels: tf.Tensor, rivals: tf.Tensor, overshoot: tf.Tensor, steps: tf.Tensor
        ) -> tf.Tensor:
            rows = tf.range(tf.shape(centres)[0])[:, None]
            found = current = centres
            change = tf.zeros_like(centres)
            for _ in tf.range(steps):
                change += to_boundary(current, labels, rivals)
                current = tf.clip_by_value(centres + (1 + overshoot) * change, 0.0, 1.0)
                fooled = is_fooled(victim.averaged_logits(current, labels), labels, None)
                if tf.reduce_any(fooled):
                    found = tf.tensor_scatter_nd_update(found, rows[fooled], current[fooled])
                    rows, centres, current, change, labels, rivals = rows_where(
                        ~fooled, rows, centres, current, change, labels, rivals
                    )
                if tf.size(rows) == 0:
                    break
            return found

        settings = np.float32(self.overshoot), np.int32(self.steps)
        found: Array = victim.run(("deepfool", self.norm), graph, images, labels, rivals, *settings).numpy()
        return found


def step_to_boundary(victim: Victim, images: tf.Tensor, labels: tf.Tensor, rivals: tf.Tensor, norm: Norm) -> tf.Tensor:
    """Return the change (N, H, W, C) that reaches the nearest linearised boundary, box ignored, inside a graph.

    One forward pass, and one backward pass per rival.

    Args:
        victim: the model under attack.
        images: float32 (N, H, W, C).
        labels: int32 (N,).
        rivals: int32 (N, k), the classes on the other side of the boundaries.
        norm: of the change.
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(images)
        logits = victim.averaged_logits(images, labels)
        leads = tf.unstack(
            tf.gather(logits, rivals, batch_dims=1) - tf.gather(logits, labels[:, None], batch_dims=1), axis=1
        )
    nearest = tf.fill(tf.shape(labels), np.float32(np.inf))
    normal = tf.zeros_like(images)
    for lead in leads:
        gradient = tape.gradient(lead, images)
        distance = tf.abs(lead) / tf.maximum(dual_length(gradient, norm), SMALLEST)
        normal = tf.where(per_image(distance < nearest), gradient, normal)
        nearest = tf.minimum(nearest, distance)
    return per_image(nearest + EXCESS) * steepest(normal, norm)
