"""How unusual a score is beside those of clean images."""

from collections.abc import Mapping

import numpy as np

from robust_distillation.arrays import Array

TAIL = 0.1  # share of the reference by which what lies above all of it is judged,
FEWEST = 5  # or as many scores, if that is more
SMALLEST = 1e-12  # of what is divided by, or has its logarithm taken


def p_values(scores: Array, reference: Array) -> Array:
    """Return how rare scores as high are among clean images.

    It is the share of the reference that is as high, the image counted with it. Above all of it, the share falls
    exponentially, at the rate of its highest tenth (peaks over a threshold, Pickands 1975), so that what is far above
    ranks above what is just above.

    Args:
        scores: (N,), larger is more suspicious.
        reference: (M,) scores of clean images, ascending.

    Returns:
        (N,), in (0, 1].
    """
    as_high = len(reference) - np.searchsorted(reference, scores, side="left")
    top = reference[max(0, min(int((1 - TAIL) * len(reference)), len(reference) - FEWEST)) :]
    beyond = np.maximum(0.0, scores - top[-1]) / max(float(np.mean(top - top[0])), SMALLEST)
    shares: Array = (1 + as_high) / (1 + len(reference)) * np.exp(-np.minimum(beyond, 600.0))
    return shares


def smallest(parts: Mapping[str, Array]) -> Array:
    """Return -log of the smallest p-value (N,) of several detectors, times their number, at least 0 (Bonferroni)."""
    corrected = len(parts) * np.min(list(parts.values()), axis=0)
    scores: Array = np.abs(np.log(np.minimum(1.0, corrected)))
    return scores


def bulk(scores: Array) -> Array:
    """Return scores (M,) that the clean ones among some (N,) may have: the lower half, and its mirror image.

    So it is where fewer than half of the images are poisoned, those score above the median, and clean scores are
    about symmetric.
    """
    middle = np.median(scores)
    lower = scores[scores <= middle]
    return np.concatenate([lower, 2 * middle - lower])


def clean_like(trusted: Array, scores: Array) -> Array:
    """Return scores of clean images: of trusted ones (M,), or where there are none, of the bulk of a training set (N,).

    Scores that are above 0 are mirrored on a log scale.
    """
    if len(trusted):
        return trusted
    return np.exp(bulk(np.log(scores))) if scores.min() > 0 else bulk(scores)


def as_in_bulk(trusted: Array, scores: Array) -> Array:
    """Return trusted scores (M,), moved and stretched to the median and lower quartile of a training set (N,).

    It is for scores of which trusted images told what is usual, so that they lie nearer to it than others do; less than
    half of the training set decides where its bulk lies (an empirical null, Efron 2004). Without trusted images, it is
    the bulk itself.
    """
    if not len(trusted):
        return clean_like(trusted, scores)
    (low, middle), (lower, median) = (np.quantile(values, (0.25, 0.5)) for values in (trusted, scores))
    return np.asarray(median + (trusted - middle) * (median - lower) / max(middle - low, SMALLEST))
