"""Certified accuracy: the share of images whose answer is right and cannot be turned within a radius in L2."""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.auditing.figures import certified_curves
from robust_distillation.auditing.robustness import SHARD, interval
from robust_distillation.defences.smoothing import ABSTAIN, Certificates, Smoothed, linf_radius

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Certification:
    """What is certified of a smoothed classifier on images of known classes.

    Attributes:
        certificates: of the images.
        labels: the true classes (N,).
        sigma: standard deviation of the noise.
        shape: of an image, (H, W, C).
    """

    certificates: Certificates
    labels: Array
    sigma: float
    shape: tuple[int, ...]

    def accuracy(self, radius: float) -> float:
        """Return the certified accuracy at a radius in L2; at 0, the accuracy."""
        return float(self.certificates.standing(self.labels, radius).mean())

    def to_dict(self, radii: Sequence[float]) -> dict[str, Any]:
        """Return accuracies by radius with their 95 % Wilson intervals, and the radius in L-infinity that follows."""
        standing = {f"{radius:g}": self.certificates.standing(self.labels, radius) for radius in radii}
        follows = linf_radius(np.array(radii), self.shape)
        return {
            "sigma": self.sigma,
            "images": len(self.labels),
            "accuracy": self.accuracy(0.0),
            "abstained": float((self.certificates.labels == ABSTAIN).mean()),
            "mean_radius": float((self.certificates.standing(self.labels, 0.0) * self.certificates.radii).mean()),
            "certified": {radius: float(rows.mean()) for radius, rows in standing.items()},
            "certified_interval": {radius: interval(rows) for radius, rows in standing.items()},
            "linf_that_follows": dict(zip(standing, map(float, follows), strict=True)),
        }


def certify_in_shards(
    smoothed: Smoothed, images: Array, *, n0: int, n: int, alpha: float, done: MutableMapping[str, Certificates]
) -> Certificates:
    """Certify images shard by shard; a shard that was done before an interruption is not certified again.

    Args:
        smoothed: the classifier.
        images: float32 (N, H, W, C) in [0, 1].
        n0: as for `Smoothed.certify`, like `n` and `alpha`.
        n: draws of an image.
        alpha: probability that a certificate is wrong.
        done: the shards that are done, by key; each new one is put there as soon as it is.

    Returns:
        The same certificates, however the images are split.
    """
    shards = []
    for first in range(0, len(images), SHARD):
        key = f"certificates {first}"
        if key not in done:
            done[key] = smoothed.certify(images[first : first + SHARD], n0=n0, n=n, alpha=alpha, first=first)
        shards.append(done[key])
    return Certificates(
        np.concatenate([shard.labels for shard in shards]), np.concatenate([shard.radii for shard in shards])
    )


def certification_figure(found: Mapping[str, Certification]) -> "Figure":
    """Draw certified accuracy by radius, a curve for each name."""
    first = next(iter(found.values()))
    side = float(np.sqrt(np.prod(first.shape)))
    curves = {
        name: np.where(one.certificates.standing(one.labels, 0.0), one.certificates.radii, -1.0)
        for name, one in found.items()
    }
    return certified_curves(curves, side)
