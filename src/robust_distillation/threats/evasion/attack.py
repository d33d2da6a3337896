"""What all attacks share: their call, the checks of what they are given, restarts, and random draws per image."""

import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.errors import InputError, UnreliableWarning
from robust_distillation.threats.evasion.norms import Norm
from robust_distillation.threats.evasion.victim import Model, Victim, as_victim


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What an attack may spend on an image.

    Attributes:
        norm: of the ball.
        steps: gradients of each start of an iterative attack.
        restarts: starts of each attack that starts at random.
        queries: of a black-box attack.
        seed: of random draws.
        step_size: of attacks that step along a sign; None for their own.
        early_stop: whether an image that fooled the model costs such attacks no more.

    Example:
        >>> budget = rd.Budget(norm="l2", steps=50)
        >>> rd.build(["apgd_ce"], budget).attacks["apgd_ce"]
        APGD(norm='l2', seed=0, steps=50, restarts=1, loss='cross_entropy')
    """

    norm: Norm = "linf"
    steps: int = 100
    restarts: int = 1
    queries: int = 5000
    seed: int = 0
    step_size: float | None = None
    early_stop: bool = True


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """An immutable attack configuration.

    Attributes:
        norm: of the ball that the adversarial images stay in.
        seed: of random draws. An image's draws depend on the seed and on its own pixels alone, so neither its place nor
            its company matters.

    Example:
        An attack of one's own:

        >>> class Brighten(rd.Attack):
        ...     def _attack(self, victim, images, labels, targets, epsilon):
        ...         return np.clip(images + epsilon, 0, 1)
        >>> adversarial = Brighten()(victim, images, labels, epsilon=0.1)
        >>> np.flatnonzero(victim.fooled(adversarial, labels))
        array([4])
    """

    norm: Norm = "linf"
    seed: int = 0

    spends: ClassVar[tuple[str, ...]] = ("norm", "seed")  # fields of a `Budget` that are taken over

    @classmethod
    def within(cls, budget: Budget, **changes: Any) -> Self:
        """Return this attack with what it can use of a budget, and other fields changed."""
        return cls(**{name: getattr(budget, name) for name in cls.spends} | changes)

    def __call__(
        self,
        model: Model | Victim,
        images: Array,
        labels: Array,
        *,
        epsilon: float,
        targets: Array | None = None,
    ) -> Array:
        """Attack every image.

        Args:
            model: maps float32 images (N, H, W, C) in [0, 1] to logits (N, K), differentiably; or a `Victim`.
            images: float32 (N, H, W, C) in [0, 1].
            labels: integers (N,), the true classes.
            epsilon: radius of the ball in [0, 1] units: the largest change of a pixel (`linf`), or the Euclidean length
                of the change of the whole image (`l2`).
            targets: integers (N,), the classes to reach; None to reach any that is wrong.

        Returns:
            Adversarial images, float32 (N, H, W, C) in [0, 1], within `epsilon` of `images`; where the attack found
            none, the last or best that it tried.

        Raises:
            InputError: something given is of a wrong type, shape or range, or the model's output is.

        Warns:
            UnreliableWarning: the budget is too small, or the model returns probabilities.
        """
        victim = as_victim(model)
        check_images(images, labels, targets)
        check_epsilon(epsilon, self.norm, int(np.prod(images.shape[1:])))
        victim.check(images, labels)
        if targets is not None:
            victim.check(images, targets, "targets")
        if remedy := self.weakness(epsilon):
            warnings.warn(f"{type(self).__name__}: {remedy}", UnreliableWarning, stacklevel=2)
        labels = labels.astype(np.int32)
        aims = None if targets is None else targets.astype(np.int32)
        if victim.stand_in is None:
            return self._in_batches(victim, images, labels, aims, epsilon)
        adversarial = self._in_batches(victim.stand_in, images, labels, aims, epsilon)
        claimed = np.flatnonzero(victim.stand_in.fooled(adversarial, labels, aims))
        fell = victim.fooled(adversarial[claimed], labels[claimed], None if aims is None else aims[claimed])
        again = claimed[~fell]
        adversarial[again] = self._in_batches(
            victim, images[again], labels[again], None if aims is None else aims[again], epsilon
        )
        return adversarial

    def _in_batches(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        adversarial = np.empty_like(images)
        for row in victim.batches(len(images)):
            aims = None if targets is None else targets[row]
            adversarial[row] = self._attack(victim, images[row], labels[row], aims, epsilon)
        if not np.isfinite(adversarial).all():
            raise InputError("the model's gradients are not finite where the attack led; mend it before it is attacked")
        return adversarial

    def weakness(self, epsilon: float) -> str | None:
        """Say what is too small about the budget and what would do; None where it will do."""
        return None

    def _check_positive(self, *names: str) -> None:
        for name in names:
            if not getattr(self, name) > 0:
                raise InputError(f"{type(self).__name__}: {name} must be above 0. Received: {getattr(self, name)!r}")

    @abstractmethod
    def _attack(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        """Attack one batch of checked images; labels and targets are int32."""


def check_images(images: Array, labels: Array, targets: Array | None = None) -> None:
    """Check what attacks are given.

    Raises:
        InputError: images are not float32 (N, H, W, C) in [0, 1], labels or targets are not integers (N,), or a target
            is the image's own label.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.float32:
        kind = getattr(images, "dtype", type(images).__name__)
        raise InputError(f"images must be a NumPy array of float32: use images.astype('float32'). Received: {kind}")
    if images.ndim != 4:
        raise InputError(f"images must have the shape (N, H, W, C). Received: {images.shape}")
    if images.size and not (images.min() >= 0 and images.max() <= 1):  # NaN fails as well.
        raise InputError(
            f"images must lie in [0, 1]: divide grey levels by 255. Received: {images.min():g} to {images.max():g}"
        )
    for name, classes in (("labels", labels), ("targets", targets)):
        if classes is None:
            continue
        if not isinstance(classes, np.ndarray) or classes.dtype.kind not in "iu" or classes.shape != images.shape[:1]:
            shape = f"{getattr(classes, 'dtype', type(classes).__name__)} {np.shape(classes)}"
            raise InputError(f"{name} must be integers of shape ({len(images)},), one per image. Received: {shape}")
    if targets is not None and (same := int((targets == labels).sum())):
        raise InputError(
            f"targets must be wrong classes: leave those images out whose target is their label. Received: {same} of "
            f"{len(images)}"
        )


def check_epsilon(epsilon: float, norm: Norm, size: int) -> None:
    """Check a radius against the images that it is for.

    Args:
        epsilon: radius in [0, 1] units.
        norm: of the ball.
        size: numbers per image.

    Raises:
        InputError: the norm is unknown, or the radius is no number, not above 0, or larger than the pixel range allows.
    """
    if norm not in ("linf", "l2"):
        raise InputError(f"norm must be 'linf' or 'l2'. Received: {norm!r}")
    if not isinstance(epsilon, Real):
        raise InputError(f"epsilon must be a number: 8/255, not a text. Received: {epsilon!r}")
    largest = 1.0 if norm == "linf" else float(np.sqrt(size))
    if not 0 < epsilon <= largest:
        hint = "; 8 grey levels of 255 are 8/255" if norm == "linf" else ""
        raise InputError(f"epsilon must lie in (0, {largest:g}], for pixels lie in [0, 1]{hint}. Received: {epsilon!r}")


def generators(images: Array, seed: int, purpose: str) -> list[np.random.Generator]:
    """Return one generator per image, seeded by `seed`, `purpose` and the image's own bytes."""
    salt = zlib.crc32(purpose.encode())
    return [np.random.default_rng([seed, salt, zlib.crc32(image.tobytes())]) for image in images]


def restarted(
    victim: Victim,
    images: Array,
    labels: Array,
    targets: Array | None,
    restarts: int,
    attempt: Callable[[int, Array], Array],
) -> Array:
    """Attack several times, each time only the images that still stand.

    Args:
        victim: the model under attack.
        images: float32 (N, H, W, C).
        labels: int32 (N,).
        targets: int32 (N,) or None.
        restarts: number of attempts.
        attempt: maps the attempt's number and the rows to attack to adversarial images of these rows.

    Returns:
        Of each image the first adversarial one found, else the last tried.
    """
    adversarial = images.copy()
    standing = np.arange(len(images))
    for restart in range(restarts):
        adversarial[standing] = attempt(restart, standing)
        if restart + 1 < restarts:
            aims = None if targets is None else targets[standing]
            standing = standing[~victim.fooled(adversarial[standing], labels[standing], aims)]
        if not len(standing):
            break
    return adversarial


def likeliest_wrong(victim: Victim, images: Array, labels: Array, count: int) -> Array:
    """Return int32 (N, min(count, K - 1)): the classes besides the label with the largest logits, largest first."""
    logits = victim.predict_logits(images, labels)
    np.put_along_axis(logits, labels[:, None], -np.inf, axis=1)
    ranked = np.argsort(-logits, axis=1, kind="stable").astype(np.int32)
    return ranked[:, : min(count, logits.shape[1] - 1)]


def rows_where(mask: tf.Tensor, *tensors: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Return the rows of each tensor (N, ...) where a mask (N,) is true, inside a graph."""
    chosen = tf.where(mask)[:, 0]
    return tuple(tf.gather(tensor, chosen) for tensor in tensors)


def is_fooled(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor | None) -> tf.Tensor:
    """Return booleans (N,), inside a graph: the answer differs from the label, or is the target."""
    answers = tf.argmax(logits, axis=1, output_type=tf.int32)
    return answers != labels if targets is None else answers == targets
