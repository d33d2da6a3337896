"""The bootstrap over groups: images that are much alike, such as frames of a track, are drawn together."""

from collections.abc import Iterator

import numpy as np

from robust_distillation.arrays import Array

RESAMPLES, SEED = 200, 0


def resampled(groups: Array) -> Iterator[Array]:
    """Yield how often each row is drawn, integers (N,), `RESAMPLES` times.

    Args:
        groups: integers (N,); rows of one group have one number in common.
    """
    rng = np.random.default_rng(SEED)
    _, group_of = np.unique(groups, return_inverse=True)
    count = group_of.max() + 1
    for _ in range(RESAMPLES):
        yield np.bincount(rng.integers(0, count, count), minlength=count)[group_of]
