"""Membership inference: whether a model's answers tell which images it was trained on.

Several networks are each trained on a random half of a pool of images. Each is a target in turn; who attacks it has its
answers to the whole pool, and all others as shadow models, of which he knows what each was trained on (Carlini et al.
2022, *Membership Inference Attacks From First Principles*).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import log_softmax, logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from robust_distillation.arrays import Array
from robust_distillation.auditing.resampling import RESAMPLES, resampled
from robust_distillation.errors import InputError
from robust_distillation.progress import Bar

FEWEST = 10  # images on either side, below which nothing is told
RATES = {"tpr_at_1": 0.01, "tpr_at_01": 0.001}  # shares of non-members that are taken for members
LARGEST_ANSWERS = 3  # that the shadow attack looks at


@dataclass(frozen=True, kw_only=True)
class Game:
    """What networks answer to a pool of images, of which each was trained on some.

    Attributes:
        logits: of each network, float (S, N, K).
        members: booleans (S, N), whether a network was trained on an image.
        labels: integers (N,), the true classes.
    """

    logits: Array
    members: Array
    labels: Array

    @cached_property
    def confidences(self) -> Array:
        """The log odds of the true class, (S, N) (Carlini et al. 2022, section V)."""
        true = np.arange(self.logits.shape[2]) == self.labels[:, None]
        confidences: Array = self.logits[:, true] - logsumexp(np.where(true, -np.inf, self.logits), axis=2)
        return confidences

    def others(self, target: int) -> Array:
        """Return which networks are shadow models of a target, booleans (S,)."""
        others: Array = np.arange(len(self.members)) != target
        return others


def draw_members(networks: int, images: int, rng: np.random.Generator) -> Array:
    """Toss a coin for each network and image, booleans (S, N).

    The coins are independent, so that nothing about one network's images follows from those of the others.

    Raises:
        InputError: too few images are on one side.
    """
    members: Array = rng.random((networks, images)) < 0.5
    fewest = min(members.sum(axis=1).min(), (~members).sum(axis=1).min())
    if fewest < FEWEST:
        raise InputError(
            f"a pool of {images} images leaves a network {fewest} on one side of training set and rest, of which "
            f"{FEWEST} are the least that tell something; take more images"
        )
    return members


def loss_threshold(game: Game, target: int) -> Array:
    """Call members what has a small loss (Yeom et al. 2018); needs no shadow model."""
    scores: Array = game.confidences[target]
    return scores


def shadow_models(game: Game, target: int) -> Array:
    """Learn on the shadow models' answers what those to members look like, per class (Shokri et al. 2017)."""
    others = game.others(target)
    largest = np.sort(log_softmax(game.logits, axis=2), axis=2)[..., : -LARGEST_ANSWERS - 1 : -1]
    features = np.concatenate([largest, game.confidences[..., None]], axis=2)
    scores = np.zeros(len(game.labels))
    for label in np.unique(game.labels):
        rows = game.labels == label
        known = game.members[np.ix_(others, rows)].ravel()
        if known.any() and not known.all():
            learned = make_pipeline(StandardScaler(), LogisticRegression())
            learned.fit(features[np.ix_(others, rows)].reshape(len(known), -1), known)
            scores[rows] = learned.decision_function(features[target, rows])
    return scores


def lira_online(game: Game, target: int) -> Array:
    """Compare how likely the confidence is among networks with and without the image (Carlini et al. 2022, alg. 1).

    Each image has its means; the two variances are those of all, which is better below 64 shadow models.
    """
    others, observed = game.others(target), game.confidences[target]
    shadows, members = game.confidences[others], game.members[others]
    inside, outside = _normal(shadows, members), _normal(shadows, ~members)
    return _log_density(observed, *inside) - _log_density(observed, *outside)


def lira_offline(game: Game, target: int) -> Array:
    """Ask how high the confidence is among networks without the image alone (Carlini et al. 2022, equation 4)."""
    others = game.others(target)
    mean, deviation = _normal(game.confidences[others], ~game.members[others])
    scores: Array = (game.confidences[target] - mean) / deviation
    return scores


def rmia(game: Game, target: int) -> Array:
    """Compare the true class's probability with its mean over the shadow models (Zarifzadeh et al. 2024, equation 2).

    The order of these ratios is that of the shares of the pool whose ratio an image's own exceeds.
    """
    probabilities = -np.logaddexp(0, -game.confidences)  # logarithms of them
    shadows = probabilities[game.others(target)]
    ratios: Array = probabilities[target] - (logsumexp(shadows, axis=0) - np.log(len(shadows)))
    return ratios


ATTACKS: dict[str, Callable[[Game, int], Array]] = {
    "loss": loss_threshold,
    "shadow": shadow_models,
    "lira_online": lira_online,
    "lira_offline": lira_offline,
    "rmia": rmia,
}


def _normal(confidences: Array, chosen: Array) -> tuple[Array, float]:
    """Return each image's mean over the chosen networks (M, N), and one standard deviation around these means.

    The mean of an image for which none is chosen is that of all.
    """
    counts = chosen.sum(axis=0)
    means = np.where(chosen, confidences, 0).sum(axis=0) / np.maximum(counts, 1)
    means = np.where(counts > 0, means, confidences[chosen].mean())
    free = counts.sum() - (counts > 0).sum()
    squares = (np.where(chosen, confidences - means, 0) ** 2).sum()
    variance = squares / free if free else confidences[chosen].var()
    return means, float(np.sqrt(variance) + 1e-6)


def _log_density(values: Array, mean: Array, deviation: float) -> Array:
    density: Array = -(((values - mean) / deviation) ** 2) / 2 - np.log(deviation)
    return density


@dataclass(frozen=True, kw_only=True)
class Membership:
    """What attacks say of each image and target.

    Attributes:
        scores: by attack, (S, N), larger is more of a member.
        members: booleans (S, N), the truth.
        right: booleans (S, N), whether a target gives the true class.
        labels: integers (N,).
        groups: integers (N,), images that are much alike, such as frames of a track, have one in common.
    """

    scores: Mapping[str, Array]
    members: Array
    right: Array
    labels: Array
    groups: Array

    @property
    def strongest(self) -> str:
        """The attack with the highest true positive rate at 1 %, or where there is none, the largest area."""
        return max(self.scores, key=lambda attack: (self.rates(attack)["tpr_at_1"] or 0.0, self.auroc(attack)))

    def auroc(self, attack: str, rows: Array | slice = slice(None)) -> float:
        """Return the area under the receiver operating characteristic, the mean over targets."""
        pairs = [(truth[rows], scores[rows]) for truth, scores in zip(self.members, self.scores[attack], strict=True)]
        areas = [roc_auc_score(truth, scores) for truth, scores in pairs if truth.any() and not truth.all()]
        return float(np.mean(areas)) if areas else float("nan")

    def rates(self, attack: str) -> dict[str, float | None]:
        """Return the true positive rates at `RATES`, the means over targets; None where non-members are too few."""
        fewest = (~self.members).sum(axis=1).min()
        measured = [name for name, rate in RATES.items() if fewest * rate >= 1]
        at = self.curve(attack, np.array([RATES[name] for name in measured]))
        return dict.fromkeys(RATES) | dict(zip(measured, map(float, at), strict=True))

    def curve(self, attack: str, rates: Array) -> Array:
        """Return true positive rates at false positive rates (M,), the means over targets."""
        return _caught(self.scores[attack], self.members, rates)

    def balanced_accuracy(self, attack: str) -> float | None:
        """Return the mean of both sides' accuracies, by the threshold that is best for the other targets.

        None where there is no other target.
        """
        scores, members = self.scores[attack], self.members
        if len(scores) == 1:
            return None
        found = []
        for target in range(len(scores)):
            others = np.arange(len(scores)) != target
            false, true, thresholds = roc_curve(members[others].ravel(), scores[others].ravel())
            called = scores[target] >= thresholds[np.argmax(true - false)]
            found.append((called[members[target]].mean() + (~called[~members[target]]).mean()) / 2)
        return float(np.mean(found))

    def to_dict(self) -> dict[str, Any]:
        """Return figures by attack with 95 % intervals, the strongest one, accuracies, and both by class.

        The intervals are percentiles of a bootstrap over groups, in all targets at once.
        """
        strongest, intervals = self.strongest, self._intervals()
        inside, outside = self._accuracies(slice(None))
        attacks = {
            attack: {
                "auroc": self.auroc(attack),
                **self.rates(attack),
                "balanced_accuracy": self.balanced_accuracy(attack),
                **intervals[attack],
            }
            for attack in self.scores
        }
        per_class = {}
        for label in np.unique(self.labels):
            rows = self.labels == label
            first, second = self._accuracies(rows)
            per_class[str(label)] = {"auroc": self.auroc(strongest, rows), "gap": first - second}
        return {
            "targets": len(self.members),
            "images": len(self.labels),
            "accuracy_on_members": inside,
            "accuracy_on_others": outside,
            "gap": inside - outside,
            "strongest": strongest,
            "attacks": attacks,
            "per_class": per_class,
        }

    def _accuracies(self, rows: Array | slice) -> tuple[float, float]:
        members, right = self.members[:, rows], self.right[:, rows]
        return float(right[members].mean()), float(right[~members].mean())

    def _intervals(self) -> dict[str, dict[str, list[float] | None]]:
        names = [name for name, rate in self.rates(next(iter(self.scores))).items() if rate is not None]
        asked = np.array([RATES[name] for name in names])
        drawn: dict[str, list[Array]] = {attack: [] for attack in self.scores}
        for weights in Bar(resampled(self.groups), total=RESAMPLES, desc="intervals", unit="draw", delay=5):
            rows = np.repeat(np.arange(len(weights)), weights)
            members = self.members[:, rows]
            if members.any(axis=1).all() and not members.all(axis=1).any():
                for attack, scores in self.scores.items():
                    drawn[attack].append(_caught(scores[:, rows], members, asked))
        missing: dict[str, list[float] | None] = {f"{name}_interval": None for name in RATES}
        return {
            attack: missing
            | {
                f"{name}_interval": np.percentile(values, [2.5, 97.5]).tolist()
                for name, values in zip(names, np.transpose(draws), strict=True)
            }
            for attack, draws in drawn.items()
        }


def _caught(scores: Array, members: Array, rates: Array) -> Array:
    """Return the share of members above the thresholds that at most these shares (M,) of the others pass, (M,)."""
    found = []
    for one, truth in zip(scores, members, strict=True):
        others = np.sort(one[~truth])[::-1]
        thresholds = np.append(others, -np.inf)[np.floor(rates * len(others) + 1e-9).astype(int)]
        inside = np.sort(one[truth])
        found.append(1 - np.searchsorted(inside, thresholds, side="right") / len(inside))
    caught: Array = np.mean(found, axis=0)
    return caught


def attack_members(game: Game, groups: Array, attacks: Sequence[str] = tuple(ATTACKS)) -> Membership:
    """Attack each network of a game in turn.

    Args:
        game: of one network, if no attack but `loss` is asked, or of three and more.
        groups: as of `Membership`.
        attacks: names out of `ATTACKS`.
    """
    targets = range(len(game.members))
    return Membership(
        scores={name: np.array([ATTACKS[name](game, target) for target in targets]) for name in attacks},
        members=game.members,
        right=game.logits.argmax(axis=2) == game.labels,
        labels=game.labels,
        groups=groups,
    )
