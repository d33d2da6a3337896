"""HopSkipJump: an attacker who sees nothing but the class that the model answers."""

import warnings
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.errors import InputError, UnreliableWarning
from robust_distillation.threats.evasion.attack import generators
from robust_distillation.threats.evasion.minimum_norm import MinimumNorm
from robust_distillation.threats.evasion.norms import Norm, length
from robust_distillation.threats.evasion.victim import Victim

BLEND_HALVINGS = 10  # to a thousandth of the way, as in the authors' code
STEP_HALVINGS = 8  # queries that an iteration keeps back for its step size
TILE = 4  # batches of queries whose noise is in memory at once
# Points nearer than this to the boundary, along its normal, get answers that depend on the rounding of float32 logits.
FINEST = 1e-5


@dataclass(frozen=True, kw_only=True, eq=False)
class HopSkipJump(MinimumNorm):
    """Walk along the decision boundary by the answers alone (Chen, Jordan and Wainwright 2020, algorithm 2).

    Each iteration estimates the boundary's normal from the answers to points around, less their mean, steps along it
    by distance / sqrt(t), halved until the point is adversarial, and bisects back to the boundary. All images of a
    batch advance together. Defaults are those of the paper and its code, but for a lower bound on the radius around the
    boundary, which float32 needs for images of some thousand numbers in the L-infinity norm.

    It starts from the first adversarial one of `starts`, then of `draws` images of uniform noise, then of the images of
    one colour in a corner of the colour cube, blended with the image. For targets, give `starts` that hold an image of
    each target class, as the paper does.

    Attributes:
        queries: most answers per image, all told; the paper shows 1,000, 5,000 and 20,000.
        initial_evaluations: B_0; iteration t asks B_0 sqrt(t) points for the normal.
        max_evaluations: most points that one iteration asks.
        gamma: scales the bisection's tolerance theta (gamma / d^1.5 in the L2 norm, gamma / d^2 in the L-infinity norm,
            for images of d numbers) and the radius around the boundary (gamma distance / d).
        draws: images of noise to try.
        starts: float32 (M, H, W, C) in [0, 1], images that the attacker owns; None for none.

    Example:
        >>> adversarial = rd.HopSkipJump(queries=1000)(victim, images, labels, epsilon=0.1)
        >>> np.flatnonzero(victim.fooled(adversarial, labels))
        array([4, 5])
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    queries: int = 5000
    initial_evaluations: int = 100
    max_evaluations: int = 10_000
    gamma: float = 1.0
    draws: int = 100
    starts: Array | None = None

    spends: ClassVar[tuple[str, ...]] = (*MinimumNorm.spends, "queries")

    def __post_init__(self) -> None:
        self._check_positive("queries", "initial_evaluations", "max_evaluations", "gamma")

    def weakness(self, epsilon: float) -> str | None:
        """Say that fewer than 1,000 queries show little."""
        if self.queries < 1000:
            return f"{self.queries} queries are too few to trust; use queries=1000 at least"
        return None

    def _minimise(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        size = images[0].size
        theta = self.gamma / size ** (1.5 if self.norm == "l2" else 2)
        halvings = max(1, int(np.ceil(np.log2(1 / theta))))
        goal = epsilon * (1 - 1e-6) if self.early_stop else 0.0  # Below epsilon whatever the order of a sum.
        oracle = _Oracle(victim, labels, targets, self.queries - 1)  # One went on the image itself.
        streams = generators(images, self.seed, "hop skip jump")

        current, started = self._start(oracle, images, streams)
        before = _distance(current, images, self.norm)
        rows = np.flatnonzero(started & (before > goal))
        current[rows] = _bisect(oracle, rows, images[rows], current[rows], halvings, self.norm)
        distance = _distance(current, images, self.norm)
        nearest, shortest = current.copy(), distance.copy()

        for step in range(1, self.queries):
            wanted = min(int(self.initial_evaluations * np.sqrt(step)), self.max_evaluations)
            evaluations = np.minimum(wanted, oracle.left - halvings - STEP_HALVINGS)
            enough = evaluations >= min(self.initial_evaluations, self.max_evaluations)
            rows = np.flatnonzero(started & (shortest > goal) & enough)
            if not len(rows):
                break
            radius = np.full(len(rows), 0.1) if step == 1 else self.gamma * before[rows] / size
            radius = np.maximum(radius, FINEST * np.sqrt(size))
            normal = self._normal(oracle, rows, current[rows], radius, evaluations[rows], [streams[r] for r in rows])
            reach = distance[rows] / np.sqrt(step)
            stepped = _step(oracle, rows, current[rows], normal, reach, reserve=halvings)
            before[rows] = _distance(stepped, images[rows], self.norm)
            current[rows] = _bisect(oracle, rows, images[rows], stepped, halvings, self.norm)
            distance[rows] = _distance(current[rows], images[rows], self.norm)
            closer = rows[distance[rows] < shortest[rows]]
            nearest[closer], shortest[closer] = current[closer], distance[closer]
        return nearest

    def _start(self, oracle: "_Oracle", images: Array, streams: list[np.random.Generator]) -> tuple[Array, Array]:
        """Return adversarial images, and booleans (N,): whether one was found; the original where not."""
        owned = images[:0] if self.starts is None else self.starts
        if owned.dtype != np.float32 or owned.shape[1:] != images.shape[1:] or np.any((owned < 0) | (owned > 1)):
            raise InputError(
                f"HopSkipJump: starts must be float32 (M, {', '.join(map(str, images.shape[1:]))}) in [0, 1], like the "
                f"images. Received: {owned.dtype} {owned.shape}"
            )
        corners = np.array(list(product((0, 1), repeat=images.shape[3])), np.float32)[:, None, None]
        shown = [*owned, *[None] * self.draws, *corners]
        found = images.copy()
        started = np.zeros(len(images), bool)
        for start in shown:
            rows = np.flatnonzero(~started & (oracle.left > 0))
            if not len(rows):
                break
            if start is None:
                tried = np.stack([streams[row].random(images.shape[1:], dtype=np.float32) for row in rows])
            else:
                tried = np.broadcast_to(start, images[rows].shape)
            started[rows] = oracle(rows, tried)
            found[rows[started[rows]]] = tried[started[rows]]
        if unattacked := int((~started).sum()):
            warnings.warn(
                f"HopSkipJump: {unattacked} of {len(images)} images have no starting point and are not attacked; "
                f"use draws={10 * max(self.draws, 10)}, or give starts",
                UnreliableWarning,
                stacklevel=2,
            )
        rows = np.flatnonzero(started)
        found[rows] = _bisect(oracle, rows, images[rows], found[rows], BLEND_HALVINGS, "l2")
        return found, started

    def _normal(
        self,
        oracle: "_Oracle",
        rows: Array,
        centres: Array,
        radius: Array,
        evaluations: Array,
        streams: list[np.random.Generator],
    ) -> Array:
        """Estimate the steepest direction, in the attack's norm, towards the adversarial side at each centre."""
        tile = np.cumsum(evaluations) // (TILE * oracle.victim.batch_size)
        normals = []
        for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(tile)) + 1):
            owner = np.repeat(part, evaluations[part])
            ends = np.cumsum(evaluations[part])[:-1]
            noise = np.empty((len(owner), centres[0].size), np.float32)
            for row, mine in zip(part, np.split(noise, ends), strict=True):
                if self.norm == "l2":
                    streams[row].standard_normal(out=mine, dtype=np.float32)
                else:
                    streams[row].random(out=mine, dtype=np.float32)
                    mine *= 2
                    mine -= 1
            noise *= (radius[owner] / np.linalg.norm(noise, axis=1)).astype(np.float32)[:, None]
            around = centres.reshape(len(centres), -1)[owner]
            asked = np.clip(around + noise, 0, 1)
            fooled = oracle(rows[owner], asked.reshape(-1, *centres.shape[1:]))
            asked -= around  # what was asked after clipping and rounding, not the noise itself
            parts = zip(np.split(fooled, ends), np.split(asked, ends), strict=True)
            normals += [_weights(answers) @ changes for answers, changes in parts]
        normal = np.stack(normals)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), np.float32(1e-30))
        steepest: Array = normal if self.norm == "l2" else np.sign(normal)
        return steepest.reshape(centres.shape)


class _Oracle:
    """Answers queries about a batch, and counts what is left of each image's budget."""

    def __init__(self, victim: Victim, labels: Array, targets: Array | None, queries: int) -> None:
        self.victim = victim
        self.labels = labels
        self.targets = targets
        self.left = np.full(len(labels), queries)

    def __call__(self, rows: Array, images: Array) -> Array:
        """Return whether each image is adversarial for the row that it belongs to; a row may occur often."""
        self.left -= np.bincount(rows, minlength=len(self.left))
        aims = None if self.targets is None else self.targets[rows]
        return self.victim.fooled(images, self.labels[rows], aims)


def _distance(images: Array, originals: Array, norm: Norm) -> Array:
    distances: Array = length(images - originals, norm).numpy()
    return distances


def _weights(fooled: Array) -> Array:
    """Return answers of +1 and -1 less their mean, which lowers the variance; as they are if all agree."""
    signs = np.where(fooled, 1.0, -1.0).astype(np.float32)
    return signs if abs(signs.mean()) == 1 else signs - signs.mean()


def _bisect(oracle: _Oracle, rows: Array, originals: Array, adversarial: Array, halvings: int, norm: Norm) -> Array:
    """Return the adversarial image next to the boundary between each original and its adversarial image.

    In the L2 norm they lie on the line between the two; in the L-infinity norm the change is clipped to a smaller and
    smaller cube (the paper's projections). Every image returned has been asked.
    """
    found = adversarial.copy()
    low, high = np.zeros(len(rows)), np.ones(len(rows))
    change = adversarial - originals
    reach = _distance(adversarial, originals, norm)
    for _ in range(halvings):
        live = np.flatnonzero(oracle.left[rows] > 0)
        if not len(live):
            break
        middle = (low[live] + high[live]) / 2
        if norm == "l2":
            moved = change[live] * _wide(middle)
        else:
            moved = np.clip(change[live], -_wide(middle * reach[live]), _wide(middle * reach[live]))
        tried = np.clip(originals[live] + moved, 0, 1)
        fooled = oracle(rows[live], tried)
        high[live[fooled]] = middle[fooled]
        low[live[~fooled]] = middle[~fooled]
        found[live[fooled]] = tried[fooled]
    return found


def _step(oracle: _Oracle, rows: Array, current: Array, direction: Array, reach: Array, reserve: int) -> Array:
    """Step by `reach`, halved until the point is adversarial; stay where the budget less `reserve` runs out before."""
    stepped = current.copy()
    pending = np.flatnonzero(oracle.left[rows] > reserve)
    while len(pending):
        tried = np.clip(current[pending] + direction[pending] * _wide(reach[pending]), 0, 1)
        fooled = oracle(rows[pending], tried)
        stepped[pending[fooled]] = tried[fooled]
        pending = pending[~fooled]
        pending = pending[oracle.left[rows[pending]] > reserve]
        reach = reach / 2
    return stepped


def _wide(values: Any) -> Array:
    return np.asarray(values, np.float32).reshape(-1, 1, 1, 1)
