"""Randomized smoothing (Cohen, Rosenfeld and Kolter 2019): answers that no small enough change in L2 can turn.

The smoothed classifier gives an image the class that its base classifier gives most often to the image with Gaussian
noise. How often is not known but by drawing; what is certified holds with probability 1 - alpha for each image.
"""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from robust_distillation.arrays import Array
from robust_distillation.errors import InputError
from robust_distillation.progress import Bar
from robust_distillation.threats.evasion.acceleration import folded

ABSTAIN = -1
BLOCK = 100  # draws that come from one seed
AT_ONCE = 10  # blocks, of one image or of several


@dataclass(frozen=True)
class Certificates:
    """What is certified of images.

    Attributes:
        labels: the smoothed classifier's answers (N,), `ABSTAIN` where the draws do not tell.
        radii: (N,), within which in L2 no change turns the answer; 0 where it abstains.
    """

    labels: Array
    radii: Array

    def standing(self, labels: Array, radius: float) -> Array:
        """Return booleans (N,): certified at a radius, and as the labels (N,) have it."""
        right: Array = (self.labels == labels) & (self.radii >= radius)
        return right


class Smoothed:
    """A base classifier smoothed by Gaussian noise.

    The draws of an image depend on the seed and on its number alone, whatever else is asked at the same time. The base
    classifier answers with its batch normalisation folded away, which rounds otherwise and is faster.

    Args:
        model: a functional or sequential Keras model, float32 images (N, H, W, C), beyond [0, 1] too, to logits (N, K).
        sigma: standard deviation of the noise, in [0, 1] units.
        seed: of the noise.

    Raises:
        InputError: sigma is not above 0, or the model is of another kind.

    Example:
        >>> smoothed = rd.Smoothed(model, sigma=0.25)
        >>> certificates = smoothed.certify(images, n=1000)
        >>> certificates.labels[[0, 9]], bool(certificates.radii[0] > 0.5)
        (array([0, 1]), True)
    """

    def __init__(self, model: keras.Model, *, sigma: float, seed: int = 0) -> None:
        if not sigma > 0:
            raise InputError(f"sigma must be above 0. Received: {sigma!r}")
        self.model, self.sigma, self.seed = folded(model), sigma, seed
        self.n_classes: int = model.output_shape[-1]
        shape = model.input_shape[1:]
        specs = (tf.TensorSpec((None, *shape)), tf.TensorSpec((None,), tf.int32))
        self._graph = tf.function(self._votes, input_signature=specs)

    def certify(
        self, images: Array, *, n0: int = 100, n: int = 100_000, alpha: float = 0.001, first: int = 0
    ) -> Certificates:
        """Certify answers (CERTIFY, section 3.2.2 and appendix A).

        Args:
            images: float32 (N, H, W, C) in [0, 1].
            n0: draws by which the answer is chosen.
            n: further draws, by which its probability is bounded from below.
            alpha: probability that a certificate is wrong.
            first: number of the first image, where these are a part of more.

        Raises:
            InputError: an argument is out of range.
        """
        _check(n0=n0, n=n, alpha=alpha)
        chosen = self.count(images, n0, first=first, stream=0, title="choosing answers").argmax(axis=1)
        counts = self.count(images, n, first=first, stream=1, title="certifying")[np.arange(len(images)), chosen]
        radii = radius(lower_bound(counts, n, alpha), self.sigma)
        return Certificates(np.where(radii > 0, chosen, ABSTAIN), radii)

    def predict(self, images: Array, *, n: int = 1000, alpha: float = 0.001, first: int = 0) -> Array:
        """Return the smoothed classifier's answers (N,), `ABSTAIN` where the two commonest may be equally common.

        An answer is another than the most probable one with probability alpha (PREDICT, section 3.2.1).

        Args:
            images: float32 (N, H, W, C) in [0, 1].
            n: draws.
            alpha: probability of a wrong answer.
            first: number of the first image, where these are a part of more.

        Raises:
            InputError: an argument is out of range.
        """
        from scipy.stats import binomtest

        _check(n=n, alpha=alpha)
        counts = self.count(images, n, first=first, stream=2)
        commonest = np.sort(counts, axis=1)[:, -2:].tolist()
        sure = [binomtest(top, top + second, 0.5).pvalue <= alpha for second, top in commonest]
        return np.where(sure, counts.argmax(axis=1), ABSTAIN)

    def count(self, images: Array, n: int, *, first: int, stream: int, title: str | None = None) -> Array:
        """Return how often each class is the answer among n draws, integers (N, K).

        Args:
            images: float32 (N, H, W, C) in [0, 1].
            n: draws.
            first: number of the first image.
            stream: draws of two streams are independent.
            title: of the progress bar; None for none.
        """
        blocks = -(-n // BLOCK)
        work = [
            np.arange(start, min(start + AT_ONCE, len(images) * blocks))
            for start in range(0, len(images) * blocks, AT_ONCE)
        ]
        counts = np.zeros((len(images), self.n_classes), np.int64)

        def draw(numbers: Array) -> Array:
            rows, block = numbers // blocks, numbers % blocks
            return self._noisy(images, rows, first + rows, block, stream)

        with (
            Bar(total=len(images) * n, desc=title, unit="draw", unit_scale=True, disable=title is None) as bar,
            ThreadPoolExecutor(1) as ahead,
        ):
            coming = deque(ahead.submit(draw, numbers) for numbers in work[:2])
            for number, numbers in enumerate(work):
                noisy = coming.popleft().result()
                if number + 2 < len(work):
                    coming.append(ahead.submit(draw, work[number + 2]))
                drawn = np.minimum(BLOCK, n - BLOCK * (numbers % blocks))
                np.add.at(
                    counts, numbers // blocks, self._graph(noisy, drawn.astype(np.int32)).numpy().astype(np.int64)
                )
                bar.update(int(drawn.sum()))
        return counts

    def _noisy(self, images: Array, rows: Array, numbers: Array, blocks: Array, stream: int) -> Array:
        """Return blocks of draws, float32 (P * BLOCK, H, W, C), of rows of the images that go by these numbers."""
        noisy = np.empty((len(rows), BLOCK, *images.shape[1:]), np.float32)
        for drawn, row, number, block in zip(noisy, rows, numbers, blocks, strict=True):
            seeds = np.random.SeedSequence([self.seed, stream, int(number), int(block)])
            np.random.Generator(np.random.SFC64(seeds)).standard_normal(dtype=np.float32, out=drawn)
            drawn *= np.float32(self.sigma)
            drawn += images[row]
        return noisy.reshape(-1, *images.shape[1:])

    def _votes(self, noisy: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Return the votes (P, K) of the first draws of each block."""
        answers = tf.reshape(tf.argmax(self.model(noisy, training=False), axis=1), (-1, BLOCK))
        counted = tf.sequence_mask(draws, BLOCK, dtype=tf.float32)
        return tf.reduce_sum(tf.one_hot(answers, self.n_classes) * counted[:, :, None], axis=1)


def lower_bound(counts: Array, n: int, alpha: float) -> Array:
    """Return the one-sided Clopper-Pearson bound (N,) of probabilities of which counts (N,) of n draws came out."""
    from scipy.stats import beta

    return np.where(counts > 0, beta.ppf(alpha, np.maximum(counts, 1), n - counts + 1), 0.0)


def radius(probability: Array, sigma: float) -> Array:
    """Return the certified radius (N,) in L2 of answers of at least these probabilities, 0 up to a half (theorem 1)."""
    from scipy.stats import norm

    radii: Array = sigma * norm.ppf(np.maximum(probability, 0.5))
    return radii


def linf_radius(radii: Array, shape: tuple[int, ...]) -> Array:
    """Return the radii in L-infinity that follow from radii in L2 (N,), of images (H, W, C): a cube inside the ball."""
    inside: Array = radii / np.sqrt(np.prod(shape))
    return inside


def _check(**values: float) -> None:
    for name, value in values.items():
        if name == "alpha" and not 0 < value < 1:
            raise InputError(f"alpha must lie in (0, 1). Received: {value!r}")
        if name != "alpha" and value < 1:
            raise InputError(f"{name} must be at least 1. Received: {value!r}")
