"""Square Attack (Andriushchenko et al. 2020): random search over square windows, on the model's logits alone."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.attack import Attack, Budget, generators, is_fooled, restarted, rows_where
from robust_distillation.threats.evasion.losses import margin
from robust_distillation.threats.evasion.norms import AXES, SMALLEST, Norm, clipped, length, per_image
from robust_distillation.threats.evasion.victim import Victim

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries of 10,000 after which the area is halved
PUBLISHED_QUERIES = 10_000
QUERIES_AT_ONCE = 100  # in one graph call, to draw and to transfer little


def window_sides(queries: int, p_init: float, height: int, width: int, *, norm: Norm, rescale_schedule: bool) -> Array:
    """Return the side of the window at each proposal, int32 (queries,), in pixels (section 4.1, piecewise schedule).

    In the L2 norm it is odd, and 3 at least, where the image is that large.
    """
    elapsed = np.arange(queries)
    if rescale_schedule:
        elapsed = elapsed * PUBLISHED_QUERIES // queries
    areas = p_init * height * width / 2.0 ** np.searchsorted(HALVINGS, elapsed)
    sides: Array = np.maximum(np.round(np.sqrt(areas)).astype(np.int32), 1)
    largest = min(height, width)
    if norm == "l2":
        sides = np.maximum(sides, 3) // 2 * 2 + 1
        largest -= 1 - largest % 2
    return sides.clip(max=largest)


@lru_cache(maxsize=64)
def bump(side: int) -> Array:
    """Return the L2 update's shape, float32 (side, side) of unit length: one half up, the other down (equation 2)."""
    upper, lower = _rectangle(side // 2, side), _rectangle(side - side // 2, side)
    whole = np.concatenate([upper, -lower])
    unit: Array = whole / np.linalg.norm(whole)
    return unit.astype(np.float32)


def _rectangle(height: int, width: int) -> Array:
    """Return a pseudo-Gaussian of unit length: at distance d from the centre the sum of 1 / m^2 for m > d."""
    rows, columns = (np.abs(np.arange(size) - size // 2) for size in (height, width))
    tails = np.cumsum(1 / np.arange(max(height, width) // 2 + 1, 0, -1) ** 2)[::-1]
    values: Array = tails[np.maximum(rows[:, None], columns)]
    values /= max(float(np.linalg.norm(values)), SMALLEST)
    return values


def stripes(images: Array, draws: list[np.random.Generator], epsilon: float) -> Array:
    """Return the images with vertical stripes one pixel wide of +-epsilon in each channel, clipped to [0, 1]."""
    _, _, width, channels = images.shape
    signs = np.stack([draw.choice([-1, 1], (1, width, channels)) for draw in draws])
    return clipped(images + epsilon * signs)


def tiles(images: Array, draws: list[np.random.Generator], epsilon: float) -> Array:
    """Return the images with bumps of random sign and direction on a grid of five or more a side, of length epsilon."""
    _, height, width, channels = images.shape
    side = max(min(height, width) // 5, 1)
    down, across = height // side, width // side
    top, left = (height - down * side) // 2, (width - across * side) // 2
    signs = np.stack([draw.choice([-1, 1], (down, across, channels)) for draw in draws])
    turned = np.stack([draw.integers(2, size=(down, across)) for draw in draws])
    shapes = np.stack([bump(side), bump(side).T])[turned]
    grid = np.einsum("nabij,nabc->naibjc", shapes, signs)
    changes = np.zeros(images.shape)
    changes[:, top : top + down * side, left : left + across * side] = grid.reshape(
        len(images), down * side, across * side, channels
    )
    changes *= epsilon / np.sqrt(np.square(changes).sum(axis=AXES, keepdims=True))
    return clipped(images + changes)


def move_ranges(sides: Array, height: int, width: int, channels: int, norm: Norm) -> Array:
    """Return the number of values of each integer that a proposal draws, int64 (queries, D).

    They are the window's top and left, in the L2 norm also those of the second window and the bump's direction, and a
    sign for each channel.
    """
    window = [height - sides + 1, width - sides + 1]
    two = [np.full_like(sides, 2)]
    drawn: list[Array] = window + two * channels if norm == "linf" else 2 * window + two * (1 + channels)
    return np.stack(drawn, axis=1).astype(np.int64)


def draw_moves(draws: list[np.random.Generator], ranges: Array) -> Array:
    """Return the integers that the proposals of each image draw, int32 (N * queries, D)."""
    uniform = np.stack([draw.random(ranges.shape) for draw in draws])
    drawn: Array = uniform * ranges
    return drawn.astype(np.int32).reshape(-1, ranges.shape[1])


def _inside(tops: tf.Tensor, lefts: tf.Tensor, side: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Return booleans (N, H, W, 1): the pixel lies in the image's window."""
    rows = tf.range(tf.shape(images)[1]) - tops[:, None]
    columns = tf.range(tf.shape(images)[2]) - lefts[:, None]
    in_rows, in_columns = (rows >= 0) & (rows < side), (columns >= 0) & (columns < side)
    return (in_rows[:, :, None] & in_columns[:, None, :])[..., None]


def _signs(bits: tf.Tensor) -> tf.Tensor:
    return tf.cast(2 * bits - 1, tf.float32)[:, None, None, :]


def propose_linf(
    centres: tf.Tensor, best: tf.Tensor, moves: tf.Tensor, side: tf.Tensor, _: tf.Tensor, epsilon: tf.Tensor
) -> tf.Tensor:
    """Set one window to +-epsilon, one sign per channel (algorithm 2)."""
    painted = tf.clip_by_value(centres + epsilon * _signs(moves[:, 2:]), 0.0, 1.0)
    return tf.where(_inside(moves[:, 0], moves[:, 1], side, centres), painted, best)


def propose_l2(
    centres: tf.Tensor, best: tf.Tensor, moves: tf.Tensor, side: tf.Tensor, bumps: tf.Tensor, epsilon: tf.Tensor
) -> tf.Tensor:
    """Add a bump to one window with the length that another gives up and that was not yet used (algorithm 3).

    Args:
        centres: float32 (N, H, W, C).
        best: the best images so far, of the same shape.
        moves: int32 (N, 5 + C).
        side: of the windows.
        bumps: the bump and its transpose, each flat in the top left corner of an image: float32 (2 * H * W,).
        epsilon: radius of the ball.
    """
    height, width, channels = centres.shape[1:]
    first = tf.cast(_inside(moves[:, 0], moves[:, 1], side, centres), tf.float32)
    second = tf.cast(_inside(moves[:, 2], moves[:, 3], side, centres), tf.float32)
    either = tf.maximum(first, second)
    rows = (tf.range(height) - moves[:, 0, None]) % height
    columns = (tf.range(width) - moves[:, 1, None]) % width
    places = (moves[:, 4, None, None] * height + rows[:, :, None]) * width + columns[:, None, :]
    placed = tf.gather(bumps, places)[..., None] * _signs(moves[:, 5:])

    change = best - centres
    old = change * first
    squares = tf.reduce_sum(tf.square(change * either), (1, 2), keepdims=True)
    unused = tf.maximum(epsilon**2 - tf.reduce_sum(tf.square(change), AXES, keepdims=True), 0.0)
    new = placed + old / tf.maximum(_channel_lengths(old), SMALLEST)
    new *= tf.sqrt(squares + unused / channels) / tf.maximum(_channel_lengths(new), SMALLEST)
    moved = change * (1 - either) + new
    return tf.clip_by_value(centres + moved * per_image(epsilon / tf.maximum(length(moved, "l2"), SMALLEST)), 0.0, 1.0)


def _channel_lengths(change: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.reduce_sum(tf.square(change), (1, 2), keepdims=True))


def placed_bumps(sides: Array, height: int, width: int) -> Array:
    """Return what `propose_l2` takes as bumps, for each side: float32 (queries, 2 * H * W)."""
    bumps = np.zeros((len(sides), 2, height, width), np.float32)
    for both, side in zip(bumps, sides, strict=True):
        both[:, :side, :side] = bump(int(side)), bump(int(side)).T
    return bumps.reshape(len(sides), -1)


def gain(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor | None) -> tf.Tensor:
    """Return what the search raises: the margin, or that of the target: (N,)."""
    return margin(logits, labels) if targets is None else -margin(logits, targets)


def search(
    victim: Victim,
    images: Array,
    best: Array,
    values: Array,
    labels: Array,
    targets: Array | None,
    moves: Array,
    sides: Array,
    *,
    norm: Norm,
    epsilon: float,
) -> tuple[Array, Array, Array]:
    """Query the model at one proposal after the other and keep those that come nearer to fooling it.

    An image that fools the model is left as it is and costs no further queries.

    Args:
        victim: the model under attack.
        images: centres of the balls, float32 (N, H, W, C).
        best: the best images so far, of the same shape.
        values: their gains, float32 (N,).
        labels: the true classes, int32 (N,).
        targets: the classes to reach, int32 (N,), or None.
        moves: what `draw_moves` drew for these images and sides.
        sides: of the window at each proposal, int32 (queries,).
        norm: of the ball.
        epsilon: radius of the ball.

    Returns:
        The best images now, their gains, and whether each fools the model.
    """
    propose = propose_linf if norm == "linf" else propose_l2
    targeted = targets is not None

    def graph(
        centres: tf.Tensor,
        best: tf.Tensor,
        values: tf.Tensor,
        labels: tf.Tensor,
        aims: tf.Tensor,
        moves: tf.Tensor,
        sides: tf.Tensor,
        bumps: tf.Tensor,
        epsilon: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        count = tf.shape(centres)[0]
        rows = tf.range(count)[:, None]
        found, gains, fell = best, values, tf.fill([count], False)
        for step in tf.range(tf.size(sides)):
            drawn = tf.gather(moves, rows[:, 0] * tf.size(sides) + step)
            tried = propose(centres, best, drawn, sides[step], bumps[step], epsilon)
            logits = victim.averaged_logits(tried, labels)
            fooled = is_fooled(logits, labels, aims if targeted else None)
            reached = gain(logits, labels, aims if targeted else None)
            better = fooled | (reached > values)
            best = tf.where(per_image(better), tried, best)
            values = tf.where(better, reached, values)
            if tf.reduce_any(fooled):
                found = tf.tensor_scatter_nd_update(found, rows[fooled], best[fooled])
                fell = tf.tensor_scatter_nd_update(fell, rows[fooled], fooled[fooled])
                rows, centres, best, values, labels, aims = rows_where(
                    ~fooled, rows, centres, best, values, labels, aims
                )
            if tf.size(rows) == 0:
                break
        return (
            tf.tensor_scatter_nd_update(found, rows, best),
            tf.tensor_scatter_nd_update(gains, rows, values),
            fell,
        )

    bumps = placed_bumps(sides, *images.shape[1:3]) if norm == "l2" else np.zeros((len(sides), 0), np.float32)
    aims = labels if targets is None else targets
    key = ("square", norm, targeted)
    answers = victim.run(key, graph, images, best, values, labels, aims, moves, sides, bumps, np.float32(epsilon))
    return tuple(answer.numpy() for answer in answers)


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Square Attack: keeps a random square change where it lowers the margin (Andriushchenko et al. 2020, algorithm 1).

    It uses no gradient, so it is not misled by masked ones. The defaults are those of AutoAttack (Croce and Hein 2020,
    section 4.2), whose ensemble does not rescale the schedule. Windows are drawn per image and may touch every edge, as
    in algorithms 2 and 3. Images that the model gets wrong already are returned as they are. With targets the margin of
    the target is raised.

    Attributes:
        queries: per image and restart, the start among them.
        p_init: share of the image that the first windows cover.
        restarts: number of random starts.
        rescale_schedule: whether the windows shrink over these `queries`, or as if there were 10,000.

    Example:
        >>> adversarial = rd.Square(queries=1000)(victim, images, labels, epsilon=0.1)
        >>> np.flatnonzero(victim.fooled(adversarial, labels))
        array([4, 5])
    """

    queries: int = 5000
    p_init: float = 0.8
    restarts: int = 1
    rescale_schedule: bool = True

    spends: ClassVar[tuple[str, ...]] = (*Attack.spends, "queries")

    @classmethod
    def within(cls, budget: Budget, **changes: Any) -> Self:
        """Return this attack within a budget.

        With the published number of queries, the official code leaves the schedule as it is for 10,000.
        """
        return super().within(budget, **{"rescale_schedule": budget.queries != 5000} | changes)

    def __post_init__(self) -> None:
        self._check_positive("queries", "restarts")
        if not 0 < self.p_init <= 1:
            raise InputError(f"p_init must lie in (0, 1], a share of the image. Received: {self.p_init!r}")

    def weakness(self, epsilon: float) -> str | None:
        """Say that fewer than 1,000 queries show little."""
        if self.queries < 1000:
            return f"{self.queries} queries are too few to trust; use queries=1000 at least (5000 are published)"
        return None

    def _attack(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        def attempt(number: int, rows: Array) -> Array:
            if number == 0:
                return images[rows]
            draws = generators(images[rows], self.seed, f"square {number}")
            aims = None if targets is None else targets[rows]
            return self._run(victim, images[rows], labels[rows], aims, epsilon, draws)

        return restarted(victim, images, labels, targets, 1 + self.restarts, attempt)

    def _run(
        self,
        victim: Victim,
        images: Array,
        labels: Array,
        targets: Array | None,
        epsilon: float,
        draws: list[np.random.Generator],
    ) -> Array:
        height, width, channels = images.shape[1:]
        sides = window_sides(
            self.queries - 1, self.p_init, height, width, norm=self.norm, rescale_schedule=self.rescale_schedule
        )
        ranges = move_ranges(sides, height, width, channels, self.norm)
        best = (stripes if self.norm == "linf" else tiles)(images, draws, epsilon)
        logits = tf.constant(victim.predict_logits(best, labels))
        values = gain(logits, labels, targets).numpy()
        standing = np.flatnonzero(~is_fooled(logits, labels, targets).numpy())
        for first in range(0, len(sides), QUERIES_AT_ONCE):
            if not len(standing):
                break
            some = slice(first, first + QUERIES_AT_ONCE)
            best[standing], values[standing], fell = search(
                victim,
                images[standing],
                best[standing],
                values[standing],
                labels[standing],
                None if targets is None else targets[standing],
                draw_moves([draws[row] for row in standing], ranges[some]),
                sides[some],
                norm=self.norm,
                epsilon=epsilon,
            )
            standing = standing[~fell]
        return best
