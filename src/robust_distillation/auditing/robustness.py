"""Robust accuracy: what is left of a model's answers under an ensemble of attacks, image by image."""

from collections.abc import Iterable, Mapping, MutableMapping

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.progress import Bar
from robust_distillation.threats.evasion.ensemble import STANDS, WRONG, Ensemble, Verdicts
from robust_distillation.threats.evasion.victim import Victim

SHARD = 100
LUMINANCE = 0.299, 0.587, 0.114
CONTRASTS = 0, 16, 32, 48, 64, 96, 128  # grey levels


def attack_in_shards(
    victim: Victim,
    images: Array,
    labels: Array,
    ensemble: Ensemble,
    *,
    epsilon: float,
    name: str,
    done: MutableMapping[str, Verdicts],
    candidates: Mapping[str, Array] | None = None,
    transferred: Mapping[str, Array] | None = None,
) -> Verdicts:
    """Attack images shard by shard; a shard that was done before an interruption is not attacked again.

    Args:
        victim: the model under attack.
        images: float32 (N, H, W, C) in [0, 1].
        labels: integers (N,).
        ensemble: of attacks.
        epsilon: radius of the ball.
        name: of this evaluation, shown beside the progress bar and part of the shards' keys.
        done: the shards that are done, by key; each new one is put there as soon as it is.
        candidates: as for `Ensemble`.
        transferred: as for `Ensemble`.

    Returns:
        The verdicts on all images. An interruption changes nothing. Another batch size of the victim rounds otherwise,
        and may change whether an image stands for one in 200.
    """
    shards = []
    standing = attacked = 0
    with Bar(total=len(images), desc=f"attacking {name}", unit="image") as bar:
        for first in range(0, len(images), SHARD):
            rows, key = slice(first, first + SHARD), f"{name} {first}"
            if key not in done:
                before, after = (
                    {source: found[rows] for source, found in (made or {}).items()}
                    for made in (candidates, transferred)
                )
                done[key] = ensemble(
                    victim, images[rows], labels[rows], epsilon=epsilon, candidates=before, transferred=after
                )
            shards.append(done[key])
            attacked += len(shards[-1].broken_by)
            standing += int((shards[-1].broken_by == STANDS).sum())
            bar.update(len(shards[-1].broken_by))
            bar.set_postfix_str(f"robust accuracy {standing / attacked:.3f}")
    return Verdicts(
        np.concatenate([shard.adversarial for shard in shards]), np.concatenate([shard.broken_by for shard in shards])
    )


def accuracy_after(verdicts: Verdicts, attacks: Iterable[str]) -> dict[str, float]:
    """Return the share of all images that stand after each attack of an ensemble, in the order in which they ran."""
    left = (verdicts.broken_by != WRONG).mean()
    shares = {}
    for attack in attacks:
        left -= (verdicts.broken_by == attack).mean()
        shares[attack] = float(left)
    return shares


def interval(standing: Array) -> dict[str, float]:
    """Return the 95 % Wilson interval of the mean of booleans (N,)."""
    from scipy.stats import binomtest

    bounds = binomtest(int(standing.sum()), len(standing)).proportion_ci(method="wilson")
    return {"low": float(bounds.low), "high": float(bounds.high)}


def per_group(standing: Array, groups: Array) -> dict[str, float]:
    """Return the share of standing images (N,) of each group that occurs among those that the images are of (N,)."""
    return {str(group): float(standing[groups == group].mean()) for group in np.unique(groups)}


def contrasts(images: Array) -> Array:
    """Return the contrast of float32 images (N, H, W, C) in [0, 1], in grey levels of 255 (N,).

    It is what the luminance (ITU-R BT.601) of the middle spans, from its 5th to its 95th percentile. A ball of radius
    epsilon moves a pixel by up to two epsilons relative to its neighbour, and so erases an image of that contrast.
    """
    luminance = (images @ np.array(LUMINANCE, np.float32) if images.shape[-1] == 3 else images).reshape(len(images), -1)
    low, high = np.percentile(luminance, (5, 95), axis=1)
    spans: Array = 255 * (high - low)
    return spans


def contrast_groups(images: Array) -> Array:
    """Return the largest of `CONTRASTS` that the contrast of each of the images (N, H, W, C) reaches (N,)."""
    groups: Array = np.array(CONTRASTS)[np.searchsorted(CONTRASTS, contrasts(images), side="right") - 1]
    return groups
