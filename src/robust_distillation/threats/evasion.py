"""Evasion attacks in the L-infinity norm, untargeted, white-box: FGSM, I-FGSM and PGD.

Every attack ascends the cross-entropy of softmax(logits / temperature): a model distilled at temperature T has logits
T times too large, and its gradients vanish in float32 unless they are divided by T again (Carlini and Wagner 2017).
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import tensorflow as tf

Model = Callable[[Any], Any]


def fgsm(
    model: Model, images: np.ndarray, labels: np.ndarray, *, epsilon: float, temperature: float = 1.0
) -> np.ndarray:
    """Fast gradient sign method: x + epsilon * sign(grad_x loss) (Goodfellow et al. 2015, section 4).

    Args:
        model: maps float32 images (N, H, W, C) in [0, 1] to logits (N, K), differentiably.
        images: float32 (N, H, W, C) in [0, 1].
        labels: integers (N,), the classes to move away from.
        epsilon: largest change of a pixel, in [0, 1] units.
        temperature: divides the logits.

    Returns:
        Adversarial images, float32 (N, H, W, C) in [0, 1], within `epsilon` of `images`.
    """
    return _ascend(model, images, images, labels, epsilon, epsilon, 1, temperature)


def i_fgsm(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epsilon: float,
    alpha: float,
    iterations: int,
    temperature: float = 1.0,
) -> np.ndarray:
    """Iterative FGSM: repeated steps of `alpha`, clipped to the epsilon ball (Kurakin et al. 2017, section 2.2).

    Args:
        model: as for `fgsm`.
        images: as for `fgsm`.
        labels: as for `fgsm`.
        epsilon: radius of the ball, in [0, 1] units.
        alpha: step size, in [0, 1] units.
        iterations: number of steps.
        temperature: divides the logits.

    Returns:
        Adversarial images, as `fgsm`.
    """
    return _ascend(model, images, images, labels, epsilon, alpha, iterations, temperature)


def pgd(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epsilon: float,
    alpha: float,
    iterations: int,
    restarts: int,
    seed: int,
    temperature: float = 1.0,
) -> np.ndarray:
    """Projected gradient descent from random starts in the ball (Madry et al. 2018, section 2.1).

    A restart attacks only the images that no earlier one has fooled.

    Args:
        model: as for `fgsm`.
        images: as for `fgsm`.
        labels: as for `fgsm`.
        epsilon: radius of the ball, in [0, 1] units.
        alpha: step size, in [0, 1] units.
        iterations: steps per restart.
        restarts: number of random starts.
        seed: of the random starts.
        temperature: divides the logits.

    Returns:
        Adversarial images, as `fgsm`: of each image the first that fools the model, else the last tried.
    """
    adversarial = images.copy()
    standing = np.arange(len(images))
    for restart in range(restarts):
        noise = np.random.default_rng([seed, restart]).uniform(-epsilon, epsilon, images.shape).astype(np.float32)
        start = np.clip(images + noise, 0, 1)[standing]
        adversarial[standing] = _ascend(
            model, images[standing], start, labels[standing], epsilon, alpha, iterations, temperature
        )
        standing = standing[predict_labels(model, adversarial[standing]) == labels[standing]]
        if not len(standing):
            break
    return adversarial


def craft(
    kind: str,
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epsilon: float,
    alpha: float,
    iterations: int,
    restarts: int = 1,
    seed: int = 0,
    temperature: float = 1.0,
) -> np.ndarray:
    """Run the attack named `kind` (`fgsm`, `i_fgsm` or `pgd`) with the arguments that it takes."""
    if kind == "fgsm":
        return fgsm(model, images, labels, epsilon=epsilon, temperature=temperature)
    attack = i_fgsm if kind == "i_fgsm" else partial(pgd, restarts=restarts, seed=seed)
    return attack(model, images, labels, epsilon=epsilon, alpha=alpha, iterations=iterations, temperature=temperature)


def predict_labels(model: Model, images: np.ndarray, batch_size: int = 250) -> np.ndarray:
    """Return the class (N,) of the largest logit."""
    predict = _predictor(model)
    batches = [predict(images[start : start + batch_size]).numpy() for start in range(0, len(images), batch_size)]
    return np.concatenate(batches) if batches else np.zeros(0, np.int64)


def _ascend(
    model: Model,
    images: np.ndarray,
    start: np.ndarray,
    labels: np.ndarray,
    epsilon: float,
    alpha: float,
    iterations: int,
    temperature: float,
    batch_size: int = 250,
) -> np.ndarray:
    ascend = _ascent(model)
    # As tensors, other values than before do not make TensorFlow trace anew.
    settings = [tf.constant(value, tf.float32) for value in (epsilon, alpha, temperature)]
    steps = tf.constant(iterations)
    rows = [slice(first, first + batch_size) for first in range(0, len(images), batch_size)]
    batches = [ascend(images[row], start[row], labels[row], *settings, steps).numpy() for row in rows]
    return np.concatenate(batches) if batches else images.copy()


@lru_cache(maxsize=8)
def _predictor(model: Model) -> Callable[..., tf.Tensor]:
    return tf.function(lambda batch: tf.argmax(model(batch), axis=1), reduce_retracing=True)


@lru_cache(maxsize=8)
def _ascent(model: Model) -> Callable[..., tf.Tensor]:
    @tf.function(reduce_retracing=True)
    def ascend(
        original: tf.Tensor,
        current: tf.Tensor,
        target: tf.Tensor,
        epsilon: tf.Tensor,
        alpha: tf.Tensor,
        temperature: tf.Tensor,
        steps: tf.Tensor,
    ) -> tf.Tensor:
        lower = tf.maximum(original - epsilon, 0.0)
        upper = tf.minimum(original + epsilon, 1.0)
        for _ in tf.range(steps):
            with tf.GradientTape() as tape:
                tape.watch(current)
                logits = model(current) / temperature
                loss = tf.nn.sparse_softmax_cross_entropy_with_logits(target, logits)
            gradient = tape.gradient(loss, current)
            current = tf.clip_by_value(current + alpha * tf.sign(gradient), lower, upper)
        return current

    return ascend
