"""Tracks: the frames of one physical sign, which no split may part."""

import numpy as np

from robust_distillation.arrays import Array


def track_groups(tracks: Array) -> Array:
    """Return which rows (N,) belong together: those of one track; a row without a track (-1) stands for itself."""
    return np.where(tracks < 0, -1 - np.arange(len(tracks)), tracks)


def split_by_track(tracks: Array, share: float, seed: int) -> tuple[Array, Array]:
    """Split rows in two so that no group of `track_groups` is on both sides.

    Args:
        tracks: integers (N,).
        share: of the groups, for the first side; at least one group goes to each side.
        seed: of the draw.

    Returns:
        Row indices of the first and of the second side, ascending.
    """
    groups = track_groups(tracks)
    shuffled = np.random.default_rng(seed).permutation(np.unique(groups))
    first = shuffled[: int(np.clip(round(share * len(shuffled)), 1, len(shuffled) - 1))]
    chosen = np.isin(groups, first)
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)
