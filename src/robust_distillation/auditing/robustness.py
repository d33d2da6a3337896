"""Robust accuracy: what is left of a model's answers under an ensemble of attacks, image by image."""

from collections.abc import Iterable, Mapping, MutableMapping

import numpy as np

from robust_distillation.arrays import Array
from robust_distillation.progress import Bar
from robust_distillation.threats.evasion.ensemble import STANDS, WRONG, Ensemble, Verdicts
from robust_distillation.threats.evasion.victim import Victim

SHARD = 100


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


def per_class(standing: Array, labels: Array) -> dict[int, float]:
    """Return the share of standing images (N,) of each class that occurs among the labels (N,)."""
    return {int(label): float(standing[labels == label].mean()) for label in np.unique(labels)}
