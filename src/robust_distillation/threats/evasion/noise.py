"""Random points of the ball: what a gradient attack must beat, or the gradient is masked."""

from dataclasses import dataclass

from robust_distillation.arrays import Array
from robust_distillation.errors import InputError
from robust_distillation.threats.evasion.attack import Attack, generators, restarted
from robust_distillation.threats.evasion.norms import random_start
from robust_distillation.threats.evasion.victim import Victim


@dataclass(frozen=True, kw_only=True)
class UniformNoise(Attack):
    """Points drawn uniformly in the ball and clipped to [0, 1], judged by the model's answers alone.

    An attack that follows gradients and fells fewer images than this one shows that the gradients are masked (Athalye
    et al. 2018, *Obfuscated Gradients Give a False Sense of Security*, section 3.1).

    Attributes:
        draws: points per image; an image that has fallen is drawn no more.

    Example:
        Noise rarely finds the way that a gradient shows:

        >>> adversarial = rd.UniformNoise()(victim, images, labels, epsilon=0.1)
        >>> np.flatnonzero(victim.fooled(adversarial, labels))
        array([], dtype=int64)
    """

    draws: int = 100

    def __post_init__(self) -> None:
        self._check_positive("draws")

    def weakness(self, epsilon: float) -> str | None:
        """Say that fewer than 100 draws show little."""
        if self.draws < 100:
            return f"{self.draws} draws are too few to trust; use draws=100 at least"
        return None

    def _attack(self, victim: Victim, images: Array, labels: Array, targets: Array | None, epsilon: float) -> Array:
        if targets is not None:
            raise InputError(f"UniformNoise aims at no class: leave targets out. Received: {len(targets)} targets")
        streams = generators(images, self.seed, "noise")

        def attempt(_: int, rows: Array) -> Array:
            return random_start(images[rows], [streams[row] for row in rows], epsilon, self.norm)

        return restarted(victim, images, labels, None, self.draws, attempt)
