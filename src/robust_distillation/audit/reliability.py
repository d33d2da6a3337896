"""Flags on robust accuracy that cannot be trusted: signs of masked gradients and of attacks that are too weak.

After Carlini et al. 2019, *On Evaluating Adversarial Robustness*, and the checks of AutoAttack (Croce and Hein 2020).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from robust_distillation.threats.evasion.attack import Attack
from robust_distillation.threats.evasion.ensemble import STANDS, Ensemble, Verdicts
from robust_distillation.threats.evasion.losses import cross_entropy
from robust_distillation.threats.evasion.norms import length
from robust_distillation.threats.evasion.sign import FGSM, IFGSM
from robust_distillation.threats.evasion.square import Square
from robust_distillation.threats.evasion.transfer import Transfer
from robust_distillation.threats.evasion.victim import Model, Victim, looks_like_softmax

LARGE = 0.5  # at this L-infinity epsilon every image can be made grey
GAIN = 0.005


@dataclass(frozen=True)
class Flag:
    """One check.

    Attributes:
        raised: whether the robust accuracy beside it cannot be trusted.
        value: what was measured.
        says: what the value is, in words.
    """

    raised: bool
    value: float
    says: str


def reliability_flags(
    victim: Victim,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epsilons: Sequence[float],
    steps: int,
    queries: int,
    seed: int,
    surrogates: Sequence[Model | Victim] = (),
) -> dict[str, Flag]:
    """Check a model's gradients and the attack's budget in the L-infinity norm.

    Args:
        victim: the model under attack.
        images: float32 (N, H, W, C) in [0, 1].
        labels: integers (N,).
        epsilons: radii at which attacks are compared; a flag tells of the one where it is worst.
        steps: of I-FGSM, with cross-entropy and with the margin, whose budget is checked.
        queries: of the black-box attack.
        seed: of random draws.
        surrogates: other models, whose adversarial images are tried; that check is skipped where there is none.
    """

    def attacked(attacks: Sequence[Attack], epsilon: float, known: Verdicts | None = None) -> Verdicts:
        ensemble = Ensemble({str(number): attack for number, attack in enumerate(attacks)})
        candidates = None if known is None else {"known": known.adversarial}
        return ensemble(victim, images, labels, epsilon=epsilon, candidates=candidates)

    def iterative(count: int) -> list[Attack]:
        return [IFGSM(steps=count, early_stop=True), IFGSM(steps=count, early_stop=True, loss="margin")]

    white = {epsilon: attacked(iterative(steps), epsilon) for epsilon in epsilons}

    def gain(attacks: Sequence[Attack], *, on_top: bool = False) -> float:
        return max(
            accuracy(known) - accuracy(attacked(attacks, epsilon, known if on_top else None))
            for epsilon, known in white.items()
        )

    gains = {
        "black_box_beats_white_box": (gain([Square(queries=queries, seed=seed)]), "that under Square"),
        "more_steps_gain": (gain(iterative(2 * steps), on_top=True), "that with twice the steps"),
        "single_step_beats_iterative": (gain([FGSM()]), "that under FGSM"),
    }
    if surrogates:
        crafted = IFGSM(steps=steps, seed=seed)
        gains["transfer_beats_white_box"] = (
            gain([Transfer(attack=crafted, surrogate=surrogate) for surrogate in surrogates]),
            "that under images made on other models",
        )
    large = accuracy(attacked(iterative(steps), LARGE))
    vanished = zero_gradients(victim, images, labels)
    outputs = [np.asarray(victim.model(tf.constant(images[:50]))) for _ in range(2)]
    spread = float(np.abs(outputs[0] - outputs[1]).max())
    return {
        "zero_gradients": Flag(vanished > 0.05, vanished, "share of images whose gradient is zero in every pixel"),
        "softmax_outputs": Flag(
            looks_like_softmax(outputs[0]), float(outputs[0].max()), "largest output; these are probabilities if raised"
        ),
        "random_forward": Flag(spread > 1e-5, spread, "largest difference of two passes over the same images"),
        "survives_large_epsilon": Flag(large > 0, large, f"robust accuracy at epsilon {LARGE}"),
        **{
            name: Flag(value > GAIN, value, f"robust accuracy under I-FGSM less {other}")
            for name, (value, other) in gains.items()
        },
    }


def accuracy(verdicts: Verdicts) -> float:
    """Return the share of images that stand."""
    return float((verdicts.broken_by == STANDS).mean())


def zero_gradients(victim: Victim, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images whose cross-entropy has a gradient that is zero in every pixel."""

    def largest(batch: tf.Tensor, truth: tf.Tensor) -> tf.Tensor:
        return length(victim.gradient(batch, truth, cross_entropy)[2], "linf")

    sizes = [
        victim.run("largest gradient", largest, images[row], labels[row].astype(np.int32)).numpy()
        for row in victim.batches(len(images))
    ]
    return float((np.concatenate(sizes) == 0).mean())
