"""Flags on robust accuracy that cannot be trusted: signs of masked gradients and of attacks that are too weak.

After Carlini et al. 2019, *On Evaluating Adversarial Robustness*, and the checks of AutoAttack (Croce and Hein 2020).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.auditing.flags import Flag
from robust_distillation.errors import InputError
from robust_distillation.progress import Bar
from robust_distillation.threats.evasion.apgd import APGD, APGDT
from robust_distillation.threats.evasion.attack import Attack
from robust_distillation.threats.evasion.ensemble import STANDS, Ensemble, Verdicts
from robust_distillation.threats.evasion.fab import FABT
from robust_distillation.threats.evasion.losses import cross_entropy
from robust_distillation.threats.evasion.norms import Norm, length
from robust_distillation.threats.evasion.sign import FGSM, IFGSM, MIFGSM, PGD
from robust_distillation.threats.evasion.square import Square
from robust_distillation.threats.evasion.victim import Victim, looks_like_softmax

ITERATIVE = (IFGSM, MIFGSM, PGD, APGD, APGDT, FABT)
FEWEST = 3  # images: one or two more that fall are no sign of anything
GAINS = (
    "black_box_beats_white_box",
    "more_steps_gain",
    "transfer_beats_white_box",
    "single_step_beats_iterative",
)


@dataclass(frozen=True)
class Known:
    """What an evaluation of a victim has found already, image by image.

    Attributes:
        attacks: of the evaluation, by name.
        verdicts: by epsilon.
        transferred: the images as attacked on other models, by epsilon; float32 (N, H, W, C) each.
        candidates: names, in the verdicts, of images that were tried before the attacks.
    """

    attacks: Mapping[str, Attack] = field(default_factory=dict)
    verdicts: Mapping[float, Verdicts] = field(default_factory=dict)
    transferred: Mapping[float, Sequence[Array]] = field(default_factory=dict)
    candidates: Sequence[str] = ()


def reliability_flags(
    victim: Victim,
    images: Array,
    labels: Array,
    *,
    epsilons: Sequence[float],
    steps: int,
    queries: int,
    seed: int,
    norm: Norm = "linf",
    known: Known | None = None,
    tolerance: float = 0.03,
    zero_share: float = 0.05,
    large_epsilon: float = 0.5,
) -> dict[str, Flag]:
    """Check a model's gradients and the attack's budget.

    What is known to fall, or to stand, is not attacked again. The rest meets I-FGSM, with cross-entropy and with the
    margin, and with `large_epsilon`, where equal steps may overshoot, Auto-PGD too. Black-box queries are spent on what
    the iterative attacks leave, from the largest ball to the smallest: an image that withstands them in one ball is
    spared them in the smaller ones inside.

    Args:
        victim: the model under attack.
        images: float32 (N, H, W, C) in [0, 1].
        labels: integers (N,).
        epsilons: radii at which attacks are compared; a flag tells of the one where it is worst.
        steps: of the iterative attacks whose budget is checked.
        queries: of the black-box attack.
        seed: of random draws.
        norm: of the balls.
        known: about these images; without images made on other models that check is skipped.
        tolerance: the gain above which a flag is raised; never less than three images.
        zero_share: the share of images without a gradient above which a flag is raised.
        large_epsilon: the change of every pixel with which nothing should stand; at 0.5 every image can be made grey.

    Raises:
        InputError: there are no images.
    """
    if not len(images):
        raise InputError(f"reliability flags need at least one image. Received: shape {images.shape}")
    checks = _Checks(victim, images, labels, known or Known())
    iterative, longer = _iterative(steps, norm), _iterative(2 * steps, norm)
    largest = large_epsilon * (1 if norm == "linf" else float(np.prod(images.shape[1:])) ** 0.5)
    right = ~victim.fooled(images, labels)
    stands = {}
    withstood = np.zeros_like(right)
    gains: dict[str, list[float]] = {name: [] for name in GAINS}
    for epsilon in Bar(sorted(epsilons, reverse=True), desc="reliability flags", unit="epsilon"):
        iterated = checks.fell(right, epsilon, ITERATIVE, iterative)
        stands[epsilon] = right & ~iterated
        single = checks.fell(right, epsilon, (FGSM,), [FGSM(norm=norm)])
        gains["single_step_beats_iterative"].append(single.mean() - iterated.mean())
        asked = stands[epsilon] & ~withstood
        square = checks.fell(asked, epsilon, (Square,), [Square(norm=norm, queries=queries, seed=seed)])
        withstood |= asked & ~square
        gains["black_box_beats_white_box"].append(square.mean())
        gains["more_steps_gain"].append(checks.attacked(stands[epsilon], epsilon, longer).mean())
        if epsilon in checks.known.transferred:
            gains["transfer_beats_white_box"].append(checks.transferred(stands[epsilon], epsilon).mean())
    # What falls in a small ball falls in the large one that holds it.
    open_ = np.logical_and.reduce([right, *(rows for epsilon, rows in stands.items() if epsilon <= largest)])
    adjusting = [APGD(norm=norm, steps=steps, loss=loss, seed=seed) for loss in ("cross_entropy", "dlr")]
    large = float((open_ & ~checks.attacked(open_, largest, [*iterative, *adjusting])).mean())
    vanished = zero_gradients(victim, images, labels)
    outputs = [np.asarray(victim.model(tf.constant(images[:50]))) for _ in range(2)]
    spread = float(np.abs(outputs[0] - outputs[1]).max())
    tolerated = max(tolerance, FEWEST / len(images))
    return {
        "zero_gradients": Flag(vanished > zero_share, vanished),
        "softmax_outputs": Flag(looks_like_softmax(outputs[0]), float(outputs[0].max())),
        "random_forward": Flag(spread > 1e-5, spread),
        "survives_large_epsilon": Flag(large > 0, large),
        **{name: Flag(max(values) > tolerated, float(max(values))) for name, values in gains.items() if values},
    }


def _iterative(steps: int, norm: Norm) -> list[Attack]:
    plain = IFGSM(norm=norm, steps=steps, early_stop=True)
    return [plain, replace(plain, loss="margin")]


@dataclass(frozen=True)
class _Checks:
    """Who fells which images; `among` are booleans (N,), the images that are asked about, and so are all answers."""

    victim: Victim
    images: Array
    labels: Array
    known: Known

    def attacked(self, among: Array, epsilon: float, attacks: Sequence[Attack]) -> Array:
        """Attack images and return which fall to at least one attack."""
        fallen = np.zeros_like(among)
        if among.any():
            ensemble = Ensemble({str(number): attack for number, attack in enumerate(attacks)})
            verdicts = ensemble(self.victim, self.images[among], self.labels[among], epsilon=epsilon)
            fallen[among] = verdicts.broken_by != STANDS
        return fallen

    def fell(self, among: Array, epsilon: float, kinds: tuple[type[Attack], ...], attacks: Sequence[Attack]) -> Array:
        """Return which images fall to attacks of these kinds, and run `attacks` only where that is not known."""
        names = [name for name, attack in self.known.attacks.items() if isinstance(attack, kinds)]
        names += self.known.candidates if names and kinds is ITERATIVE else []
        if not names or epsilon not in self.known.verdicts:
            return self.attacked(among, epsilon, attacks)
        broken_by = self.known.verdicts[epsilon].broken_by
        fallen = among & np.isin(broken_by, names)
        return fallen | self.attacked(among & ~fallen & (broken_by != STANDS), epsilon, attacks)

    def transferred(self, among: Array, epsilon: float) -> Array:
        """Return which images fall as attacked on another model."""
        fallen = np.zeros_like(among)
        for images in self.known.transferred[epsilon]:
            fallen[among] |= self.victim.fooled(images[among], self.labels[among])
        return fallen


def zero_gradients(victim: Victim, images: Array, labels: Array) -> float:
    """Return the share of images whose cross-entropy has a gradient that is zero in every pixel."""

    def largest(batch: tf.Tensor, truth: tf.Tensor) -> tf.Tensor:
        return length(victim.gradient(batch, truth, cross_entropy)[2], "linf")

    sizes = [
        victim.run("largest gradient", largest, images[row], labels[row].astype(np.int32)).numpy()
        for row in victim.batches(len(images))
    ]
    return float((np.concatenate(sizes) == 0).mean())
